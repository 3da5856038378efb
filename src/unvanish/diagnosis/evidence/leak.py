"""Whether a sample's output depends on other samples of its batch: one is replaced at a time.

In `eval()`, in float64, with the statistics of the batch (means, variances, sums over samples) held where they were, so
that normalisation over the batch is no leak.
"""
# N samples

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from unvanish.core.nested import mapped
from unvanish.diagnosis.evidence.parts import main_output
from unvanish.measure.graph.layers import tensors_in
from unvanish.train.batches import Batch

SAMPLES = 7  # of a batch: a size that is seldom that of another axis
LEAKS = 1e-6  # relative, in float64: rounding is 1e-16, a batch's influence on one of 7 outputs about 0.1
LEAKS_SINGLE = 1e-3  # in float32
REDUCTIONS = ("mean", "sum", "var", "std", "var_mean", "std_mean", "amax", "amin", "linalg_vector_norm", "norm",
              "logsumexp", "max", "min", "prod")  # fmt: skip
NORMS = ("native_batch_norm", "_native_batch_norm_legit", "_batch_norm_with_update", "cudnn_batch_norm")


@dataclass(frozen=True)
class Leak:
    """Outputs that depend on other samples: `share` of the others, by how much, from `module` on."""

    module: str
    kind: str
    share: float
    most: float


def leak_of(model: nn.Module, batch: Batch) -> tuple[Leak | None, str]:
    """The leak, if there is one, and why it could not be looked for, if so. Works on a copy."""
    floating = [one for one in tensors_in(batch.input) if one.dim()]
    size = len(floating[0]) if floating else 0
    if size < 3:
        return None, "one batch has fewer than three samples"
    if any(len(one) != size for one in floating) or any(one.dim() == 2 and one.shape[1] == size for one in floating):
        return None, "the inputs are of different lengths: a graph, or samples that belong together"
    count = min(SAMPLES, size)
    few = mapped(lambda one: one[:count] if one.dim() and len(one) == size else one, batch.input)
    other = mapped(lambda one: one[-1] if one.dim() and len(one) == size else one, batch.input)
    why = ""
    for dtype, least in ((torch.float64, LEAKS), (None, LEAKS_SINGLE)):  # some models take their own type only
        try:
            copied = copy.deepcopy(model).eval()
            if dtype is None:
                return _leak(copied, few, other, count, least), ""

            def wider(one: Tensor) -> Tensor:
                return one.double() if one.is_floating_point() else one

            return _leak(copied.double(), mapped(wider, few), mapped(wider, other), count, least), ""
        except Exception as error:  # a model that takes a batch of this size only
            why = f"it cannot be run on {count} samples: {' '.join(str(error).split())[:80]}"
    return None, why


