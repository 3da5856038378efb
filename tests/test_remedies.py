"""What each remedy does, and its limitations, by measurement."""

import pytest
import torch
from torch import nn

import unvanish as uv
from nets import CASES, mlp
from test_flow import measured
from unvanish.data.images import scaled
from unvanish.modules.freeze import set_training_mode, stage_network
from unvanish.remedies.normalize_inside import Standardize


def flow_at_init(recipe: uv.Recipe, data, images: int = 512) -> dict[str, list[float]]:
    """Each quantity's value at every layer, on a batch, before the first step."""
    setup = recipe.setup()
    x, y = scaled(data.train.pixels_ND[:images]), data.train.labels_N[:images]
    return {name: values.tolist() for name, values in measured(setup, x, y).items()}


def slope(values: list[float]) -> float:
    """The factor by which the hidden values change per layer towards the input."""
    hidden = values[:-1]
    return (hidden[0] / hidden[-1]) ** (1 / (len(hidden) - 1))


# Weight increasing


def test_larger_weights_bring_the_gradient_back(data):
    lost = slope(flow_at_init(uv.baseline(), data)["backward_rms"])
    kept = slope(flow_at_init(uv.method("1a"), data)["backward_rms"])
    assert lost == pytest.approx(128**0.5 * 0.05 / 4, rel=0.05)  # √(fan · σ²) · max φ′, near 0
    assert 0.8 < kept < 1.25


def test_limitation_relu_with_std_1_explodes(data):
    recipe = uv.method("1a").with_remedies(uv.BetterActivation("ReLU"))
    std = flow_at_init(recipe, data)["pre_activation_std"]
    growth = (std[6] / std[0]) ** (1 / 6)
    assert growth == pytest.approx((128 / 2) ** 0.5, rel=0.2)


def test_limitation_std_10_saturates(data):
    assert min(flow_at_init(uv.method("1b"), data)["saturated"][:7]) > 0.8
    assert max(flow_at_init(uv.method("1a"), data)["saturated"][1:7]) < 0.7


# Better activation


def test_relu_takes_less_from_the_gradient_but_small_weights_still_do(data):
    factor = slope(flow_at_init(uv.method("2"), data)["backward_rms"])
    assert factor == pytest.approx((128 * 0.05**2 / 2) ** 0.5, rel=0.1)  # the limitation


@pytest.mark.parametrize("name", ["relu", "ReLU", "gelu", "Hardtanh", "PReLU", "softplus"])
def test_any_activation_of_torch_nn(name):
    setup = uv.BetterActivation(name).apply(mlp())
    kinds = {type(setup.model.get_submodule(f"{block[0]}.activation")).__name__.lower() for block in setup.blocks}
    assert kinds == {name.lower()}


