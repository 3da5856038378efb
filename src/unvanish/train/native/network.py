"""A leaf sequence as the network of step.c, and the memory that it works in."""
# B batch, D features in, E features out

import ctypes
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from unvanish.modules.wiring import Add, Put
from unvanish.remedies.normalize_inside import Standardize
from unvanish.train.native.sites import Site
from unvanish.train.native.structs import POINTER, CModule, CNetwork, Function, Kind, OwnStatistics
from unvanish.train.native.update import give_state, rule_of

NO_OPTIONS = (0.0, 0.0, 0.0)
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, section 3


SIMPLE = {
    nn.Sigmoid: Function.SIGMOID,
    nn.Tanh: Function.TANH,
    nn.ReLU: Function.RELU,
    nn.SiLU: Function.SILU,
    nn.Mish: Function.MISH,
    nn.Softsign: Function.SOFTSIGN,
    nn.Hardswish: Function.HARDSWISH,
    nn.Hardsigmoid: Function.HARDSIGMOID,
}


def function_of(module: nn.Module) -> tuple[Function, tuple[float, float, float]] | None:
    """Which of the native activations it is, with its options; `None` for others."""
    match module:
        case _ if type(module).__module__ != nn.ReLU.__module__:
            return None  # one of a user's own, derived from one of torch's perhaps, may do anything
        case nn.LeakyReLU() if module.negative_slope >= 0:  # then h tells on which side z is
            return Function.LEAKY_RELU, (module.negative_slope, 0.0, 0.0)
        case nn.ELU():
            return Function.ELU, (module.alpha, 1.0, 1.0)
        case nn.CELU() if module.alpha > 0:
            return Function.ELU, (module.alpha, 1.0, 1 / module.alpha)
        case nn.SELU():
            return Function.ELU, (SELU_ALPHA, SELU_SCALE, 1.0)
        case nn.GELU():
            return Function.GELU_TANH if module.approximate == "tanh" else Function.GELU, NO_OPTIONS
        case nn.Softplus() if module.beta > 0:
            return Function.SOFTPLUS, (module.beta, module.threshold, 1 / module.beta)
        case nn.Hardtanh():  # ReLU6 is one
            return Function.HARDTANH, (module.min_val, module.max_val, 0.0)
        case _:
            return (SIMPLE[type(module)], NO_OPTIONS) if type(module) in SIMPLE else None


def uncovered(leaves: Sequence[nn.Module]) -> str | None:
    """What keeps a network from the native step, in a few words; `None` where nothing does."""
    for module in leaves:
        batch_norm = type(module) is nn.BatchNorm1d and module.momentum is not None
        known = type(module) is nn.Linear or batch_norm or isinstance(module, Standardize | Put | Add)
        if not known and function_of(module) is None:
            return f"it has no form for {type(module).__name__}"
        if getattr(module, "inplace", False):
            return f"{type(module).__name__} works in place"
    if not leaves or not isinstance(leaves[-1], nn.Linear):
        return "the last layer is not Linear"
    parameters = [parameter for module in leaves for parameter in module.parameters()]
    statistics = [buffer for module in leaves for buffer in module.buffers() if buffer.is_floating_point()]
    if len({id(parameter) for parameter in parameters}) < len(parameters):
        return "layers share a weight"
    if any(kept.dtype is not torch.float32 or not kept.is_contiguous() for kept in (*parameters, *statistics)):
        return "its weights are not float32"
    if not any(parameter.requires_grad for parameter in parameters):
        return "all of it is frozen"
    return _misfit(leaves)


def input_width(leaves: Sequence[nn.Module]) -> int:
    """How many features the network takes."""
    widths = (_widths(module) for module in leaves)
    return next(width[0] for width in widths if width is not None)


