"""The step on CUDA: its kernels are recorded once, in a CUDA graph, and then launched together.

A step of these networks is a hundred small kernels; launching them one by one takes the CPU longer than
the GPU takes to run them.
"""
# B batch

from collections.abc import Callable
from typing import Protocol, final

import torch
from torch import Tensor, nn

from unvanish.engine.flow import Flow
from unvanish.engine.step import Step

WARM_UP = 3  # steps before recording, in which libraries allocate what a recording may not

Work = Callable[[], tuple[Tensor, Tensor]]


class Recorder(Protocol):
    def warm_up(self, work: Work) -> tuple[Tensor, Tensor]:
        """Do the work, as it will be recorded."""
        ...

    def record(self, work: Work) -> tuple[Callable[[], object], tuple[Tensor, Tensor]]:
        """A function that does the work again, and the tensors that it then fills."""
        ...


@final
class CudaGraph:
    def __init__(self) -> None:
        self.side = torch.cuda.Stream()  # a recording is made on another stream than the default one

    def warm_up(self, work: Work) -> tuple[Tensor, Tensor]:
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            results = work()
        torch.cuda.current_stream().wait_stream(self.side)
        return results

    def record(self, work: Work) -> tuple[Callable[[], object], tuple[Tensor, Tensor]]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.side):
            results = work()
        return graph.replay, results


@final
class CapturedStep:
    """`gradients` as `engine.step.Step` has it: of full batches, replayed; of others and when measured, as ever."""

    def __init__(self, step: Step, network: nn.Module, recorder: Recorder) -> None:
        self.step, self.recorder, self.name = step, recorder, step.name
        self.parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.shape: torch.Size | None = None  # of the first batch; an epoch's last one is shorter
        self.warmed = 0
        self.replay: Callable[[], object] | None = None

    def gradients(self, x: Tensor, y_B: Tensor, flow: Flow) -> tuple[Tensor, Tensor]:
        self.shape = self.shape or x.shape
        if flow.measuring or x.shape != self.shape:
            return self.step.gradients(x, y_B, flow)
        if self.warmed < WARM_UP:
            self.warmed += 1
            return self.recorder.warm_up(lambda: self.step.gradients(x, y_B, flow))
        if self.replay is None:
            self.x, self.y_B = x.clone(), y_B.clone()
            self.replay, self.results = self.recorder.record(lambda: self.step.gradients(self.x, self.y_B, flow))
            self.filled = [parameter.grad for parameter in self.parameters]
        self.x.copy_(x)
        self.y_B.copy_(y_B)
        self.replay()
        for parameter, gradient in zip(self.parameters, self.filled, strict=True):
            parameter.grad = gradient  # a step in between may have put another tensor there
        return self.results