def test_activations_are_separate_modules():
    setup = uv.BetterActivation("PReLU").apply(mlp())
    assert len({id(setup.model.get_submodule(f"{block[0]}.activation")) for block in setup.blocks}) == 7


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: uv.BetterActivation("rleu"), "activation 'rleu' is not one of torch.nn's; did you mean 'ReLU'?"),
        (lambda: uv.BetterActivation("Softmax"), "not elementwise"),
        (lambda: uv.BetterActivation("softmax"), "not elementwise"),
        (lambda: uv.BetterActivation("ELU", {"alhpa": 1}), "alhpa"),
        (lambda: uv.baseline(activation="Threshold"), "activation Threshold cannot be made with no options"),
        (lambda: uv.Optimizer("Adam", 0.1, {"betas": torch.ones(2)}), "options are numbers, texts"),
        (lambda: uv.BetterOptimizer("Adm"), "did you mean 'Adam'?"),
        (lambda: uv.BetterOptimizer("LBFGS"), "plain steps"),
        (lambda: uv.BetterOptimizer("SGD", 0.1, {"momentum": -1}), "momentum"),
        (lambda: uv.NormalizeInside("standardize", learned=True), "nothing to learn"),
        (lambda: uv.baseline().with_remedies(uv.SkipConnection([(1, 8)])), "has 7 hidden layers"),
        (lambda: uv.baseline().with_remedies(uv.SkipConnection([(3, 1)])), "a path leads from a layer, counted from 1"),
        (lambda: uv.baseline(hidden=(8, 9, 10)).with_remedies(uv.SkipConnection([(1, 3)])), "equal shape"),
        (lambda: uv.baseline().with_remedies(uv.TrainSomeLayers((4, 4))), "deeper than the network of 7"),
        (lambda: uv.baseline().with_remedies(uv.TrainSomeLayers((2, 2))), "leave 3 of 7 out"),
        (lambda: uv.Setup.of(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.zeros(1, 4)), "at least a hidden"),
        (lambda: uv.method("4c"), "there are baseline, 1a, 1b"),
        (lambda: uv.Optimizer("SGD", 0.1, momentum=0.9), "Optimizer has no 'momentum'; it has name, lr, options"),
        (lambda: uv.MLP(hiden=(3, 3)), "did you mean 'hidden'?"),
        (lambda: uv.baseline(epochs=0), "a recipe's epochs: input should be greater than 0, not 0"),
        (lambda: uv.WeightIncreasing(0), "WeightIncreasing's std: input should be greater than 0, not 0"),
        (lambda: uv.WeightIncreasing(1, 2), "WeightIncreasing takes std and nothing more, not 2"),
        (lambda: uv.Remedy.load({"kind": "weight-increasing", "sdt": 1}), "did you mean 'std'?"),
        (lambda: uv.Remedy.load({"kind": "weight-incrasing"}), "did you mean 'weight-increasing'?"),
        (lambda: uv.baseline().but(epocs=3), "did you mean 'epochs'?"),
        (lambda: uv.Stage(depth=8) and uv.baseline().but(sead=1), "sead"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(uv.UnvanishError, match=r"\w+ \w+") as refusal:
        make()
    assert sentence in str(refusal.value)


@pytest.mark.parametrize(
    "remedies",
    [
        (uv.WeightIncreasing(1.0), uv.WeightIncreasing(1.0)),
        (uv.BetterActivation("Sigmoid"),),
        (uv.BetterOptimizer("SGD", 0.01),),
        (uv.NormalizeInside(), uv.NormalizeInside("standardize")),
        (uv.TrainSomeLayers(), uv.TrainSomeLayers()),
        (uv.SkipConnection(()),),
    ],
    ids=str,
)
def test_nothing_to_do_is_said_in_a_sentence(remedies):
    with pytest.raises(uv.NothingToDo, match=r"\w+ \w+ \w+"):
        uv.baseline().with_remedies(*remedies)


# Better optimizer


def test_limitation_adam_stands_still_where_gradients_come_near_its_epsilon(data):
    deep = uv.baseline(hidden=(128,) * 20).with_remedies(uv.BetterOptimizer("Adam", 0.001))
    grads = flow_at_init(deep, data)["weight_gradient_norm"]
    per_weight = grads[0] / (784 * 128) ** 0.5
    assert per_weight < 1e-8 * 1e-3  # a thousandth of Adam's ε: steps of lr/1000 at most


def test_adam_moves_small_gradients_as_far_as_large_ones(data):
    record = uv.run(uv.method("3", epochs=1, samples=2048))
    ratios = record.series["update_ratio"].values[0]
    assert ratios[0] > 1e-3  # SGD's at the same layer: under 1e-7
    assert uv.run(uv.baseline(epochs=1, samples=2048)).series["update_ratio"].values[0][0] < 1e-6


# Normalise inside


def test_standardize_is_the_formula():
    x = torch.randn(5, 7, dtype=torch.float64) * 3 + 2
    expected = (x - x.mean()) / x.std(unbiased=True)
    torch.testing.assert_close(Standardize()(x), expected)


def test_batch_norm_as_published_and_as_meant():
    def norm(remedy):
        return remedy.apply(mlp()).model.get_submodule("hidden1.linear.1")

    published, meant = norm(uv.NormalizeInside()), norm(uv.NormalizeInside(learned=True))
    assert isinstance(published, nn.BatchNorm1d)
    assert (published.affine, published.track_running_stats) == (False, False)
    assert (meant.affine, meant.track_running_stats) == (True, True)


def test_convolutions_get_two_dimensional_batch_norm():
    setup = uv.NormalizeInside().apply(CASES[2].setup())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in setup.model.modules()) == 7


def test_batch_norm_keeps_the_gradient(data):
    assert 0.8 < slope(flow_at_init(uv.method("4a"), data)["backward_rms"]) < 1.3