def _widths(module: nn.Module) -> tuple[int, int] | None:
    """Features in and out; `None` where both are whatever comes."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    return (module.num_features, module.num_features) if isinstance(module, nn.BatchNorm1d) else None


def _misfit(leaves: Sequence[nn.Module]) -> str | None:
    """Where layers or the ends of a skip do not fit together."""
    here, wires, open_wires = input_width(leaves), set[Any](), dict[Any, int]()
    for module in leaves:
        expected, here_after = _widths(module) or (here, here)
        if expected != here:
            return f"{type(module).__name__} takes {expected} features and gets {here}"
        here = here_after
        if isinstance(module, Put):
            if module.wire in wires:
                return "a skip starts twice"
            wires.add(module.wire)
            open_wires[module.wire] = here
        elif isinstance(module, Add) and open_wires.pop(module.wire, None) != here:
            return "a skip ends twice, before its start or at another width"
    return "a skip has no end" if open_wires else None


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
        self.memory: list[Any] = []  # all that pointers lead to; tensors are aligned to 64 bytes
        self.modules = (CModule * len(leaves))()
        self._rows = {site.index: row for row, site in enumerate(sites)}
        self._places = {site.layer: site for site in sites} | {s.activation: s for s in sites if s.activation}
        self._wires: dict[Any, int] = {}
        width = input_width(leaves)
        self.input_BD = output = self._tensor(batch, width)
        for index, module in enumerate(leaves):
            output = self._module(index, module, output)
        widest = max(width, *(module.outward for module in self.modules))
        trains = [bool(module.weight.gradient or module.bias.gradient) for module in self.modules]
        wires = max(1, len(self._wires))
        self.network = CNetwork(
            modules=len(leaves),
            first=trains.index(True),
            sites=len(sites),
            classes=self.modules[-1].outward,
            module=ctypes.addressof(self.modules),
            labels_B=self._new(batch, dtype=torch.int64),
            gemm=gemm,
            optimizer=rule_of(optimizer),
            input_BD=self.input_BD.data_ptr(),
            down_BE=(POINTER * 2)(*(self._new(batch, widest) for _ in range(2))),
            wire_up=self._pointers([0] * wires),
            wire_down_BE=self._pointers([self._new(batch, widest) for _ in range(wires)]),
            **{name: self._new(widest, dtype=torch.float64) for name in ("sum_E", "product_E")},
            **{name: self._new(widest, dtype=torch.float64) for name in ("h_sum_E", "h_square_E")},
            **{name: self._new(widest) for name in ("least_E", "most_E")},
            row_E=self._new(3, widest),
        )

    def _tensor(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        self.memory.append(torch.empty(shape, dtype=dtype, device="cpu"))
        return self.memory[-1]

    def _new(self, *shape: int, dtype: torch.dtype = torch.float32) -> int:
        return self._tensor(*shape, dtype=dtype).data_ptr()

    def _pointers(self, to: Sequence[int]) -> int:
        self.memory.append((POINTER * len(to))(*to))
        return ctypes.addressof(self.memory[-1])

    def _module(self, index: int, module: nn.Module, before_BD: Tensor) -> Tensor:
        """Fill in a module; its output, [B, E]."""
        into, before = self.modules[index], self.modules[index - 1] if index else None
        width = before_BD.shape[1]
        into.inward, into.z_site, into.h_site, into.layer = width, -1, -1, -1
        output: Tensor | None = None
        if isinstance(module, nn.Linear):
            into.kind, width = Kind.LINEAR, module.out_features
            self._parameters(into, module)
        elif isinstance(module, nn.BatchNorm1d | Standardize):
            into.kind = Kind.STANDARDIZE
            into.mean_E, into.inverse_E = self._new(width), self._new(width)
            if isinstance(module, nn.BatchNorm1d):
                self._batch_norm(into, module)
        elif isinstance(module, Put | Add):
            into.kind = Kind.PUT if isinstance(module, Put) else Kind.ADD
            into.wire = self._wires.setdefault(module.wire, len(self._wires))
            output = before_BD if isinstance(module, Put) else None
        else:
            found = function_of(module)
            assert found is not None
            into.kind, (into.function, into.option[:]) = Kind.ACTIVATION, found
            if before and before.kind in (Kind.LINEAR, Kind.BATCH_NORM) and not found[0].of_input:
                output = before_BD  # nobody else reads it
        output = self._tensor(self.batch, width) if output is None else output
        into.outward, into.output_BE = width, output.data_ptr()
        self._site(into, before, module)
        return output

    def _batch_norm(self, into: CModule, module: nn.BatchNorm1d) -> None:
        into.kind = Kind.BATCH_NORM
        into.option[0], into.option[1] = module.eps, module.momentum or 0.0
        self._parameters(into, module)
        into.own_statistics = OwnStatistics.IN_TRAINING | OwnStatistics.AT_EVALUATION
        if module.running_mean is not None and module.running_var is not None:
            into.running_mean, into.running_var = module.running_mean.data_ptr(), module.running_var.data_ptr()
            into.own_statistics = OwnStatistics.IN_TRAINING if module.training else OwnStatistics(0)

    def _parameters(self, into: CModule, module: nn.Linear | nn.BatchNorm1d) -> None:
        for place, parameter in ((into.weight, module.weight), (into.bias, module.bias)):
            if parameter is None:  # pyright: ignore[reportUnnecessaryComparison]  (it may be)
                continue
            place.value, place.size = parameter.data_ptr(), parameter.numel()
            if parameter.requires_grad:
                parameter.grad = torch.empty_like(parameter)
                place.gradient = parameter.grad.data_ptr()
                give_state(place, parameter, self.optimizer)

    def _site(self, into: CModule, before: CModule | None, module: nn.Module) -> None:
        """Say which layer of the table is measured here, if one is."""
        into.low, into.high = float("-inf"), float("inf")
        site = self._places.get(module)
        if site is None:
            return
        row = self._rows[site.index]
        if module is site.layer:
            into.layer = row
        if module is (site.activation or site.layer):
            into.h_site = row
            seen = before if site.activation and before else into
            seen.z_site, seen.low, seen.high = row, site.region.low, site.region.high
