"""The plain step, that anyone can read, and what a step is.

Which one a network gets is `step_for`'s choice: the fast one where it has a form for it.
"""
# B batch

from typing import Protocol

from torch import Tensor, nn

from unvanish.core.setup import Loss
from unvanish.engine.chain import chain_of
from unvanish.engine.fast import FastStep, has_fast_form
from unvanish.engine.flow import Flow
from unvanish.engine.hooks import listening


class Step(Protocol):
    name: str

    def gradients(self, x: Tensor, y_B: Tensor, flow: Flow) -> tuple[Tensor, Tensor]:
        """Put the gradient of the batch's loss into `grad` of each parameter; the loss and the output.

        Of many runs together: the inputs, the losses and the outputs of each.

        While the flow is measuring, tell it what passes its sites.
        """
        ...


class PlainStep:
    name = "plain"

    def __init__(self, network: nn.Module, loss_of: Loss) -> None:
        self.network, self.loss_of = network, loss_of

    def gradients(self, x: Tensor, y_B: Tensor, flow: Flow) -> tuple[Tensor, Tensor]:
        if flow.measuring:
            with listening(flow):
                return self._gradients(x, y_B)
        return self._gradients(x, y_B)

    def _gradients(self, x: Tensor, y_B: Tensor) -> tuple[Tensor, Tensor]:
        output = self.network(x)
        loss = self.loss_of(output, y_B)
        self.network.zero_grad()
        loss.sum().backward()  # of many runs together: each one's depends on its own weights alone
        return loss.detach(), output.detach()


def step_for(network: nn.Module, loss_of: Loss) -> Step:
    """The fast step where the network has a form for it, else the plain one."""
    chain = chain_of(network)
    if chain is not None and has_fast_form(chain):
        return FastStep(chain, loss_of)
    return PlainStep(network, loss_of)