def test_limitation_standardize_leaves_the_inputs_alike(data):
    """The units keep a spread, the inputs do not: the last layer sees nearly the same for every image."""

    def spread_over_inputs(method):
        setup = uv.method(method).setup()
        x = data.train.pixels_ND[:512].float() / 255
        with torch.no_grad():
            hidden7 = setup.model[:7](x)
        return (hidden7.var(dim=0).mean() / hidden7.var()).item()

    assert spread_over_inputs("4a") > 0.5
    assert spread_over_inputs("4b") < 0.05


def test_limitation_deep_batch_norm_explodes(data):
    deep = uv.baseline(hidden=(64,) * 50, activation="ReLU", init_std=(2 / 64) ** 0.5)
    factor = slope(flow_at_init(deep.with_remedies(uv.NormalizeInside()), data)["backward_rms"])
    assert 1.1 < factor < 1.35  # Yang et al. 2019: about 1.2 a layer


# Skip connection


def test_a_skip_adds_the_output_of_one_block_to_that_of_another():
    plain = mlp()
    skipped = uv.SkipConnection([(1, 3)]).apply(plain)
    x = torch.rand(4, 784)
    h1 = plain.model[:1](x)
    h3 = plain.model[:3](x) + h1
    torch.testing.assert_close(skipped.model(x), plain.model[3:](h3))


def test_limitation_without_a_skip_across_a_step_the_gradient_still_shrinks(data):
    signal = flow_at_init(uv.method("5"), data)["backward_rms"]
    assert signal[3] / signal[6] > 0.5  # 4→7 is bridged
    assert signal[2] / signal[3] < 0.25  # nothing bridges 3 to 4


def test_limitation_unnormalised_sums_grow(data):
    depth = 12
    he = uv.baseline(hidden=(128,) * depth, activation="ReLU", init_std=(2 / 128) ** 0.5)
    skips = uv.SkipConnection([(layer, layer + 1) for layer in range(1, depth)])
    std = flow_at_init(he.with_remedies(skips), data)["pre_activation_std"]
    doubling = (std[depth - 1] / std[1]) ** (2 / (depth - 2))
    assert 1.7 < doubling < 3.0  # of the second moment, a layer


# Train some layers


def test_stages_of_the_published_method():
    stages = uv.method("6").setup().stages
    assert [(s.depth, s.frozen) for s in stages] == [(2, 0), (4, 2), (4, 0), (6, 4), (6, 0), (7, 6), (7, 0)]
    assert uv.method("6").stage_epochs() == (100, 100, 100, 100, 100, 100, 300)
    assert uv.method("6", epochs=3).stage_epochs() == (1, 1, 1, 1, 1, 1, 3)


def test_limitation_a_sub_model_that_vanishes_is_not_helped(data):
    """Two sub-models of ten sigmoid layers each: the first one's gradient is gone already."""
    recipe = uv.baseline(hidden=(64,) * 20, epochs=1, samples=1024)
    record = uv.run(recipe.with_remedies(uv.TrainSomeLayers((10, 10))))
    assert record.series["backward_rms"].values[0][0] < 1e-7


@pytest.mark.parametrize("learned", [False, True])
def test_what_is_frozen_keeps_every_bit_of_its_state(learned, data):
    """With momentum, weight decay and batch norm's running statistics: the three holes of freezing."""
    recipe = uv.baseline(hidden=(16,) * 4).with_remedies(
        uv.NormalizeInside(learned=learned),
        uv.BetterOptimizer("SGD", 0.1, {"momentum": 0.9, "weight_decay": 0.1}),
        uv.TrainSomeLayers((2, 2)),
    )
    setup = recipe.setup()
    (stage,) = [stage for stage in setup.stages if stage.frozen]
    network = stage_network(setup, setup.model, stage)
    optimizer = setup.optimizer([p for p in network.parameters() if p.requires_grad])
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for start in range(0, 2048, 256):
        set_training_mode(setup, network, stage)
        x = data.train.pixels_ND[start : start + 256].float() / 255
        loss = setup.loss_fn(network(x), data.train.labels_N[start : start + 256])
        optimizer.zero_grad(set_to_none=False)
        loss.backward()
        optimizer.step()
    after = network.state_dict()
    frozen = [name for name in before if name.startswith(("hidden1.", "hidden2."))]
    assert len(frozen) == (2 * 7 if learned else 2 * 2)
    for name in before:
        same = torch.equal(before[name], after[name])
        assert same == (name in frozen), name