def _leak(model: nn.Module, few: Any, other: Any, count: int, least: float) -> Leak | None:
    places = sorted({0, count // 2, count - 1})
    usual, by_module = _outputs(model, few, _Statistics())
    shown = main_output(mapped(torch.detach, usual), count)
    if shown is None or len(shown) != count or shown.dim() < 2 or count in shown.shape[1:]:
        return None
    changed, worst, where = 0, 0.0, ""
    for place in places:
        moved = _replaced(few, other, place, count)
        statistics = _Statistics(by_module.statistics)
        anew, its = _outputs(model, moved, statistics)
        output = main_output(mapped(torch.detach, anew), count)
        if output is None or output.shape != shown.shape:
            return None
        others = [k for k in range(count) if k != place]
        scale = float(shown.abs().max()) or 1.0
        moved_by = (output - shown).abs().flatten(1).amax(1)
        if not bool(torch.isfinite(moved_by).all()) or float(moved_by[place]) <= least * scale * 1e-3:
            continue
        most = float(moved_by[others].max()) / scale
        if most > least:
            changed += 1
            worst = max(worst, most)
            where = where or _first(by_module.rows, its.rows, others, count, least)
    if not changed:
        return None
    kind = next((type(module).__name__ for name, module in model.named_modules() if name == where), "")
    return Leak(where, kind, changed / len(places), worst)


def _replaced(few: Any, other: Any, place: int, count: int) -> Any:
    """The same inputs with sample `place` another."""
    if isinstance(few, Tensor):
        if not few.dim() or len(few) != count:
            return few
        moved = few.clone()
        moved[place] = other
        return moved
    if isinstance(few, Mapping):
        return {key: _replaced(value, other[key], place, count) for key, value in few.items()}
    if isinstance(few, tuple | list):
        return type(few)(_replaced(one, its, place, count) for one, its in zip(few, other, strict=True))
    return few


@dataclass(eq=False)
class _Seen:
    rows: dict[str, Tensor]
    statistics: list[Any]


@torch.no_grad()
def _outputs(model: nn.Module, few: Any, statistics: "_Statistics") -> tuple[Any, _Seen]:
    rows: dict[str, Tensor] = {}

    def note(name: str, output: Any) -> None:
        first = next((one for one in tensors_in(output) if one.is_floating_point()), None)
        if first is not None and name not in rows:
            rows[name] = first.detach().clone()

    hooks = [
        module.register_forward_hook(lambda _m, _a, output, name=name: note(name, output))
        for name, module in model.named_modules()
        if name
    ]
    try:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            batch = Batch(few, None)
            try:
                with statistics:
                    output = batch.output_of(model)
            except RuntimeError:  # a model that differentiates by its input
                with torch.enable_grad(), _Statistics(statistics.kept) as statistics:
                    output = batch.output_of(model)
    finally:
        for hook in hooks:
            hook.remove()
    return output, _Seen(rows, statistics.seen)


def _first(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor], others: Sequence[int], count: int, least: float
) -> str:
    """The first module, in the order of their ends, whose rows of other samples have changed."""
    for name, one in before.items():
        its = after.get(name)
        if its is None or its.shape != one.shape or not one.dim() or one.shape[0] != count:
            continue
        if float((its - one)[others].abs().max()) > least * (float(one.abs().max()) or 1.0):
            return name
    return ""


class _Statistics(TorchDispatchMode):
    """Keeps what is reduced over the samples; given what was kept, gives that again."""

    def __init__(self, kept: list[Any] | None = None) -> None:
        super().__init__()
        self.kept, self.seen = kept, list[Any]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        if name in NORMS and self.kept is not None and len(self.seen) < len(self.kept):
            return self._again(_normalised(self.kept[len(self.seen)], args))
        result = func(*args, **kwargs)
        if name in NORMS:
            self.seen.append((args[0].detach().clone(), mapped(torch.clone, result)))
            return result
        if not _reduces(name, args, kwargs):
            return result
        if self.kept is not None and len(self.seen) < len(self.kept):
            return self._again(self.kept[len(self.seen)])
        self.seen.append(mapped(torch.clone, result))
        return result

    def _again(self, value: Any) -> Any:
        self.seen.append(value)
        return mapped(torch.clone, value)


def _reduces(name: str, args: Any, kwargs: Any) -> bool:
    """Whether an operation reduces over its first axis, that of the samples."""
    if name not in REDUCTIONS or not args or not isinstance(args[0], Tensor) or args[0].dim() < 1:
        return False
    dims = [one for one in (*args[1:], *kwargs.values()) if isinstance(one, int | list | tuple)]
    axes = dims[0] if dims else None
    if name in ("norm", "linalg_vector_norm"):
        axes = next((one for one in (*args[2:], *kwargs.values()) if isinstance(one, list | tuple | int)), None)
    if axes is None or axes == []:
        return True
    listed = [axes] if isinstance(axes, int) and not isinstance(axes, bool) else axes
    return isinstance(listed, list | tuple) and any(axis % args[0].dim() == 0 for axis in listed)


def _normalised(kept: Any, args: Any) -> Any:
    """Batch norm of another batch by the first one's statistics: what it gave, moved by what the input moved."""
    (before, result), x = kept, args[0]
    given = result[0] if isinstance(result, tuple | list) else result
    shape = (1, -1, *[1] * (x.dim() - 2))
    axes = [axis for axis in range(x.dim()) if axis != 1]
    centred = before - before.mean(axes, keepdim=True)
    slope = (given - given.mean(axes, keepdim=True)).square().mean(axes).sqrt() / centred.square().mean(axes).sqrt()
    weight = args[1] if len(args) > 1 and isinstance(args[1], Tensor) else None
    sign = torch.ones_like(slope) if weight is None else weight.sign()
    moved = given + (x - before) * (slope * sign).reshape(shape)
    return (moved, *result[1:]) if isinstance(result, tuple | list) else moved
