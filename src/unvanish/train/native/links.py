"""A leaf sequence as the links of step.c, and the memory that they work in."""
# B batch, D features in, E features out

import ctypes
from collections.abc import Sequence
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from unvanish.modules.wiring import Add, Put
from unvanish.remedies.normalize_inside import Standardize
from unvanish.train.native.sites import Site
from unvanish.train.native.structs import POINTER, CLink, CNetwork, CParameter, Function, Kind
from unvanish.train.native.update import give_state, rule_of

NO_OPTIONS = (0.0, 0.0, 0.0)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, section 3


def function_of(module: nn.Module) -> tuple[Function, tuple[float, float, float]] | None:
    """Which of the native activations it is, with its options; `None` for others."""
    kind = type(module)
    simple = {nn.Sigmoid: Function.SIGMOID, nn.Tanh: Function.TANH, nn.ReLU: Function.RELU, nn.SiLU: Function.SILU}
    if kind in simple:
        return simple[kind], NO_OPTIONS
    if isinstance(module, nn.LeakyReLU):
        return Function.LEAKY_RELU, (module.negative_slope, 0.0, 0.0)
    if isinstance(module, nn.ELU):
        return Function.ELU, (module.alpha, 1.0, 1.0)
    if isinstance(module, nn.CELU):
        return Function.ELU, (module.alpha, 1.0, 1 / module.alpha)
    if isinstance(module, nn.SELU):
        return Function.ELU, (SELU_ALPHA, SELU_SCALE, 1.0)
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        return Function.HARDTANH, (module.min_val, module.max_val, 0.0)
    return None


def uncovered(leaves: Sequence[nn.Module]) -> str | None:
    """What keeps a network from the native step, in a few words; `None` where nothing does."""
    for module in leaves:
        batch_norm = type(module) is nn.BatchNorm1d and module.momentum is not None
        known = type(module) is nn.Linear or batch_norm or isinstance(module, Standardize | Put | Add)
        if not known and function_of(module) is None:
            return f"it has no form for {type(module).__name__}"
        if getattr(module, "inplace", False):
            return f"{type(module).__name__} works in place"
    parameters = [parameter for module in leaves for parameter in module.parameters()]
    if not leaves or not isinstance(leaves[0], nn.Linear) or not isinstance(leaves[-1], nn.Linear):
        return "the first and the last layer are not Linear"
    if len({id(parameter) for parameter in parameters}) < len(parameters):
        return "layers share a weight"
    if any(p.dtype is not torch.float32 or not p.is_contiguous() for p in parameters):
        return "its weights are not float32"
    return None


