"""The equation of each method, typeset: LaTeX here, MathML in the page, so that no script has to be fetched for it."""

from functools import cache

from latex2mathml.converter import convert
from markupsafe import Markup

from unvanish.core.remedy import Remedy

LATEX = {  # by the kind of the remedy; the symbols are those of its file
    "weight-increasing": r"\mathbb{E}[\delta_{l}^2] = n\,\sigma^2\,\mathbb{E}[\varphi'(z_l)^2]"
    r"\,\mathbb{E}[\delta_{l+1}^2]",
    "better-activation": r"\delta_l = \frac{\partial L}{\partial h_l}\,\varphi'(z_l), \quad \text{sigmoid: } \varphi' "
    r"\le \tfrac{1}{4}, \quad \text{ReLU: } \varphi' = 1 \text{ where } z > 0",
    "better-optimizer": r"\Delta\theta = -\eta\,\frac{\hat m}{\sqrt{\hat v} + \epsilon}",
    "normalize-inside": r"z \leftarrow \frac{z - \mathbb{E}[z]}{\sqrt{\mathrm{Var}[z] + \epsilon}}",
    "skip-connection": r"h_b \leftarrow h_b + h_a, \quad \frac{\partial L}{\partial h_a} = "
    r"\frac{\partial L}{\partial h_b}\left(I + \frac{\partial h_b}{\partial h_a}\right)",
    "train-some-layers": r"\mathrm{net}_k = \mathrm{out}_k \circ f_k \circ \dots \circ f_1, \quad f_1 \dots f_{k-1} "
    r"\text{ frozen, then all free}",
    "centred-critical-init": r"W \text{ orthogonal of gain } g, \quad b = -W\,\mathbb{E}[\varphi(z)], \quad g = "
    r"\frac{1}{\sqrt{\mathbb{E}[\varphi'(z)^2]}}",
}
BASELINE = r"\delta_l = \varphi'(z_l) \odot W_{l+1}^{\top}\,\delta_{l+1}, \quad \varphi' \le \tfrac{1}{4}"


@cache
def mathml(latex: str) -> Markup:
    """The formula as MathML, on a line of its own."""
    return Markup(convert(latex, display="block"))


def of_remedies(remedies: tuple[Remedy, ...]) -> Markup:
    """Of a method: of its remedies, or of the network without any; empty where none is typeset."""
    if not remedies:
        return mathml(BASELINE)
    return Markup("").join(mathml(LATEX[one.kind]) for one in remedies if one.kind in LATEX)
