"""What the remedies beyond the published six do, by measurement."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

import unvanish as uv
from nets import CASES
from test_remedies import flow_at_init
from unvanish.core.activations import make_activation
from unvanish.core.remedy import PreparedOptimizer
from unvanish.data.images import scaled
from unvanish.modules.residual import Gate
from unvanish.remedies.fixup_init import branches
from unvanish.remedies.muon import orthogonal
from unvanish.study.training import training
from unvanish.theory import activation
from unvanish.theory.gaussian import moments


def deep(name: str, depth: int = 20, width: int = 64, inputs: int = 64) -> uv.Setup:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for fan_in in (inputs, *[width] * (depth - 1)):
        layers += [nn.Linear(fan_in, width), make_activation(name)]
    x = torch.randn(256, inputs, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.5
    return uv.Setup.of(nn.Sequential(*layers, nn.Linear(width, 10)), x)


def number(value: torch.Tensor) -> float:
    return value.item()


def passed(model: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """The pre-activations of a sequence, in order, and what its output's gradient is by each."""
    z = []
    for module in model.children():
        x = module(x)
        if isinstance(module, nn.Linear):
            x.retain_grad()
            z.append(x)
    (x * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))).sum().backward()
    return z


def factor(values: list[torch.Tensor]) -> float:
    """Of the first of the values to the last, each layer."""
    first, last = (value.square().mean().sqrt() for value in (values[0], values[-1]))
    return number((first / last) ** (1 / (len(values) - 1)))


# Initial weights


@pytest.mark.parametrize("name", ["Sigmoid", "Tanh", "Softplus", "GELU", "ELU"])
def test_centred_critical_weights_keep_the_gradient_and_what_differs(name):
    setup = deep(name)
    z = passed(uv.CentredCriticalInit().apply(setup).build()[0], setup.example)[:-1]
    one_sided = name in ("Softplus", "GELU")  # their slope goes with the sign of z, which theory leaves out
    assert factor([one.grad for one in z]) == pytest.approx(1.0, abs=0.1 if one_sided else 0.05)
    assert all(abs(number(one.mean())) < 1e-4 for one in z)  # nothing is shared
    usual = passed(deep(name).model, setup.example)[:-1]
    assert factor([one.grad for one in usual]) < 0.8  # as it comes: it vanishes


def test_centred_critical_weights_of_a_given_gain():
    setup = deep("Sigmoid", inputs=64)
    model = uv.CentredCriticalInit(5.0).apply(setup).build()[0]
    w = model[2].weight
    torch.testing.assert_close(w @ w.T, 25 * torch.eye(64), atol=1e-4, rtol=0)
    torch.testing.assert_close(model[2].bias, -0.5 * w.sum(1), atol=0.15, rtol=0.1)  # b = −½ W·1
    assert number(model[-1].bias.abs().max()) == 0


def test_centred_critical_weights_of_convolutions_and_groups():
    net = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.Sigmoid(), nn.Conv2d(8, 8, 3, groups=4), nn.Sigmoid(), nn.Flatten(), nn.Linear(32, 3)
    )
    x = torch.rand(64, 4, 6, 6)
    model = uv.CentredCriticalInit().apply(uv.Setup.of(net, x)).build()[0]
    first, second = model[:1](x), model[:3](x)
    assert number(first.mean((0, 2, 3)).abs().max()) < 0.1  # but for the border, which has fewer neighbours
    assert abs(number(second.mean())) < 0.1 * number(second.std())


def test_example_that_is_all_the_same_is_refused():
    setup = replace(deep("Sigmoid"), example=torch.zeros(8, 64))
    for remedy in (uv.CentredCriticalInit(), uv.CriticalInit(), uv.LSUVInit()):
        with pytest.raises(uv.RecipeError, match="inputs are all the same"):
            remedy.apply(setup).build()


@pytest.mark.parametrize("name", ["ReLU", "LeakyReLU", "Tanh", "GELU", "SELU"])
def test_critical_weights_keep_the_gradient(name):
    setup = deep(name, depth=12, width=256)
    z = passed(uv.CriticalInit().apply(setup).build()[0], setup.example)[:-1]
    assert factor([one.grad for one in z]) == pytest.approx(1.0, abs=0.06)