@final
class NativeNetwork:
    """The struct `network`, and what its pointers lead to; of networks that are not `uncovered`.

    batch   the most rows that a batch has
    """

    def __init__(
        self,
        leaves: Sequence[nn.Module],
        optimizer: torch.optim.Optimizer,
        sites: Sequence[Site],
        batch: int,
        gemm: int,
    ) -> None:
        self.optimizer, self.batch = optimizer, batch
        self.memory: list[Tensor] = []  # aligned to 64 bytes, as torch gives it
        self.links = (CLink * len(leaves))()
        self._rows = {site.index: row for row, site in enumerate(sites)}
        self._places = {site.layer: site for site in sites} | {s.activation: s for s in sites if s.activation}
        self._wires: dict[Any, int] = {}
        width = cast(nn.Linear, leaves[0]).in_features
        self.input_BD = output = self._new(batch, width)
        widest = width
        for index, module in enumerate(leaves):
            output = self._link(index, module, output)
            widest = max(widest, self.links[index].outward)
        trains = [bool(link.weight.gradient or link.bias.gradient) for link in self.links]
        self.up = (POINTER * max(1, len(self._wires)))()
        self.down = (POINTER * len(self.up))(*(self._new(batch, widest).data_ptr() for _ in self.up))
        self.network = CNetwork(
            links=len(leaves),
            first=trains.index(True),
            sites=len(sites),
            classes=self.links[-1].outward,
            link=ctypes.addressof(self.links),
            labels_B=self._new(batch, dtype=torch.int64).data_ptr(),
            gemm=gemm,
            optimizer=rule_of(optimizer),
            input_BD=self.input_BD.data_ptr(),
            down_BD=(POINTER * 2)(*(self._new(batch, widest).data_ptr() for _ in range(2))),
            carried_up=ctypes.addressof(self.up),
            carried_down_BD=ctypes.addressof(self.down),
            column_E=self._new(2 * widest, dtype=torch.float64).data_ptr(),
            row_E=self._new(3 * widest).data_ptr(),
            nothing_E=self._new(widest).zero_().data_ptr(),
        )

    def _new(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        self.memory.append(torch.empty(shape, dtype=dtype))
        return self.memory[-1]

    def _link(self, index: int, module: nn.Module, before_BD: Tensor) -> Tensor:
        """Fill in a link; its output, [B, E]."""
        link, before = self.links[index], self.links[index - 1] if index else None
        width = before_BD.shape[1]
        link.inward, link.z_site, link.h_site, link.layer = width, -1, -1, -1
        output: Tensor | None = None
        if isinstance(module, nn.Linear):
            link.kind, width = Kind.LINEAR, module.out_features
            self._give(link.weight, module.weight)
            self._give(link.bias, module.bias)
        elif isinstance(module, nn.BatchNorm1d):
            self._batch_norm(link, module, width)
        elif isinstance(module, Standardize):
            link.kind = Kind.STANDARDIZE
            link.mean_E, link.inverse_E = self._new(1).data_ptr(), self._new(1).data_ptr()
        elif isinstance(module, Put | Add):
            link.kind = Kind.PUT if isinstance(module, Put) else Kind.ADD
            link.wire = self._wires.setdefault(module.wire, len(self._wires))
            output = before_BD if isinstance(module, Put) else None
        else:
            found = function_of(module)
            assert found is not None
            link.kind, (link.function, link.option[:]) = Kind.ACTIVATION, found
            link.needs_input = found[0] is Function.SILU
            if before and before.kind in (Kind.LINEAR, Kind.BATCH_NORM) and not link.needs_input:
                output = before_BD  # nobody else reads it
        output = self._new(self.batch, width) if output is None else output
        link.outward, link.output_BE = width, output.data_ptr()
        self._look(link, before, module)
        return output

    def _batch_norm(self, link: CLink, module: nn.BatchNorm1d, width: int) -> None:
        link.kind = Kind.BATCH_NORM
        link.option[0], link.option[1] = module.eps, module.momentum or 0.0
        self._give(link.weight, module.weight)
        self._give(link.bias, module.bias)
        link.mean_E, link.inverse_E = self._new(width).data_ptr(), self._new(width).data_ptr()
        link.own_statistics = 3
        if module.running_mean is not None and module.running_var is not None:
            link.running_mean, link.running_var = module.running_mean.data_ptr(), module.running_var.data_ptr()
            link.own_statistics = int(module.training)  # and at evaluation those that it has kept

    def _give(self, into: CParameter, parameter: Tensor | None) -> None:
        if parameter is None:
            return
        into.value, into.size = parameter.data_ptr(), parameter.numel()
        if parameter.requires_grad:
            parameter.grad = torch.empty_like(parameter)
            into.gradient = parameter.grad.data_ptr()
            give_state(into, parameter, self.optimizer)

    def _look(self, link: CLink, before: CLink | None, module: nn.Module) -> None:
        """Say which layer of the table is seen here, if one is."""
        link.low, link.high = float("-inf"), float("inf")
        site = self._places.get(module)
        if site is None:
            return
        row = self._rows[site.index]
        if module is site.layer:
            link.layer = row
        if module is (site.activation or site.layer):
            link.h_site = row
            seen = before if site.activation and before else link
            seen.z_site, seen.low, seen.high = row, site.region.low, site.region.high
