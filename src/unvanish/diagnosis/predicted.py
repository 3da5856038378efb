"""What mean-field theory predicts of a network that it knows: Linear layers in a row, with activations and norms."""
# L layers

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from unvanish.core.blocks import DROPOUTS
from unvanish.modules.initialise import known
from unvanish.modules.wiring import Add, Put, Wire
from unvanish.remedies.normalize_inside import Standardize
from unvanish.theory import Layer, Normalise, Signal, activation, predicted
from unvanish.train.leaves import leaf_sequence

NORMALISED = {
    nn.BatchNorm1d: Normalise.BATCH,
    nn.LayerNorm: Normalise.LAYER,
    nn.RMSNorm: Normalise.LAYER,
    Standardize: Normalise.TENSOR,
}
PASSED = (nn.Flatten, nn.Identity, *DROPOUTS)  # theory passes them by: dropout as it is in the mean
CENTRED = 0.9  # the cosine between a bias and −W m: of one that is drawn it is 0 ± 1/√fan_out
IDENTITY = activation("Identity")


def predicted_backward(model: nn.Module, inputs: object) -> Mapping[str, float]:
    """RMS of the backward signal at each Linear layer, over the last one's, by name; empty where theory says nothing.

    From the weights as they are and the inputs as they are (`unvanish.theory.predicted`).
    """
    leaves = leaf_sequence(model)
    if leaves is None or not isinstance(inputs, Tensor) or not inputs.is_floating_point() or len(inputs) < 2:
        return {}
    found = _layers(leaves, inputs.detach().flatten(1).mean(0))
    if found is None or len(found[0]) < 3 or inputs[0].numel() != found[0][0].fan_in:
        return {}
    layers, linears, skips = found
    with np.errstate(all="ignore"):
        signal = predicted(layers, Signal.of(inputs.detach().cpu().double().numpy()), skips).backward_rms
    names = {id(module): name for name, module in model.named_modules()}
    values = zip(linears, signal, strict=True)
    return {names[id(one)]: float(value) for one, value in values if np.isfinite(value)}


def _layers(leaves: list[nn.Module], mean: Tensor) -> tuple[list[Layer], list[nn.Linear], list[tuple[int, int]]] | None:
    """The layers as theory takes them, their modules, and the skips; `None` where a module is not known."""
    layers: list[Layer] = []
    linears: list[nn.Linear] = []
    ends: dict[Wire, int] = {}
    skips: list[tuple[int, int]] = []
    for module in leaves:
        at = len(layers) - 1
        if isinstance(module, nn.Linear):
            bias = 0.0 if module.bias is None else float(module.bias.detach().double().square().mean())
            std = float(module.weight.detach().double().square().mean().sqrt())
            centred = _is_centred(module, torch.ones(module.in_features) if linears else mean.cpu())
            layers.append(Layer(module.in_features, module.out_features, std, IDENTITY, bias, centred=centred))
            linears.append(module)
        elif isinstance(module, Put):
            ends[module.wire] = at
        elif isinstance(module, Add):
            if ends.get(module.wire, -1) < 0 or at <= ends[module.wire]:
                return None
            skips.append((ends[module.wire], at))
        elif not isinstance(module, PASSED):
            if at < 0:
                return None
            layer = _with(layers[at], module)
            if layer is None:
                return None
            layers[at] = layer
    return layers, linears, skips


def _is_centred(module: nn.Linear, mean: Tensor) -> bool:
    """Whether its bias is −W m, m the mean of its inputs or a multiple of it."""
    if module.bias is None or module.out_features < 3 or len(mean) != module.in_features:
        return False
    own, wanted = module.bias.detach().cpu().double(), -(module.weight.detach().cpu() @ mean.float()).double()
    size = own.norm() * wanted.norm()
    return bool(size > 0) and float(own @ wanted / size) > CENTRED


def _with(layer: Layer, module: nn.Module) -> Layer | None:
    """The layer with what stands behind it."""
    kind = NORMALISED.get(type(module))
    phi = known(module)
    if layer.activation is not IDENTITY or (kind is None and phi is None):
        return None
    normalise, function = (kind, IDENTITY) if kind is not None else (layer.normalise, phi)
    return replace(layer, activation=function, normalise=normalise)
