"""What mean-field theory says of a network, as text and as the phase diagram."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unvanish.core.errors import NothingToDo, RecipeError
from unvanish.core.output import check_writable, write_output
from unvanish.render.text import number, text_table, wrapped
from unvanish.theory import Activation, Layer, MeanField, Signal, centred, critical, critical_line, predicted
from unvanish.theory.mean_field import DEPTH_OF_TRAINING

SHOWN = 12  # layers; of more, some in between are left out
STDS = np.linspace(0.0, 1.0, 21)  # σ_b of the phase diagram
FIGURES = ("svg", "png", "pdf", "json")
DOTS = 24  # a side, of the diagram's field


def lines(phi: Activation, depth: int, width: int, std: float, bias_std: float, *, given: bool) -> Iterator[str]:
    """The phase, the depth scales, the profile, and the initial weights that keep the gradient."""
    field = MeanField(phi, width * std**2, bias_std**2)
    drawn = "" if given else " (PyTorch's default)"
    yield from wrapped(
        f"{depth} layers of {width} {phi.name} units, weights of std {number(std)}{drawn}: "
        f"σ_w = {number(math.sqrt(field.weight_var))}, σ_b = {number(bias_std)}",
        indent="",
    )
    yield ""
    yield from _phase(field, depth)
    yield ""
    yield "Predicted, for inputs of mean square 1 whose products average to 0"
    yield from text_table(*_profile(phi, depth, width, std, bias_std))
    yield ""
    yield "Initial weights that keep the gradient"
    yield from _advice(phi, width)


def _phase(field: MeanField, depth: int) -> Iterator[str]:
    words = {
        "ordered": "ordered: gradients vanish, and inputs become alike",
        "critical": "critical: gradients keep their size",
        "chaotic": "chaotic: gradients explode, and inputs are driven apart",
    }
    yield f"  phase            {words[field.phase]}"
    yield f"  χ₁               {number(field.chi_1)}   factor per layer on the squared backward signal"
    yield f"  q*               {number(field.fixed_length)}   mean square of the pre-activations, after many layers"
    yield f"  c*               {number(field.fixed_correlation)}   correlation of two inputs, after many layers"
    yield f"  ξ_q, ξ_c, ξ_∇    {number(field.xi_q)}, {number(field.xi_c)}, {number(field.xi_gradient)} layers"
    reach = field.trainable_depth
    fits = "" if math.isinf(reach) else f": {depth} layers are {'within' if depth <= reach else 'beyond'} it"
    scale = "ξ_c" if math.isclose(reach, DEPTH_OF_TRAINING * field.xi_c) or math.isinf(reach) else "|ξ_∇|"
    yield f"  trainable depth  {'unlimited' if math.isinf(reach) else number(reach)} layers (6 {scale}){fits}"


def _profile(phi: Activation, depth: int, width: int, std: float, bias_std: float) -> tuple[list[str], list[list[str]]]:
    layers = [Layer(width, width, std, phi, bias_std**2) for _ in range(depth)]
    found = predicted([*layers, Layer(width, 10, std, None)], Signal(1.0, 0.0))
    shown = sorted({round(float(one)) for one in np.linspace(0, depth - 1, min(depth, SHOWN))})
    rows = [
        [
            str(layer + 1),
            number(float(found.pre_activation_rms[layer])),
            number(float(found.activation_rms[layer])),
            number(float(found.spread[layer])),
            number(float(found.backward_rms[layer] / found.backward_rms[depth - 1])),
        ]
        for layer in shown
    ]
    return ["layer", "pre-activation RMS", "activation RMS", "spread", "backward, of the last"], rows


def _advice(phi: Activation, width: int) -> Iterator[str]:
    try:
        field = critical(phi)
        std = math.sqrt(field.weight_var / width)
        size = number(math.sqrt(field.weight_var))
        yield f"  critical          σ_w = {size}: std {number(std)} at fan-in {width}, bias 0"
    except NothingToDo as error:
        yield from wrapped(f"critical: {error}")
    try:
        layer = centred(phi, 0.0)
        bias = f"−{number(layer.mean)} W·1" if layer.mean else "0"
        yield f"  centred critical  orthogonal of gain {number(layer.gain)}, b = {bias} (uv.CentredCriticalInit)"
    except NothingToDo as error:
        yield from wrapped(f"centred critical: {error}")


def phase_diagram(phi: Activation, path: Path) -> None:
    """χ₁ over σ_b and σ_w, and the critical line, as a figure. Raises `OutputError` where it cannot be written."""
    import altair as alt

    from unvanish.render.charts import drawn, styled

    kind = path.suffix.lower().removeprefix(".")
    if kind not in FIGURES:
        raise RecipeError(f"a figure is {', '.join(f'.{one}' for one in FIGURES)}; not '{path.name}'")
    check_writable(path)
    line = critical_line(phi, STDS)
    middle = float(np.nanmedian(line)) if np.isfinite(line).any() else 1.5
    widths = np.linspace(0.05, 2 * middle, DOTS)
    biases = np.linspace(0.0, 1.0, DOTS)
    field = [
        {"sigma_b": float(b), "sigma_w": float(w), "chi": math.log10(max(1e-3, MeanField(phi, w * w, b * b).chi_1))}
        for b in biases
        for w in widths
    ]
    rule = [{"sigma_b": float(b), "sigma_w": float(w)} for b, w in zip(STDS, line, strict=True) if np.isfinite(w)]
    x = alt.X("sigma_b:Q", title="σ_b", axis=alt.Axis(grid=False))
    y = alt.Y("sigma_w:Q", title="σ_w", axis=alt.Axis(grid=False))
    dots = alt.Chart(alt.Data(values=field)).mark_square(size=170, opacity=1).encode(
        x=x,
        y=y,
        color=alt.Color("chi:Q", title="log₁₀ χ₁", scale=alt.Scale(scheme="blueorange", domainMid=0)),
    )  # fmt: skip
    over = alt.Chart(alt.Data(values=rule)).mark_line(color="black", strokeWidth=2).encode(x=x, y=y)
    layered = alt.LayerChart(layer=[dots, over]).properties(
        width=360, height=360, title=f"{phi.name}: ordered below the line, chaotic above"
    )
    write_output(path, drawn(styled(layered), kind))