def test_critical_weights_are_drawn_by_each_layer_s_own_length():
    """A sigmoid drives itself into saturation: at its own length the weights that keep the gradient are larger."""
    setup = deep("Sigmoid", depth=12, width=256)
    model = uv.CriticalInit().apply(setup).build()[0]
    stds = [number(module.weight.std()) * 16 for module in model if isinstance(module, nn.Linear)][1:-1]
    assert stds[0] < 6
    assert stds[-1] == pytest.approx(10.1, rel=0.1)  # σ_w at the critical fixed point, as `critical` gives it
    z = passed(model, setup.example)[:-1]
    assert factor([one.grad for one in z]) == pytest.approx(1.0, abs=0.1)


def test_weights_are_drawn_without_the_noise_of_dropout():
    net = nn.Sequential(nn.Linear(16, 32), nn.Dropout(0.5), nn.Tanh(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 3))
    x = torch.randn(256, 16)
    model = uv.LSUVInit().apply(uv.Setup.of(net, x)).build()[0].eval()
    assert number(model[:4](x).std()) == pytest.approx(1.0, rel=1e-3)


def test_the_output_layer_is_pytorch_s():
    recipe = uv.baseline(init_std=3.0).with_remedies(uv.CentredCriticalInit())
    output = recipe.setup(torch.rand(64, 784)).model.get_submodule("output")
    assert number(output.weight.abs().max()) <= 128**-0.5
    assert number(output.bias.abs().max()) == 0


def test_critical_weights_of_relu_are_he_s():
    for remedy in (uv.CriticalInit(), uv.HeInit()):
        model = remedy.apply(deep("ReLU", width=256, inputs=256)).build()[0]
        assert number(model[4].weight.std()) == pytest.approx((2 / 256) ** 0.5, rel=0.02)
        assert number(model[4].bias.abs().max()) == 0
    with pytest.raises(uv.NothingToDo, match="ReLU and its kind"):
        uv.HeInit().apply(deep("Tanh"))
    leaky = deep("LeakyReLU", width=256, inputs=256)
    std = number(uv.HeInit().apply(leaky).build()[0][4].weight.std())
    assert std == pytest.approx((1 / 256 / moments(activation("LeakyReLU"), 1.0)[2]) ** 0.5, rel=0.02)


def test_limitation_xavier_lets_the_gradient_of_a_sigmoid_shrink_by_4():
    setup = deep("Sigmoid", width=256)
    z = passed(uv.XavierInit().apply(setup).build()[0], setup.example)[:-1]
    assert factor([one.grad for one in z]) == pytest.approx(0.25, rel=0.1)
    w = uv.XavierInit(2.0).apply(setup).build()[0][0].weight
    assert number(w.std()) == pytest.approx(2 * (2 / (64 + 256)) ** 0.5, rel=0.03)


def test_orthogonal_weights():
    w = uv.OrthogonalInit(2.0).apply(deep("Tanh")).build()[0][2].weight
    torch.testing.assert_close(w @ w.T, 4 * torch.eye(64), atol=1e-4, rtol=0)


def test_lsuv_gives_every_output_variance_1():
    setup = deep("Tanh")
    z = passed(uv.LSUVInit().apply(setup).build()[0], setup.example)
    assert [number(one.std()) for one in z] == pytest.approx([1.0] * len(z), rel=0.02)


def test_weights_that_a_policy_does_not_draw_are_kept_in_a_model_of_one_s_own():
    class WithEmbedding(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.full((16,), 7.0))
            self.norm = nn.BatchNorm1d(16)
            self.body = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))

        def forward(self, x):
            return self.body(self.norm(x) + self.token)

    net, x = WithEmbedding(), torch.randn(32, 16)
    model, _ = uv.LSUVInit().apply(uv.Setup.of(net, x)).build()
    assert number(model.token[0]) == 7.0
    assert number(model.norm.running_mean.abs().max()) == 0  # the pass that draws moves no statistics
    assert net.body[0].weight.data_ptr() != model.body[0].weight.data_ptr()


