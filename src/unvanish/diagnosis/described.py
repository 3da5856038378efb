"""What stands beside a layer's name in a table: its type and shape, `Linear 784→128`."""

from collections.abc import Mapping

from torch import nn


def described(model: nn.Module, names: Mapping[int, str]) -> dict[str, str]:
    """By the layer's name, of every layer with a weight."""
    found: dict[str, str] = {}
    for module in model.modules():
        for own, parameter in module.named_parameters(recurse=False):
            name = names.get(id(parameter))
            if name is not None and parameter.dim() > 1 and name not in found:
                found[name] = _words(module, own, parameter)
    return found


def _words(module: nn.Module, own: str, weight: nn.Parameter) -> str:
    kind = type(module).__name__
    if isinstance(module, nn.Embedding):
        return f"{kind} {module.num_embeddings}→{module.embedding_dim}"
    if isinstance(module, nn.modules.conv._ConvNd):
        size = "×".join(map(str, module.kernel_size))
        return f"{kind} {module.in_channels}→{module.out_channels}, {size}"
    if isinstance(module, nn.ParameterDict) and weight.dim() == 2:  # Keras's
        return f"{weight.shape[0]}→{weight.shape[1]}"
    if own == "weight" and weight.dim() == 2:
        return f"{kind} {weight.shape[1]}→{weight.shape[0]}"
    return f"{kind} {'×'.join(map(str, weight.shape))}"
