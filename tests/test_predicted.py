"""The theory of a network beside what is measured of it."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import unvanish as uv
from unvanish.core.activations import make_activation
from unvanish.diagnosis.predicted import predicted_backward


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    width, depth = 256, 8

    def plain(activation: str, std: float, norm: type[nn.Module] | None = None) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(depth):
            layers += [nn.Linear(width, width), *([norm(width)] if norm else []), make_activation(activation)]
            nn.init.normal_(next(m for m in reversed(layers) if isinstance(m, nn.Linear)).weight, 0, std)
        return nn.Sequential(*layers, nn.Linear(width, 4))

    skips = uv.SkipEveryBlock().apply(uv.Setup.of(plain("Tanh", 0.04), torch.randn(2, width))).model
    return {
        "sigmoid": plain("Sigmoid", 0.06),
        "tanh": plain("Tanh", 0.08),
        "relu": plain("ReLU", 0.08),
        "gelu, batch norm": plain("GELU", 0.05, nn.BatchNorm1d),
        "tanh, layer norm": plain("Tanh", 0.02, nn.LayerNorm),
        "tanh, skips": skips,
    }


@pytest.mark.parametrize("name", networks())
def test_it_is_what_is_measured(name):
    model, x = networks()[name], torch.randn(9, 64, 256, generator=torch.Generator().manual_seed(1))
    theory = predicted_backward(model, x[0])
    batches = [(one, one[:, :4].argmax(1)) for one in x]
    found = uv.check(model, batches, functional.cross_entropy, torch.optim.SGD(model.parameters(), 0.01))
    assert found.predicted == theory
    measured = dict(zip(found.table.layers, found.table.row("backward_rms"), strict=True))
    assert list(theory) == [name for name in found.table.layers if name in theory]
    assert len(theory) == 9
    last = list(theory)[-2]  # of the output layer the classes are few
    ratios = [measured[layer] / measured[last] / (theory[layer] / theory[last]) for layer in list(theory)[:-1]]
    assert np.abs(np.log(ratios)).max() < 0.2


def test_it_says_nothing_where_it_knows_nothing():
    x = torch.randn(8, 6)
    lstm = nn.LSTM(6, 6)
    assert predicted_backward(lstm, x) == {}
    assert predicted_backward(nn.Sequential(nn.Linear(6, 6), nn.Softmax(-1), nn.Linear(6, 6), nn.Linear(6, 2)), x) == {}
    assert predicted_backward(nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 2)), x) == {}  # nothing to compare
    deep = nn.Sequential(*[layer for _ in range(3) for layer in (nn.Linear(6, 6), nn.ReLU())], nn.Linear(6, 2))
    assert len(predicted_backward(deep, x)) == 4
    assert predicted_backward(deep, (x, x)) == {}
