"""What is known of autograd's nodes: which of them have a weight, which are activations, and what they keep."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unvanish.measure.region import EVERYWHERE, FLAT, Region, live_region, region_between

Node = torch.autograd.graph.Node

# Operations with a weight: for either operand, the attribute that keeps it and the edge that it came by.
WEIGHT_OPS: dict[str, tuple[tuple[str, int], tuple[str, int]]] = {
    "AddmmBackward": (("_saved_mat1", 1), ("_saved_mat2", 2)),
    "MmBackward": (("_saved_self", 0), ("_saved_mat2", 1)),
    "BmmBackward": (("_saved_self", 0), ("_saved_mat2", 1)),
    "BaddbmmBackward": (("_saved_batch1", 1), ("_saved_batch2", 2)),
    "MvBackward": (("_saved_self", 0), ("_saved_vec", 1)),
    "LinearBackward": (("_saved_input", 0), ("_saved_weight", 1)),
    "ConvolutionBackward": (("_saved_input", 0), ("_saved_weight", 1)),
    "EmbeddingBackward": (("_saved_indices", 9), ("", 0)),  # its input is no edge
}

VIEWS = frozenset(
    f"{name}Backward"
    for name in (
        *("T", "Transpose", "Permute", "View", "UnsafeView", "ReshapeAlias", "Expand", "Clone", "ToCopy"),
        *("Unsqueeze", "Squeeze", "Alias"),
    )
)
# What may stand between a weight and the operation that uses it: views, casts, parametrizations.
ON_A_WEIGHT = VIEWS | {
    f"{name}Backward" for name in ("Split", "SplitWithSizes", "Slice", "Select", "WeightNormInterface", "Div", "Mul")
}
NORMS = frozenset(
    f"{name}Backward"
    for name in (
        *("NativeBatchNorm", "CudnnBatchNorm", "NativeLayerNorm", "NativeGroupNorm", "FusedRmsNorm"),
        *("_Standardized", "Vmapped_Standardized"),  # this package's own, of a run and of an ensemble
    )
)
# Other operations with a weight, whose input is not looked for; so are custom functions, whose names have no number.
OPAQUE_OPS = frozenset(f"{name}Backward" for name in ("EmbeddingBag", "Trilinear", "MkldnnRnnLayer", "CudnnRnn"))
LEAF = "torch::autograd::AccumulateGrad"


def base(node: Node) -> str:
    """`AddmmBackward` of `AddmmBackward0`."""
    return without_number(node.name())


@cache
def without_number(name: str) -> str:
    return name.rstrip("0123456789")


@cache
def is_opaque(name: str) -> bool:
    return without_number(name) in OPAQUE_OPS or not name[-1].isdigit()


def kept(node: Node, attribute: str) -> Tensor | None:
    """A tensor that autograd keeps; `None` where it is not needed, or was freed, or was overwritten in place.

    Nor where somebody's hooks keep it: to look at what a checkpointed region has put away would run it again.
    """
    raw = getattr(node, attribute.replace("_saved", "_raw_saved"), None)
    if getattr(raw, "unpack_hook", None) is not None:
        return None
    try:
        value = getattr(node, attribute, None)
    except RuntimeError:
        return None
    return value.detach() if isinstance(value, Tensor) and not value.is_complex() else None


# Activations that keep their input z, as functions of z with what the node keeps of their parameters.
OF_THEIR_INPUT: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "GeluBackward": lambda n: partial(functional.gelu, approximate=n._saved_approximate),
    "SiluBackward": lambda n: functional.silu,
    "MishBackward": lambda n: functional.mish,
    "HardswishBackward": lambda n: functional.hardswish,
    "HardsigmoidBackward": lambda n: functional.hardsigmoid,
    "LogSigmoidBackward": lambda n: functional.logsigmoid,
    "LeakyReluBackward": lambda n: partial(functional.leaky_relu, negative_slope=n._saved_negative_slope),
    "CeluBackward": lambda n: partial(functional.celu, alpha=float(n._saved_alpha)),
    "SoftplusBackward": lambda n: partial(
        functional.softplus, beta=float(n._saved_beta), threshold=float(n._saved_threshold)
    ),
    "HardtanhBackward": lambda n: partial(
        functional.hardtanh, min_val=float(n._saved_min_val), max_val=float(n._saved_max_val)
    ),
    "EluBackward": lambda n: partial(torch.ops.aten.elu, alpha=n._saved_alpha, scale=n._saved_scale),
}
# Of these, autograd keeps the result: sigmoid is flat where s(1−s) < FLAT/4, tanh where 1 − h² < FLAT.
HALF, ROOT = (1 - FLAT) ** 0.5 / 2, (1 - FLAT) ** 0.5
OF_THEIR_RESULT: dict[str, tuple[Callable[[Tensor], Tensor], Region]] = {
    "SigmoidBackward": (torch.sigmoid, Region(0.5 - HALF, 0.5 + HALF)),
    "TanhBackward": (torch.tanh, Region(-ROOT, ROOT)),
    "ReluBackward": (torch.relu, Region(0.0, float("inf"))),
}
CLAMPS = ("ClampBackward", "ClampMinBackward", "ClampMaxBackward")
NONLINEAR = frozenset(
    [*OF_THEIR_INPUT, *OF_THEIR_RESULT, *CLAMPS]
    + [f"{name}Backward" for name in ("Threshold", "PreluKernel", "RreluWithNoise")]
)


def z_of(activation: Node) -> Tensor | None:
    """The input of an activation, where autograd keeps it."""
    return kept(activation, "_saved_self")


def h_of(activation: Node, z: Tensor | None) -> Tensor | None:
    """The result of an activation: kept, or computed again from its input."""
    name = base(activation)
    if (result := kept(activation, "_saved_result")) is not None:
        return result
    if z is None or name in OF_THEIR_RESULT:
        return None
    if name in OF_THEIR_INPUT:
        return OF_THEIR_INPUT[name](activation)(z)
    if name == "PreluKernelBackward":
        slopes = kept(activation, "_saved_weight")
        return None if slopes is None else z.where(z > 0, z * slopes)
    if name == "RreluWithNoiseBackward":
        slopes = kept(activation, "_saved_noise")  # 1 where z is positive
        return None if slopes is None or slopes.shape != z.shape else z * slopes
    bounds = _bounds(activation) if name in CLAMPS else None
    return None if bounds is None or bounds == (None, None) else z.clamp(*bounds)


def flat_ends(activation: Node, z: Tensor | None) -> tuple[Tensor, Region] | None:
    """A tensor that shows where the activation is flat, and the region where it is not; `None` if that is not known."""
    name = base(activation)
    if z is None:
        result = kept(activation, "_saved_result") if name in OF_THEIR_RESULT else None
        return None if result is None else (result, OF_THEIR_RESULT[name][1])
    region = _region(activation, name)
    return None if region is None or region == EVERYWHERE else (z, region)


def _region(activation: Any, name: str) -> Region | None:
    if name == "ThresholdBackward":
        return Region(float(activation._saved_threshold), float("inf"))
    if name in (*CLAMPS, "HardtanhBackward"):
        bounds = _bounds(activation)
        return None if bounds is None else region_between(*bounds)
    if name in OF_THEIR_RESULT:
        return _live_region(name, "", OF_THEIR_RESULT[name][0])
    function = OF_THEIR_INPUT.get(name)
    return None if function is None else _live_region(name, repr(function(activation)), function(activation))


def _bounds(activation: Any) -> tuple[float | None, float | None] | None:
    """What a clamp clamps to; `None` where a bound is a tensor, of another value for each unit perhaps."""
    low = getattr(activation, "_saved_min_val", getattr(activation, "_saved_min", None))
    high = getattr(activation, "_saved_max_val", getattr(activation, "_saved_max", None))
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        return None
    return None if low is None else float(low), None if high is None else float(high)


_REGIONS: dict[tuple[str, str], Region] = {}


def _live_region(name: str, key: str, function: Callable[[Tensor], Tensor]) -> Region:
    if (name, key) not in _REGIONS:
        _REGIONS[name, key] = live_region(function)
    return _REGIONS[name, key]


def value_of(node: Any, rows: slice) -> Tensor | None:
    """What a product or a norm gave, computed again from what autograd keeps; `None` where it keeps too little.

    rows   of the batch
    """
    name = base(node)
    if name == "MmBackward":
        x, weight = kept(node, "_saved_self"), _second_factor(node, 1)
        return None if x is None or weight is None else x[rows] @ weight
    if name == "AddmmBackward":
        x, weight, bias = kept(node, "_saved_mat1"), _second_factor(node, 2), leaf_at(node, 0)
        return None if x is None or weight is None or bias is None else torch.addmm(bias, x[rows], weight)
    if name == "ConvolutionBackward":
        x, weight, bias = kept(node, "_saved_input"), kept(node, "_saved_weight"), leaf_at(node, 2)
        if x is None or weight is None or (bias is None and any(node._saved_bias_sym_sizes_opt)):
            return None
        names = ("stride", "padding", "dilation", "transposed", "output_padding", "groups")
        return torch.convolution(x[rows], weight, bias, *(getattr(node, f"_saved_{name}") for name in names))
    if name == "NativeBatchNormBackward":
        x, scale, shift = kept(node, "_saved_input"), kept(node, "_saved_weight"), leaf_at(node, 2)
        mean, inverse = kept(node, "_saved_result1"), kept(node, "_saved_result2")
        if (
            x is None
            or mean is None
            or inverse is None
            or not node._saved_training
            or (scale is None) != (shift is None)
        ):
            return None
        shape = (1, -1, *[1] * (x.dim() - 2))
        z = (x[rows] - mean.reshape(shape)) * inverse.reshape(shape)
        return z if scale is None or shift is None else z * scale.reshape(shape) + shift.reshape(shape)
    if name == "_StandardizedBackward":
        return node.saved_tensors[0].detach()[rows]
    return None


def _second_factor(node: Node, edge: int) -> Tensor | None:
    """The weight of a product. Autograd keeps none where the other factor wants no gradient, as in a first layer."""
    weight = kept(node, "_saved_mat2")
    before = node.next_functions[edge][0]
    if weight is not None or before is None:
        return weight
    turned = leaf_at(before, 0) if base(before) in ("TBackward", "TransposeBackward") else None
    return leaf_at(node, edge) if turned is None else turned.t() if turned.dim() == 2 else None


def leaf_at(node: Node, edge: int) -> Tensor | None:
    """The parameter at an edge of a node, if one stands right there."""
    edges = node.next_functions
    before = edges[edge][0] if edge < len(edges) else None
    if before is not None and before.name() == LEAF:
        return before.variable.detach()  # pyright: ignore[reportAttributeAccessIssue]
    return None
