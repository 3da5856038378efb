"""Fixes that several checks prescribe: code that runs where `torch`, `model`, `loss_fn` and `optimizer` exist."""

import textwrap

from unvanish.core.finding import Fix
from unvanish.core.remedy import OptimizerRemedy, Remedy

HE = Fix(
    "critical initial weights (He for ReLU, σ_w = 1 for tanh: xavier_normal_)",
    "for module in model.modules():\n"
    "    if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):\n"
    "        torch.nn.init.kaiming_normal_(module.weight, nonlinearity='relu')\n"
    "        if module.bias is not None:\n"
    "            torch.nn.init.zeros_(module.bias)",
)
ZERO_BIASES = Fix(
    "biases that start at 0",
    "for name, parameter in model.named_parameters():\n"
    "    if name.endswith('bias'):\n"
    "        torch.nn.init.zeros_(parameter)",
)
DRAWN_ANEW = Fix(
    "random initial weights (PyTorch's own)",
    "for module in model.modules():\n    if hasattr(module, 'reset_parameters'):\n        module.reset_parameters()",
)
NARROWER = Fix(
    "smaller initial weights (σ_w at most 1: std 1/√fan_in)",
    "for module in model.modules():\n"
    "    if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):\n"
    "        std = module.weight[0].numel() ** -0.5\n"
    "        module.weight.data *= (std / module.weight.data.std()).clamp(max=1)",
)
RECURRENT = Fix(  # Saxe et al. 2014; Le, Jaitly & Hinton 2015 take the identity, which is one of them
    "orthogonal recurrent weights: they keep the gradient's norm over time",
    "for name, parameter in model.named_parameters():\n"
    "    if 'weight_hh' in name:\n"
    "        size = parameter.shape[1]  # of an LSTM or a GRU, one square for each gate\n"
    "        for gate in parameter.data.split(size):\n"
    "            torch.nn.init.orthogonal_(gate)",
)
OPTIMIZER_ANEW = (  # over the model's parameters as they are now
    "lr = optimizer.param_groups[0]['lr']\noptimizer = type(optimizer)(model.parameters(), lr=lr)"
)
DRAWS = (HE, ZERO_BIASES, DRAWN_ANEW, NARROWER, RECURRENT)  # other weights, as initialisations are
WIDTH = 76  # cells of a line of code


def applied(remedy: Remedy, example: str) -> str:
    """A remedy as code. `example` is an input, as Python."""
    if isinstance(remedy, OptimizerRemedy):
        return f"uv.{remedy!r}.prepare(optimizer)"
    made = textwrap.wrap(f"remedy = uv.{remedy!r}", WIDTH, subsequent_indent="    ", break_long_words=False)
    lines = (
        f"setup = uv.Setup.like(model, optimizer, loss_fn, {example})",
        "setup = remedy.apply(setup)",
        "model, optimizer = setup.build()",
        "loss_fn = setup.loss_fn",
    )
    return "\n".join([*made, *lines])


def rounded(value: float, digits: int = 6) -> float:
    """As a person would write it.

    >>> rounded(0.0016455432794473689, 2)
    0.0016
    """
    return float(f"{value:.{digits}g}")
