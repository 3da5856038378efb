"""Mean-field theory: its integrals against closed forms, its fixed points against the papers, its profiles against
networks that are measured."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import unvanish as uv
from test_flow import measured
from unvanish.core.activations import make_activation
from unvanish.theory import (
    ACTIVATIONS,
    Layer,
    MeanField,
    Normalise,
    Signal,
    activation,
    centred,
    critical,
    critical_line,
    predicted,
)
from unvanish.theory.centred import profile
from unvanish.theory.gaussian import mean, mean_of_two, moments

QS = (1e-6, 0.1, 1.0, 7.0, 1e3)
OF_TORCH = [name for name in ACTIVATIONS if name not in ("Identity", "Erf")]


def test_theory_needs_no_torch():
    code = "import sys, unvanish.theory; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", OF_TORCH)
def test_activations_and_their_slopes_are_torch_s(name):
    x = torch.cat([torch.linspace(-9, 9, 997, dtype=torch.float64), torch.tensor([0.0, 3.0, -3.0, 6.0, 1.0])])
    x.requires_grad_()
    y = make_activation(name).double().eval()(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    phi = activation(name)
    np.testing.assert_allclose(phi(x.detach().numpy()), y.detach().numpy(), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(phi.slope(x.detach().numpy()), slope.numpy(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_kinks_are_where_the_slope_jumps(name):
    phi = activation(name)
    x = np.linspace(-8, 8, 16_001) + 1e-7
    jumps = x[1:][abs(np.diff(phi.slope(x), 2, prepend=phi.slope(x[:1]))) > 2e-3]
    for one in jumps:
        assert any(abs(one - kink) < 5e-3 for kink in phi.kinks), (name, one)


def test_activations_with_options_and_unknown_ones():
    assert activation("LeakyReLU", negative_slope=0.3).slope(np.array([-1.0]))[0] == 0.3
    with pytest.raises(uv.RecipeError, match="did you mean 'ReLU'"):
        activation("relo")
    with pytest.raises(uv.RecipeError, match="cannot be made with"):
        activation("relu", slope=3)


def by_halves(f, q: float, kinks) -> float:
    """Another rule: Gauss–Legendre of order 300 on 24 panels between kinks."""
    root = math.sqrt(q)
    ends = np.unique([*np.linspace(-12, 12, 25), *(k / root for k in kinks if abs(k / root) < 12)])
    if root > 1:
        ends = np.unique([*ends, *(s / root for s in (-40, -10, -3, -1, -0.3, 0, 0.3, 1, 3, 10, 40) if s / root < 12)])
    nodes, weights = np.polynomial.legendre.leggauss(300)
    total = 0.0
    for low, high in pairwise(ends):
        z = (low + high) / 2 + (high - low) / 2 * nodes
        total += (high - low) / 2 * float((f(root * z) * np.exp(-z * z / 2)) @ weights)
    return total / math.sqrt(2 * math.pi)


@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_moments_to_1e_8(name, q):
    phi = activation(name)
    expected = [by_halves(f, q, phi.kinks) for f in (phi, lambda x: phi(x) ** 2, lambda x: phi.slope(x) ** 2)]
    assert moments(phi, q) == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("q", QS)
def test_moments_in_closed_form(q):
    below = 0.2
    leaky = moments(activation("LeakyReLU", negative_slope=below), q)
    mean_of_half = math.sqrt(q / (2 * math.pi))
    assert leaky == pytest.approx(((1 - below) * mean_of_half, q * (1 + below**2) / 2, (1 + below**2) / 2), rel=1e-10)
    # Williams 1997, eq. 11: E erf(u) erf(v) = 2/π asin(2 q c / (1 + 2 q)); E erf′² = 4/π / √(1 + 4 q)
    _, square, slope = moments(activation("erf"), q)
    assert square == pytest.approx(2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-10)
    assert slope == pytest.approx(4 / math.pi / math.sqrt(1 + 4 * q), rel=1e-10)


@pytest.mark.parametrize("q", QS)
@pytest.mark.parametrize("c", [-1.0, -0.9, 0.0, 0.3, 0.99, 0.999999, 1.0])
def test_means_of_two_in_closed_form(q, c):
    # Cho & Saul 2009, eq. 6, of order 1, and order 0 for the slopes
    relu, angle = activation("relu"), math.acos(c)
    both = q * (math.sin(angle) + (math.pi - angle) * math.cos(angle)) / (2 * math.pi)
    assert mean_of_two(relu.function, q, c, relu.kinks) == pytest.approx(both, abs=1e-10 * q)
    slopes = (math.pi - angle) / (2 * math.pi)
    assert mean_of_two(relu.slope, q, c, relu.kinks) == pytest.approx(slopes, abs=1e-6)
    expected = 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q))
    assert mean_of_two(activation("erf").function, q, c) == pytest.approx(expected, abs=1e-9)


def test_a_mean_at_length_0_is_the_value_at_0():
    sigmoid = activation("sigmoid")
    assert mean(sigmoid.function, 0.0) == 0.5
    assert mean_of_two(sigmoid.function, 0.0, 0.3) == 0.25


# fixed points and phases


def test_critical_weights_are_those_of_the_papers():
    assert critical(activation("relu")).weight_var == pytest.approx(2.0, abs=1e-12)  # He et al. 2015, eq. 10
    assert critical(activation("LeakyReLU", negative_slope=0.5)).weight_var == pytest.approx(1.6)  # eq. 14 … 1.25/2
    assert critical(activation("tanh")).weight_var == pytest.approx(1.0)
    assert critical(activation("erf")).weight_var == pytest.approx(math.pi / 4)
    line = critical(activation("tanh"), bias_var=0.05)
    assert line.chi_1 == pytest.approx(1.0, abs=1e-9)
    assert line.length(line.fixed_length) == pytest.approx(line.fixed_length)
    assert line.weight_var == pytest.approx(1.76, abs=0.01)  # Schoenholz et al. 2017, figure 2: σ_b² = 0.05
    with pytest.raises(uv.NothingToDo, match="no critical weights"):
        critical(activation("relu"), 0.1)
    with pytest.raises(uv.NothingToDo, match="no critical weights"):
        critical(activation("gelu"))  # its q* = 0 is left by any signal
    assert np.isnan(critical_line(activation("relu"), np.array([0.0, 0.1]))).tolist() == [False, True]


@pytest.mark.parametrize(
    ("name", "weight_var", "bias_var", "phase"),
    [
        ("tanh", 0.9, 0.0, "ordered"),
        ("tanh", 1.0, 0.0, "critical"),
        ("tanh", 1.1, 0.0, "chaotic"),
        ("relu", 1.9, 0.0, "ordered"),
        ("relu", 2.0, 0.0, "critical"),
        ("relu", 2.1, 0.0, "chaotic"),
        ("sigmoid", 128 * 0.05**2, 0.0, "ordered"),
        ("sigmoid", 128.0, 0.0, "chaotic"),
        ("gelu", 5.0, 0.0, "chaotic"),
    ],
)
def test_phases(name, weight_var, bias_var, phase):
    assert MeanField(activation(name), weight_var, bias_var).phase == phase


@pytest.mark.parametrize(("weight_var", "bias_var"), [(0.8, 0.05), (1.5, 0.05), (3.0, 0.05), (4.0, 0.0)])
def test_depth_scales_are_the_rates_at_which_the_maps_come_to_their_fixed_points(weight_var, bias_var):
    field = MeanField(activation("tanh"), weight_var, bias_var)
    q, c = field.fixed_length, field.fixed_correlation
    assert field.length(q) == pytest.approx(q, rel=1e-10)
    assert field.correlation(c) == pytest.approx(c, abs=1e-7)
    near = field.length(q * 1.001)
    assert math.log((q * 1.001 - q) / (near - q)) == pytest.approx(1 / field.xi_q, rel=0.01)
    away = field.correlation(c - 1e-4)
    assert math.log(1e-4 / (c - away)) == pytest.approx(1 / field.xi_c, rel=0.02)
    assert math.exp(-1 / field.xi_gradient) == pytest.approx(field.chi_1)
    assert field.trainable_depth == pytest.approx(6 * field.xi_c)


def test_the_length_map_by_chance_is_a_mean():
    """Poole et al. 2016, eq. 3, with a million draws."""
    z = np.random.default_rng(0).standard_normal(1_000_000)
    field = MeanField(activation("selu"), 1.3, 0.2)
    draws = 1.3 * activation("selu")(np.sqrt(2.0) * z) ** 2 + 0.2
    assert abs(field.length(2.0) - draws.mean()) < 4 * draws.std() / 1000


def test_variances_that_are_none_are_refused():
    with pytest.raises(uv.RecipeError, match="not negative"):
        MeanField(activation("relu"), -1.0)
    with pytest.raises(uv.RecipeError, match="not negative"):
        MeanField(activation("relu"), 1.0, math.nan)


# centred layers


def test_a_centred_sigmoid_layer_is_a_critical_tanh_layer():
    """σ(x) − ½ = ½ tanh(x/2): at gain 4 its chi and its length are those of tanh at gain 1, of half the input."""
    for q in (0.0, 0.3, 2.0):
        layer, tanh = centred(activation("sigmoid"), q, gain=4.0), MeanField(activation("tanh"), 1.0)
        assert layer.mean == pytest.approx(0.5)
        assert layer.chi == pytest.approx(tanh.chi(q / 4))
        assert layer.length / 4 == pytest.approx(tanh.length(q / 4))


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "softplus", "gelu", "silu", "elu"])
@pytest.mark.parametrize("q", [0.01, 1.0, 9.0])
def test_gradient_and_length_cannot_both_be_kept(name, q):
    """Var φ(√q z) ≤ q E φ′²: the Poincaré inequality."""
    layer = centred(activation(name), q)
    assert layer.chi == pytest.approx(1.0)
    assert layer.length <= q * (1 + 1e-12)
    assert centred(activation("identity"), q).length == pytest.approx(q)


def test_gain_5_of_the_study_s_network():
    assert math.isclose(
        math.prod(one.chi for one in profile(activation("sigmoid"), 1.0, 7, 5.0)) ** (1 / 7), 1.05, abs_tol=0.03
    )
    for name in ("relu", "LeakyReLU", "SELU", "PReLU"):
        with pytest.raises(uv.NothingToDo, match="He's"):
            centred(activation(name), 1.0)
    with pytest.raises(uv.NothingToDo, match="flat at 0"):
        centred(activation("Tanhshrink"), 1.0)


# predicted against measured

WIDTH, DEPTH, DRAWS = 512, 22, 10
CASES = [
    ("Sigmoid", 4.0), ("Sigmoid", 40.0), ("Sigmoid", 200.0), ("Tanh", 0.7), ("Tanh", 1.0), ("Tanh", 2.5),
    ("ReLU", 1.5), ("ReLU", 2.0), ("ReLU", 2.5), ("GELU", 1.5), ("GELU", 2.3), ("SELU", 0.8), ("SELU", 1.0),
    ("SELU", 1.5),
]  # fmt: skip


@pytest.mark.parametrize(("name", "weight_var"), CASES)
def test_the_backward_factor_of_each_layer_is_the_root_of_chi_at_its_own_length(name, weight_var):
    phi, std = activation(name), math.sqrt(weight_var / WIDTH)
    torch.manual_seed(0)
    x = torch.randn(24, WIDTH)
    factors = []
    for _ in range(DRAWS):
        layers = []
        for _ in range(DEPTH):
            layers += [nn.Linear(WIDTH, WIDTH, bias=False), make_activation(name)]
            nn.init.normal_(layers[-2].weight, 0, std)
        net = nn.Sequential(*layers, nn.Linear(WIDTH, 4, bias=False)).double()
        z, out = [], x.double()
        for layer in net:
            out = layer(out)
            if isinstance(layer, nn.Linear):
                z.append(out)
        deltas = torch.autograd.grad((out * torch.randn_like(out)).sum(), z[:-1])
        rms = np.array([float(delta.square().mean().sqrt()) for delta in deltas])
        factors.append(rms[:-1] / rms[1:])
    found = np.log(np.array(factors))
    field = MeanField(phi, weight_var)
    lengths = field.lengths(weight_var * float(x.double().square().mean()), DEPTH)
    theory = np.array([0.5 * math.log(field.chi(q)) for q in lengths[:-1]])
    assert abs(found.mean() - theory.mean()) < math.log(1.05)
    error = found.std(0, ddof=1) / math.sqrt(DRAWS)
    assert (abs(found.mean(0) - theory) < 3 * np.maximum(error, 0.004)).mean() >= 0.95


def test_profiles_of_given_networks(data):
    """The study's networks, with their own inputs: RMS of activation and backward signal, layer by layer."""
    from unvanish.data.images import scaled

    x, y = scaled(data.train.pixels_ND[:512]), data.train.labels_N[:512]
    inputs = Signal.of(x.numpy())
    sigmoid, relu = activation("sigmoid"), activation("relu")
    widths = (784, *[128] * 7, 10)

    def layers(phi, std, normalise=Normalise.NOTHING):
        hidden = [Layer(a, b, std, phi, normalise=normalise) for a, b in pairwise(widths[:-1])]
        return [*hidden, Layer(128, 10, std, None)]

    for recipe, theirs, skips in (
        (uv.baseline(), layers(sigmoid, 0.05), ()),
        (uv.method("1a"), layers(sigmoid, 1.0), ()),
        (uv.method("2"), layers(relu, 0.05), ()),
        (uv.method("4a"), layers(sigmoid, 0.05, Normalise.BATCH), ()),
        (uv.method("5"), layers(sigmoid, 0.05), ((0, 2), (3, 6))),
    ):
        found = [measured(recipe.but(seed=seed).setup(), x, y) for seed in range(3)]
        values = {
            name: np.exp(np.mean([np.log(one[name]) for one in found], 0))
            for name in ("backward_rms", "activation_rms")
        }
        theory = predicted(theirs, inputs, skips)
        backward = values["backward_rms"][:-1] / values["backward_rms"][-2]
        expected = theory.backward_rms[:-1] / theory.backward_rms[-2]
        assert abs(np.log(backward / expected)).max() < 0.25, (str(recipe), backward, expected)
        if not skips:
            ratio = values["activation_rms"][:-1] / theory.activation_rms[:-1]
            assert abs(np.log(ratio)).max() < 0.1, (str(recipe), ratio)


