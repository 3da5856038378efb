"""Fixes that several checks prescribe: code that runs where `torch`, `model`, `loss_fn` and `optimizer` exist."""

import textwrap

from unvanish.core.finding import Fix
from unvanish.core.remedy import OptimizerRemedy, Remedy
from unvanish.remedies import ClassWeights, TargetStandardisation

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
    "random first weights (PyTorch's own)",
    "for module in model.modules():\n    if hasattr(module, 'reset_parameters'):\n        module.reset_parameters()",
)
NARROWER = Fix(
    "smaller first weights (σ_w = 1: std = 1/√fan_in)",
    "for module in model.modules():\n"
    "    if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)):\n"
    "        torch.nn.init.normal_(module.weight, 0, module.weight[0].numel() ** -0.5)",
)
OPTIMIZER_ANEW = (  # over the model's parameters as they are now
    "lr = optimizer.param_groups[0]['lr']\noptimizer = type(optimizer)(model.parameters(), lr=lr)"
)
CHANGES_THE_LOSS = (ClassWeights, TargetStandardisation)
WIDTH = 76  # cells of a line of code


def applied(remedy: Remedy, example: str) -> str:
    """A remedy as code. `example` is an input, as Python."""
    if isinstance(remedy, OptimizerRemedy):
        return f"uv.{remedy!r}.prepare(optimizer)"
    made = textwrap.wrap(f"remedy = uv.{remedy!r}", WIDTH, subsequent_indent="    ", break_long_words=False)
    lines = (
        f"setup = uv.Setup.like(model, optimizer, loss_fn, {example})",
        "model, optimizer = remedy.apply(setup).build()",
    )
    changed = ["loss_fn = remedy.apply(setup).loss_fn"] if isinstance(remedy, CHANGES_THE_LOSS) else []
    return "\n".join([*made, *lines, *changed])


def rate(factor: float, text: str = "") -> Fix:
    """The optimizer's learning rate times a factor."""
    word = text or f"the learning rate × {factor:.2g}"
    return Fix(word, f"for group in optimizer.param_groups:\n    group['lr'] *= {factor:.2g}")


def scaled(mean: float, std: float) -> Fix:
    """Inputs of mean 0 and standard deviation 1."""
    return Fix(
        "inputs of mean 0 and standard deviation 1: in the data set, or in front of the model",
        f"mean, std = {mean:.6g}, {std:.6g}\n"
        "scale = lambda x: (x - mean) / std if x.is_floating_point() else x\n"
        "model.register_forward_pre_hook(lambda _, inputs: tuple(map(scale, inputs)))",
    )