def test_a_recipe_draws_them_by_its_training_images(data):
    recipe = uv.baseline(samples=2048, epochs=1, seed=3).with_remedies(uv.CentredCriticalInit())
    with pytest.raises(uv.RecipeError, match=r"recipe.setup\(x\)"):
        recipe.setup()
    record = uv.run(recipe)
    backward = record.series["backward_rms"].values[0][:7]
    assert backward[0] / backward[-1] > 0.5
    vanished = flow_at_init(uv.baseline(), data)["backward_rms"][:7]
    assert vanished[0] / vanished[-1] < 1e-4
    x = scaled(data.train.pixels_ND[:512])
    assert torch.equal(recipe.setup(x).model[0][0].weight, recipe.setup(x).model[0][0].weight)


def test_the_last_of_several_ways_to_draw_weights_holds():
    setup = deep("ReLU", width=256, inputs=256)
    he, large = uv.HeInit(), uv.WeightIncreasing(1.0)
    assert number(large.apply(he.apply(setup)).build()[0][2].weight.std()) == pytest.approx(1.0, rel=0.05)
    assert number(he.apply(large.apply(setup)).build()[0][2].weight.std()) == pytest.approx(0.088, rel=0.05)
    with pytest.raises(uv.NothingToDo, match="drawn so already"):
        he.apply(he.apply(setup))


# Architecture


def test_a_skip_around_every_block_adds_its_input():
    setup = deep("Tanh", depth=4)
    model = uv.SkipEveryBlock().apply(setup).model
    h = x = setup.example
    for k in range(4):
        h = (h if k else 0) + torch.tanh(setup.model[2 * k](x if k == 0 else h))
    torch.testing.assert_close(model(x), setup.model[-1](h))
    with pytest.raises(uv.NothingToDo, match="equal shape and no skip"):
        uv.SkipEveryBlock().apply(replace(setup, model=model, blocks=uv.SkipEveryBlock().apply(setup).blocks))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(8, 8) for _ in range(4))
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        mixed = functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x))
        return self.head(self.out(mixed).mean(1))


def test_projections_of_an_attention_are_not_skipped_one_to_the_other():
    setup = uv.Setup.of(Attention(), torch.randn(3, 5, 8))
    pairs = uv.SkipEveryBlock().apply(setup).model
    names = [name for name, module in pairs.named_modules() if type(module).__name__ == "Then"]
    assert names == ["v", "out"] or names == ["out"]


def test_rezero_starts_as_the_identity_and_its_gates_learn():
    setup = deep("Sigmoid", depth=30)
    after = uv.ReZero().apply(setup)
    first = nn.Sequential(*list(after.model.children())[:2])(setup.example)
    torch.testing.assert_close(after.model(setup.example), after.model[-1](first))
    model, optimizer = after.build()
    functional.cross_entropy(model(setup.example), torch.zeros(256, dtype=torch.long)).backward()
    optimizer.step()
    gates = [module.share for module in model.modules() if isinstance(module, Gate)]
    assert len(gates) == 29
    assert all(number(gate) != 0 for gate in gates)


