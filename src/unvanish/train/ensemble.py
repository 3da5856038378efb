"""Many runs of one shape as one network: each leaf holds the weights of all of them and maps over them.

The leaves of one run's network are replaced, as remedies replace them, with leaves that hold
every run's weights, stacked. All else works on that as it is: skips, stages, the hooks of the gradient flow,
the plain step, any optimizer that treats each weight by itself. On a GPU that is a few large kernels
instead of many small ones; on a CPU it gains nothing, and there each run is trained by itself.
"""
# R runs, B batch

import copy
from collections.abc import Sequence
from functools import partial
from typing import final

from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from unvanish.core.blocks import DROPOUTS
from unvanish.core.optimizer import Optimizer
from unvanish.core.setup import Setup
from unvanish.modules.replace import replaced
from unvanish.modules.wiring import Add, Put
from unvanish.train.leaves import leaf_sequence

# They treat each weight by itself; the others look at a whole matrix, and would see all runs' as one.
ELEMENTWISE = (
    "SGD", "Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD",
)  # fmt: skip


@final
class Stacked(nn.Module):
    """The same leaf of R networks. Its parameters and buffers have their names, and R in front."""

    def __init__(self, members: Sequence[nn.Module]) -> None:
        super().__init__()
        parameters, buffers = stack_module_state(list(members))
        for name, stack in parameters.items():
            self.register_parameter(name, nn.Parameter(stack.detach(), requires_grad=stack.requires_grad))
        for name, stack in buffers.items():
            self.register_buffer(name, stack)
        self._one = (copy.deepcopy(members[0]),)  # in a tuple, for its own weights are not part of this

    @property
    def represents(self) -> nn.Module:
        """The leaf of one network."""
        return self._one[0]

    def forward(self, *inputs: Tensor) -> Tensor:  # each [R, B, …]
        one = self._one[0].train(self.training)
        return vmap(partial(functional_call, one))(dict([*self.named_parameters(), *self.named_buffers()]), inputs)


def stacked(networks: Sequence[nn.Module]) -> nn.Module:
    """One network from R alike: takes [R, B, …], gives [R, B, …], and its `state_dict` has R in front.

    >>> import torch
    >>> nets = [nn.Sequential(nn.Linear(3, 2), nn.ReLU()) for _ in range(5)]
    >>> x = torch.rand(4, 3)
    >>> both = stacked(nets)(x.expand(5, 4, 3))
    >>> torch.allclose(both[2], nets[2](x))
    True
    """
    leaves = [
        name
        for name, module in networks[0].named_modules()
        if not any(True for _ in module.children()) and not isinstance(module, Put | Add)
    ]
    return replaced(
        networks[0],
        {name: lambda _, name=name: Stacked([net.get_submodule(name) for net in networks]) for name in leaves},
    )


def shape_of(setup: Setup) -> str | None:
    """Equal for setups that can be trained as one ensemble; `None` for one that has to be trained alone."""
    leaves = leaf_sequence(setup.model)
    if leaves is None or not isinstance(setup.optimizer, Optimizer) or setup.optimizer.name not in ELEMENTWISE:
        return None
    if any(isinstance(module, (*DROPOUTS, nn.RReLU)) for module in leaves):
        return None  # what they draw in a step would not be what they draw alone
    wires = [module.wire for module in setup.model.modules() if isinstance(module, Put | Add)]
    ends = [wires.index(wire) for wire in wires]
    return repr((setup.model, ends, setup.blocks, setup.output, setup.optimizer, setup.loss_fn, setup.stages))