def test_batch_norm_makes_the_gradient_explode_by_pi_over_pi_minus_1():
    """Yang et al. 2019: of ReLU the squared gradient grows by π/(π − 1) a layer."""
    layers = [Layer(512, 512, 0.05, activation("relu"), normalise=Normalise.BATCH) for _ in range(10)]
    backward = predicted(layers, Signal(1.0, 0.0)).backward_rms
    assert (backward[:-2] / backward[1:-1]) ** 2 == pytest.approx(math.pi / (math.pi - 1))


def test_layer_norm_keeps_the_gradient_of_relu():
    """E φ′²/E φ² at q = 1: the factor on the squared gradient, whatever the weights; of ReLU it is 1."""
    for std in (0.01, 1.0):
        layers = [Layer(512, 512, std, activation("relu"), normalise=Normalise.LAYER) for _ in range(10)]
        backward = predicted(layers, Signal(1.0, 0.5)).backward_rms
        assert (backward[1:-2] / backward[2:-1]) ** 2 == pytest.approx(1.0)


def test_a_residual_branch_adds_its_gradient():
    """Yang & Schoenholz 2017: with an identity around each linear layer of σ_w² = v, second moments grow by 1 + v."""
    layers = [Layer(512, 512, math.sqrt(0.3 / 512), activation("identity")) for _ in range(8)]
    skips = [(k, k + 1) for k in range(7)]
    found = predicted(layers, Signal(1.0, 0.0), skips)
    assert (found.backward_rms[1:-2] / found.backward_rms[2:-1]) ** 2 == pytest.approx(1.3)
    with pytest.raises(uv.RecipeError, match="no skip from layer 3"):
        predicted(layers, Signal(1.0, 0.0), [(3, 3)])


def test_signals_of_a_batch():
    x = np.random.default_rng(0).normal(1.0, 2.0, (400, 50))
    found = Signal.of(x)
    assert found.square == pytest.approx(5.0, rel=0.05)
    assert found.product == pytest.approx(1.0, rel=0.1)  # the mean alone is shared
    assert found.spread == pytest.approx(2.0, rel=0.05)
    pairs = [float((x[i] * x[j]).mean()) for i in range(20) for j in range(20) if i != j]
    assert Signal.of(x[:20]).product == pytest.approx(np.mean(pairs))
