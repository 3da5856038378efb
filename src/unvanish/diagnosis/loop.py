"""What kind of loop a watch is in: how often the model is called, goes backward, and is stepped; are gradients cleared?

Looked at in the first steps only, so that it costs nothing later.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from unvanish.diagnosis.examination import Loop

PASSES = 64  # forward passes that are followed
LOOKED = 12  # steps at which the gradients that are left are looked at


class LoopCounter:
    """Counts; `loop` is the result.

    Between two steps of the optimizer, gradients are left from before if no backward pass began without any. (The
    generator's step of a GAN goes through the discriminator, whose gradients are cleared later, before its own.)
    """

    def __init__(self, model: nn.Module) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.forwards = self.calls = self.backwards = self.steps = self.left = self.looked = 0
        self._begun = self._cleared = 0

    @property
    def follows(self) -> bool:
        return self.calls < PASSES

    def after_forward(self, outputs: Sequence[Tensor]) -> None:
        """`outputs` are those that lead to a gradient."""
        self.calls += 1
        begun: list[bool] = []

        def begins(_gradient: Tensor) -> None:
            if not begun:
                begun.append(True)
                self._backward()

        for output in outputs:
            output.register_hook(begins)

    def after_step(self) -> None:
        if self.steps and self._begun and self.looked < LOOKED:
            self.looked += 1
            self.left += not self._cleared
        self.steps += 1
        self._begun = self._cleared = 0

    @property
    def loop(self) -> Loop:
        return Loop(self.backwards, self.steps, self.left, self.looked)

    def missing(self, title: str, follows_optimizer: bool) -> str:
        """Which part of a training step was not seen."""
        if not self.forwards:
            return f"{title} was never called through model(...); its parts, or model.forward(...), are not followed"
        if not self.calls:
            return "the outputs led to no gradient: the model was called under torch.no_grad() only, or is frozen"
        if not self.backwards:
            return f"no backward pass was seen through the outputs of {title}"
        if not self.steps:
            whose = "of the optimizer that is watched" if follows_optimizer else "(without one, call flow.step())"
            passes = "1 backward pass" if self.backwards == 1 else f"{self.backwards} backward passes"
            return f"{passes} and no optimizer step {whose}"
        return "no step that was to be measured is complete"

    def _backward(self) -> None:
        self.backwards += 1
        if self.steps and self.looked < LOOKED:
            self._begun += 1
            gradients = (p.grad for p in self.parameters)
            self._cleared += not any(g is not None and bool((g != 0).any()) for g in gradients)
