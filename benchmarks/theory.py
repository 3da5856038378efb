"""The backward factor of each layer: √χ at the layer's own length, predicted, against networks that are measured.

python benchmarks/theory.py [--to docs/images/theory.png]

Plain networks of width 512 and 22 layers with random weights, ten draws, from ordered to chaotic; inputs from N(0, 1).
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch

from unvanish.core.activations import make_activation
from unvanish.theory import MeanField, activation

WIDTH, DEPTH, DRAWS, SAMPLES = 512, 22, 10, 24
CASES = {  # σ_w²
    "Sigmoid": (4.0, 16.0, 40.0, 100.0, 200.0),
    "Tanh": (0.5, 0.8, 1.0, 1.5, 2.5),
    "ReLU": (1.0, 1.5, 2.0, 2.5, 3.0),
    "GELU": (1.0, 1.5, 2.0, 2.3, 2.8),
    "SELU": (0.5, 0.8, 1.0, 1.5, 2.0),
}


def measured(name: str, weight_var: float, x: torch.Tensor) -> np.ndarray:
    """‖δ_l‖/‖δ_(l+1)‖ of each layer, [draws, layers]."""
    rows = []
    for _ in range(DRAWS):
        z, out = [], x
        for _ in range(DEPTH):
            w = torch.randn(WIDTH, WIDTH, dtype=x.dtype) * math.sqrt(weight_var / WIDTH)
            z.append((make_activation(name)(out) if z else out) @ w.T)
            z[-1].requires_grad_() if len(z) == 1 else None
            out = z[-1]
        deltas = torch.autograd.grad((out * torch.randn_like(out)).sum(), z)
        rms = np.array([delta.square().mean().sqrt().item() for delta in deltas])
        rows.append(rms[:-1] / rms[1:])
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, help="the figure, .png or .svg")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.randn(SAMPLES, WIDTH, dtype=torch.float64)
    points = []
    print("activation   σ_w²   predicted  measured   off by   layers within 3 standard errors")
    for name, variances in CASES.items():
        for weight_var in variances:
            found = np.log(measured(name, weight_var, x))
            field = MeanField(activation(name), weight_var)
            lengths = field.lengths(weight_var * x.square().mean().item(), DEPTH)
            theory = np.array([0.5 * math.log(field.chi(q)) for q in lengths[:-1]])
            error = found.std(0, ddof=1) / math.sqrt(DRAWS)
            within = int((abs(found.mean(0) - theory) < 3 * error).sum())
            off = math.exp(found.mean() - theory.mean()) - 1
            print(
                f"{name:11} {weight_var:6g}   {math.exp(theory.mean()):9.4f} {math.exp(found.mean()):9.4f}"
                f"   {off:+6.2%}   {within} of {len(theory)}"
            )
            points += [
                {"activation": name, "predicted": math.exp(p), "measured": math.exp(m)}
                for p, m in zip(theory, found.mean(0), strict=True)
            ]
    if options.to:
        draw(points, options.to)


def draw(points: list[dict], path: Path) -> None:
    import altair as alt

    from unvanish.render.charts import styled

    low, high = (pick(min(p["predicted"], p["measured"]) for p in points) for pick in (min, max))
    scale = alt.Scale(type="log", domain=[low / 1.05, high * 1.05], nice=False)
    dots = alt.Chart(alt.Data(values=points)).mark_point(size=22, opacity=0.7).encode(
        x=alt.X("predicted:Q", title="predicted: √χ at the layer's own length", scale=scale, axis=alt.Axis(grid=False)),
        y=alt.Y("measured:Q", title="measured: ‖δ‖ of a layer over the next one's", scale=scale),
        color=alt.Color("activation:N", title=None, sort=list(CASES)),
    )  # fmt: skip
    line = alt.Chart(alt.Data(values=[{"v": low}, {"v": high}])).mark_line(color="#888", strokeDash=[4, 4])
    line = line.encode(x=alt.X("v:Q", scale=scale), y=alt.Y("v:Q", scale=scale))
    chart = alt.LayerChart(layer=[line, dots]).properties(width=380, height=380)
    styled(chart).properties(background="white").save(str(path), scale_factor=1.25)


if __name__ == "__main__":
    main()