def test_norms_of_each_sample():
    for how, kind in (("layer-norm", nn.LayerNorm), ("rms-norm", nn.RMSNorm)):
        model = uv.NormalizeInside(how).apply(deep("Tanh")).model
        assert isinstance(model[0][1], kind)
        z = model[0](torch.randn(5, 64))
        torch.testing.assert_close(z.square().mean(1), torch.ones(5), atol=1e-3, rtol=0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    setup = uv.Setup.of(net, torch.randn(2, 1, 6, 6))
    assert isinstance(uv.NormalizeInside("layer-norm").apply(setup).model[0][1], nn.GroupNorm)
    with pytest.raises(uv.RecipeError, match="behind a convolution"):
        uv.NormalizeInside("rms-norm").apply(setup)


def test_weight_norm_keeps_what_the_network_computes():
    setup = deep("Tanh")
    torch.testing.assert_close(uv.WeightNorm().apply(setup).model(setup.example), setup.model(setup.example))


# Steps


def one_step(setup: uv.Setup) -> tuple[nn.Module, torch.optim.Optimizer]:
    model, optimizer = setup.build()
    (1e4 * model(setup.example)).square().mean().backward()
    optimizer.step()
    return model, optimizer


def test_gradients_are_clipped_before_the_step():
    setup = uv.GradientClipping(0.5).apply(deep("Tanh", depth=3))
    model, _ = one_step(setup)
    total = torch.stack([p.grad.norm() for p in model.parameters()]).norm()
    assert number(total) == pytest.approx(0.5, rel=1e-4)


def test_the_rate_is_warmed_up_and_multiplied():
    setup = uv.LearningRate(0.5).apply(deep("Tanh", depth=2))
    model, optimizer = uv.WarmUp(4).apply(setup).build()
    rates = []
    for _ in range(6):
        functional.cross_entropy(model(setup.example), torch.zeros(256, dtype=torch.long)).backward()
        optimizer.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.005 * k for k in (0.25, 0.5, 0.75, 1, 1, 1)])


def test_warm_up_goes_on_from_a_checkpoint(data):
    recipe = uv.baseline(hidden=(8, 8), samples=1024, batch=128, epochs=4)
    recipe = recipe.with_remedies(uv.BetterOptimizer(), uv.WarmUp(20))
    cpu = torch.device("cpu")
    whole = [item for item in training(recipe, data, cpu) if isinstance(item, uv.Epoch)]
    calls = iter(range(9))
    *first, chunk = training(recipe, data, cpu, stop=lambda: next(calls) == 1)
    rest = [item for item in training(recipe, data, cpu, chunk.checkpoint) if isinstance(item, uv.Epoch)]
    both = [item for item in first if isinstance(item, uv.Epoch)] + rest
    assert [item.train_loss for item in both] == [item.train_loss for item in whole]


def test_a_recipe_s_steps_are_those_of_the_changed_optimizer():
    """The native step knows nothing of what a remedy does before a step."""
    recipe = uv.baseline(hidden=(8, 8), samples=1024, epochs=1, init_std=0.5)
    still = uv.run(recipe.with_remedies(uv.GradientClipping(1e-9)))
    moved = uv.run(recipe)
    assert still.series["update_norm"].values[0].max() < 1e-7 < moved.series["update_norm"].values[0].min()


def test_another_optimizer_keeps_what_was_prepared():
    setup = uv.BetterOptimizer("Adam", 0.01).apply(uv.LearningRate(0.5).apply(deep("Tanh")))
    assert isinstance(setup.optimizer, PreparedOptimizer)
    _, optimizer = setup.build()
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["lr"] == 0.005


def test_numbers_of_an_optimizer():
    setup = replace(deep("Tanh"), optimizer=uv.Optimizer("AdamW", 0.1, {"weight_decay": 0.5}))
    _, optimizer = uv.LargerEpsilon(1e-3).apply(uv.WithoutDecay().apply(setup)).build()
    assert (optimizer.param_groups[0]["weight_decay"], optimizer.param_groups[0]["eps"]) == (0.0, 1e-3)


# What single causes want


def test_standardised_inputs_one_number_a_feature():
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    setup = uv.Setup.of(net, torch.randn(5, 3))
    model = uv.InputStandardisation((0.0, 1.0, 2.0), (1.0, 2.0, 4.0)).apply(setup).model
    x = torch.randn(5, 3)
    torch.testing.assert_close(model(x), net((x - torch.tensor([0.0, 1.0, 2.0])) / torch.tensor([1.0, 2.0, 4.0])))
    with pytest.raises(uv.RecipeError, match="positive"):
        uv.InputStandardisation(0.0, 0.0)


