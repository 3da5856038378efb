"""On CUDA the kernels of a step are recorded once, in a CUDA graph, and then launched together.

A step of these networks is a hundred small kernels, and the CPU takes longer to launch them one by one than
the GPU to run them.
"""
# B batch

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, final

import torch
from torch import Tensor

from unvanish.measure.graph.layers import Layer
from unvanish.measure.graph.recorder import Row
from unvanish.train.batches import Batch
from unvanish.train.step import PlainGradients

WARM_UP = 3  # calls before the recording, in which libraries allocate what a recording may not

Work = Callable[[], Any]


class Recorder(Protocol):
    def warm_up(self, work: Work) -> Any:
        """Do the work as it will be recorded; what it gives."""
        ...

    def record(self, work: Work) -> tuple[Callable[[], object], Any]:
        """A function that does the work again, and what the work gave: the tensors that it fills each time."""
        ...


@final
class CudaGraph:
    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.side = torch.cuda.Stream(device)  # a recording is made on another stream than the default one

    def warm_up(self, work: Work) -> Any:
        self.side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self.side):
            results = work()
        torch.cuda.current_stream(self.device).wait_stream(self.side)
        return results

    def record(self, work: Work) -> tuple[Callable[[], object], Any]:
        gc.collect()  # the recordings of the stage before hold memory, and must not be freed during this one
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.side):
            results = work()
        return graph.replay, results


@final
class Replayed:
    """A function of tensors that is recorded for inputs of the first shapes, and called as ever for others."""

    def __init__(self, function: Callable[..., Any], recorder: Recorder) -> None:
        self.function, self.recorder = function, recorder
        self.shapes: list[torch.Size] = []
        self.warmed = 0
        self.replay: Callable[[], object] | None = None

    def __call__(self, *inputs: Tensor) -> Any:
        shapes = [value.shape for value in inputs]
        self.shapes = self.shapes or shapes
        if shapes != self.shapes:  # the last batch of an epoch is shorter
            return self.function(*inputs)
        if self.warmed < WARM_UP:
            self.warmed += 1
            return self.recorder.warm_up(lambda: self.function(*inputs))
        if self.replay is None:
            self.inputs = [value.clone() for value in inputs]
            self.replay, self.results = self.recorder.record(lambda: self.function(*self.inputs))
        for there, now in zip(self.inputs, inputs, strict=True):
            there.copy_(now)
        self.replay()
        return self.results


@final
class CapturedGradients:
    """Plain gradients, replayed: one recording for steps that are measured, one for others."""

    def __init__(self, inner: PlainGradients, recorder: Recorder) -> None:
        self.inner, self.name, self.loss_of = inner, inner.name, inner.loss_of
        self.parameters = [parameter for parameter in inner.network.parameters() if parameter.requires_grad]
        self.ways = {measured: Replayed(self._way(measured), recorder) for measured in (False, True)}
        self.forward = Replayed(inner.forward, recorder)
        self.seen: tuple[Row, Sequence[Layer]]  # of a measured step: everything but its numbers

    def __call__(self, batch: Batch, *, measured: bool) -> tuple[Tensor, Any]:
        loss, output, numbers, gradients = self.ways[measured](batch.input, batch.target)
        if measured:
            row, layers = self.seen
            self.inner.recorder.graph.resume(replace(row, numbers=numbers), layers)
        for parameter, gradient in zip(self.parameters, gradients, strict=True):
            parameter.grad = gradient  # of a replay it lies where it was recorded
        return loss, output

    def _way(self, measured: bool) -> Callable[[Tensor, Tensor], Any]:
        def gradients(x: Tensor, y: Tensor) -> tuple[Tensor, Any, dict[Any, Tensor], list[Tensor | None]]:
            graph = self.inner.recorder.graph
            loss, output = self.inner(Batch(x, y), measured=measured)
            numbers: dict[Any, Tensor] = {}
            if measured:
                row = graph.row()
                layers = [Layer(layer.name, layer.weight) for layer in graph.layers()]  # without the graph's nodes
                self.seen = replace(row, numbers={}), layers
                numbers = {key: torch.as_tensor(value, dtype=torch.float64) for key, value in row.numbers.items()}
                graph.forget()
            return loss, output.detach(), numbers, [parameter.grad for parameter in self.parameters]

        return gradients
