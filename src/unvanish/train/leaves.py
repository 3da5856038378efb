"""A network as the sequence of its leaf modules, where it is one: for the native step and for frozen prefixes."""

from collections.abc import Sequence

from torch import nn

from unvanish.core.activations import is_activation
from unvanish.core.blocks import DROPOUTS, WEIGHT_LAYERS
from unvanish.modules.residual import INPUT, Residual
from unvanish.modules.wiring import Add, Put, Then, Wire


def leaf_sequence(network: nn.Module) -> list[nn.Module] | None:
    """The leaf modules in the order in which they run, each on the output of the one before.

    Skips are a `Put` and an `Add` among them. `None` where the order is not known from the modules alone: a `forward`
    of its own around others, a leaf that runs twice, or hooks.
    """
    leaves = _leaves(network)
    if leaves is None or len(set(leaves)) < len(leaves) or any(_hooked(module) for module in network.modules()):
        return None
    taken = {module.wire for module in leaves if isinstance(module, Add)}
    # a skip into blocks that are not in this network carries nothing
    return [module for module in leaves if not isinstance(module, Put) or module.wire in taken]


def _leaves(module: nn.Module) -> list[nn.Module] | None:
    if isinstance(module, Residual):
        return _around(module)
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        parts = list(module)
    elif isinstance(module, Then):
        parts = [module.block, module.end]
    elif any(True for _ in module.children()):
        return None
    else:
        return [] if type(module) is nn.Identity else [module]
    leaves: list[nn.Module] = []
    for child in parts:
        part = _leaves(child)
        if part is None:
            return None
        leaves += part
    return leaves


def _around(residual: Residual) -> list[nn.Module] | None:
    wires = {path: Wire() for path in residual.paths}
    leaves: list[nn.Module] = [Put(wire) for (start, _), wire in wires.items() if start == INPUT]
    for name, child in residual.named_children():
        part = _leaves(child)
        if part is None:
            return None
        ends = [Add(wire) for (_, end), wire in wires.items() if end == name]
        leaves += [*part, *ends, *(Put(wire) for (start, _), wire in wires.items() if start == name)]
    return leaves


def _hooked(module: nn.Module) -> bool:
    own = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    of_weights = (
        getattr(parameter, name, None)
        for parameter in module.parameters(recurse=False)
        for name in ("_backward_hooks", "_post_accumulate_grad_hooks")
    )
    return any(map(bool, (*own, *of_weights)))


def frozen_prefix(leaves: Sequence[nn.Module]) -> int:
    """How many leaves at the front always make the same of the same sample: their output can be kept.

    They are frozen, and none looks at the other samples of its batch.
    """
    kept, open_wires = 0, set[Wire]()
    for count, module in enumerate(leaves, start=1):
        if not _stands_still(module):
            break
        if isinstance(module, Put):
            open_wires.add(module.wire)
        if isinstance(module, Add):
            open_wires.discard(module.wire)
        if not open_wires:
            kept = count
    return kept if any(isinstance(module, WEIGHT_LAYERS) for module in leaves[:kept]) else 0


def _stands_still(module: nn.Module) -> bool:
    if any(parameter.requires_grad for parameter in module.parameters()):
        return False
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return module.track_running_stats and not module.training
    if isinstance(module, (*DROPOUTS, nn.RReLU)):
        return not module.training
    return is_activation(module) or isinstance(module, (*WEIGHT_LAYERS, nn.LayerNorm, nn.RMSNorm, Put, Add))