def test_standardised_targets_answer_in_their_own_units_and_heal_prices():
    torch.manual_seed(0)
    x = torch.randn(256, 4)
    price = 250_000 + 80_000 * x[:, :1] - 30_000 * x[:, 1:2]
    net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1))
    setup = uv.Setup.of(net, x, loss_fn=functional.mse_loss, optimizer=uv.Optimizer("Adam", 0.01))

    def trained(setup: uv.Setup) -> float:
        model, optimizer = setup.build()
        for _ in range(300):
            optimizer.zero_grad()
            setup.loss_fn(model(x), price).backward()
            optimizer.step()
        return number((model(x) - price).abs().mean())

    after = uv.TargetStandardisation(number(price.mean()), number(price.std())).apply(setup)
    assert trained(setup) > 200_000
    assert trained(after) < 10_000


def test_class_weights_and_what_is_taken_out():
    layers = [nn.Linear(8, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2), nn.Softmax(-1)]
    setup = uv.Setup.of(nn.Sequential(*layers), torch.randn(6, 8))
    logits, y = torch.randn(6, 2), torch.tensor([0, 1, 0, 0, 1, 1])
    weighed = uv.ClassWeights((1.0, 3.0)).apply(setup).loss_fn(logits, y)
    torch.testing.assert_close(weighed, functional.cross_entropy(logits, y, torch.tensor([1.0, 3.0])))
    with pytest.raises(uv.RecipeError, match="2 outputs"):
        uv.ClassWeights((1.0, 1.0, 2.0)).apply(setup)
    with pytest.raises(uv.RecipeError, match="another one"):
        uv.ClassWeights().apply(replace(setup, loss_fn=functional.mse_loss))
    bare = uv.WithoutOutputActivation().apply(uv.WithoutDropout().apply(setup)).model
    assert [type(module).__name__ for module in bare] == ["Linear", "ReLU", "Identity", "Linear", "Identity"]


def test_gradual_unfreezing_trains_the_last_layers_first():
    stages = uv.GradualUnfreezing(2).apply(deep("Tanh", depth=5)).stages
    assert [(stage.depth, stage.frozen) for stage in stages] == [(5, 3), (5, 1), (5, 0)]
    record = uv.run(uv.baseline(hidden=(8, 8, 8), samples=512, epochs=2).with_remedies(uv.GradualUnfreezing(1, 0.5)))
    assert [(e.stage, e.epoch) for e in record.epochs] == [(1, 1), (2, 1), (3, 1), (3, 2)]


@pytest.mark.parametrize(
    ("remedy", "step"),
    [(uv.LearningRate(0.5), "native"), (uv.GradientClipping(), "plain (something is done before each step)")],
)
def test_a_run_is_stored_under_the_step_that_it_takes(remedy, step, monkeypatch):
    import unvanish.train.loop as loop
    from unvanish.study.training import header

    taken = []
    own = loop.native_steps
    monkeypatch.setattr(loop, "native_steps", lambda *given: taken.append(own(*given)) or taken[-1])
    recipe = uv.baseline(hidden=(8, 8), samples=1024, epochs=1).with_remedies(remedy)
    uv.run(recipe)
    assert header(recipe, torch.device("cpu")).environment["step"] == step
    assert (taken[0] is not None) == (step == "native")


# Highway gates, a normalised backward signal, Fixup, Muon


def test_a_closed_highway_gate_lets_the_input_past_and_an_open_one_the_block():
    setup = deep("Tanh", depth=3)
    x = setup.example
    first = setup.model[:2](x)
    for bias, expected in ((-40.0, first), (40.0, setup.model[:6](x))):
        model = uv.HighwayGates(bias).apply(setup).model
        torch.testing.assert_close(model[:6](x), expected)


def test_highway_gates_let_the_gradient_pass_as_they_stand_open():
    setup = deep("Sigmoid", depth=20)
    h, kept = setup.example, []
    for module in uv.HighwayGates().apply(setup).model:
        h = module(h)
        h.retain_grad()
        kept.append(h)
    h.square().sum().backward()
    ends = [number(one.grad.norm()) for one in kept[1:-1:2]]
    assert ends[0] / ends[-1] == pytest.approx((1 - torch.sigmoid(torch.tensor(-2.0)).item()) ** 19, rel=0.4)


def test_the_backward_signal_is_as_large_in_every_layer_whatever_the_loss_s_scale():
    x, sizes = deep("Sigmoid", depth=12).example, []
    for scale in (1.0, 1e-20):
        model, _ = uv.NormalizedBackward().apply(deep("Sigmoid", depth=12)).build()
        h, kept = x, []
        for module in model:
            h = module(h)
            h.retain_grad()
            kept.append(h)
        (h.square().mean() * scale).backward()
        for module, one in zip(model, kept, strict=True):
            if isinstance(module, nn.Linear) and module is not model[-1]:
                sizes.append(number(one.grad.square().mean().sqrt()))
    assert min(sizes) > 0.1 * max(sizes)
    half = len(sizes) // 2
    assert sizes[:half] == pytest.approx(sizes[half:], rel=1e-3)


def test_what_the_last_block_is_given_back_has_size_one_over_the_batch():
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    x = torch.randn(16, 4)
    normal = uv.NormalizedBackward().apply(uv.Setup.of(model, x)).model
    h = normal[0](x)
    z = h.detach().requires_grad_()
    out = normal[1](z)  # the activation, and behind it what normalises
    (normal[2](out).sum() * 123.0).backward()
    slope = 1 - torch.tanh(z.detach()).square()
    assert z.grad is not None
    assert number((z.grad / slope).square().mean().sqrt()) == pytest.approx(1 / 16)


def test_fixup_draws_branches_that_start_at_zero():
    setup = CASES[-1].setup()
    model = uv.FixupInit().apply(setup).build()[0]
    first, second = model[1].first.weight, model[1].second.weight
    assert number(second.abs().max()) == 0
    assert number(model[-1].weight.abs().max()) == 0
    assert number(first.std()) == pytest.approx((2 / 12) ** 0.5 * 3**-0.5, rel=0.25)  # L = 3 branches of m = 2
    torch.testing.assert_close(model[:4](setup.example), model[0](setup.example))
    with pytest.raises(uv.NothingToDo, match="around branches that end with a Linear"):
        uv.FixupInit().apply(uv.SkipEveryBlock().apply(deep("ReLU")))


def test_fixup_counts_projected_branches_by_what_stands_between_the_two_sides():
    class Wide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c, self.norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8), nn.LayerNorm(8)
            self.end = nn.Linear(8, 2)

        def forward(self, x):
            x = torch.add(self.norm(self.b(torch.relu(self.a(x)))), x)
            return self.end(x + torch.relu(self.c(x)))

    assert branches(Wide()) == [["a", "b"]]  # c ends with an activation


def test_muon_makes_orthogonal_steps_of_hidden_matrices_and_adam_s_of_the_rest():
    setup = uv.Muon(lr=0.1, others_lr=0.01).apply(deep("Tanh", depth=3))
    model, optimizer = setup.build()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    (model(setup.example).square().mean() * 100).backward()
    optimizer.step()
    steps = {name: before[name] - weight.detach() for name, weight in model.named_parameters()}
    values = torch.linalg.svdvals(steps["2.weight"]) / 0.1
    assert values[:4].tolist() == pytest.approx([1.0] * 4, abs=0.35)  # ten outputs: the gradient's rank is low
    for name in ("0.weight", "2.bias", "6.weight"):
        assert number(steps[name].abs().median()) == pytest.approx(0.01, rel=0.1)
    twin = setup.optimizer(model.parameters())
    twin.load_state_dict(optimizer.state_dict())
    assert twin.state_dict()["state"].keys() == optimizer.state_dict()["state"].keys()


def test_orthogonal_of_a_known_matrix():
    u, _, v = torch.linalg.svd(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), full_matrices=False)
    s = torch.tensor([3.0, 2.0, 1.5, 1.0])
    made = orthogonal(1e-25 * u @ s.diag() @ v)
    torch.testing.assert_close(torch.linalg.svdvals(made), torch.ones(4), atol=0.35, rtol=0)
    torch.testing.assert_close(made / made.norm() * 2, u @ v, atol=0.25, rtol=0)
    assert number(orthogonal(torch.zeros(3, 3)).abs().max()) == 0
