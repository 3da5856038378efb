"""What check and watch promise about everything that is not its own: models, loops, losses and data of any kind."""

import copy
import io
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, TensorDataset

import unvanish as uv
from test_check import LOSS, deep_sigmoid, healthy, toy
from test_watch import X, Y, loop, sgd, sigmoids
from test_watch import healthy as normed


def relu_mlp(depth: int) -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [layer for _ in range(depth) for layer in (nn.Linear(16, 16), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(16, 4))


class WithItsOwnLoss(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        output = self.net(x)
        return {"loss": LOSS(output, labels), "logits": output}


def test_a_loss_that_does_not_depend_on_the_target_is_judged_by_its_fall() -> None:
    model = WithItsOwnLoss(healthy())
    batches = [({"x": x, "labels": y}, y) for x, y in toy()]
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    diagnosis = uv.check(model, batches, loss_fn=lambda out, _: out["loss"], optimizer=optimizer)
    assert diagnosis.learned  # by the fall of the loss itself
    assert diagnosis.healthy


def test_data_that_nobody_can_learn_from_make_no_network_failing() -> None:
    model = relu_mlp(8)
    batches = [(x, torch.randint(0, 4, (64,))) for x, _ in toy()]
    diagnosis = uv.check(model, batches, loss_fn=LOSS, optimizer=torch.optim.Adam(model.parameters(), 1e-3))
    assert diagnosis.learned is False
    assert all(finding.kind == "labels" and finding.certainty <= 0.55 for finding in diagnosis.findings if finding.sure)


class Rough(nn.Module):
    """Works in place on what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.net = healthy()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x.sub_(0.5).mul_(2))


def test_the_batches_stay_as_they_are() -> None:
    batches = toy()
    before = copy.deepcopy(batches)
    uv.check(Rough(), batches, loss_fn=LOSS)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, before, strict=True))


class Weighted(nn.Module):
    """A loss with a weight and a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        self.calls += 1
        return LOSS(output, target) * self.weight.exp()


def test_a_loss_with_a_state_keeps_it() -> None:
    model, loss = healthy(), Weighted()
    optimizer = torch.optim.Adam([*model.parameters(), *loss.parameters()], 0.01)
    assert uv.check(model, toy(), loss_fn=loss, optimizer=optimizer).learned
    assert loss.calls == 0
    assert loss.weight == 1
    assert loss.weight.grad is None


def test_the_generator_of_a_loader_keeps_its_state() -> None:
    x, y = (torch.cat(part) for part in zip(*toy(), strict=True))
    generator = torch.Generator().manual_seed(3)
    loader = DataLoader(TensorDataset(x, y), 64, shuffle=True, generator=generator)
    before = generator.get_state()
    uv.check(healthy(), loader, loss_fn=LOSS)
    assert torch.equal(generator.get_state(), before)


class TimeFirst(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 32), nn.Linear(32, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        steps, last = self.rnn(x.view(len(x), 4, 4).transpose(0, 1))
        return self.head(steps), last


def test_outputs_that_begin_with_time() -> None:
    torch.manual_seed(0)
    model = TimeFirst()
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    assert uv.check(model, toy(), loss_fn=lambda out, y: LOSS(out[0][-1], y), optimizer=optimizer).learned


def test_an_optimizer_that_asks_again_within_a_step() -> None:
    model = healthy()
    assert uv.check(model, toy(), loss_fn=LOSS, optimizer=torch.optim.LBFGS(model.parameters(), 0.004)).learned


def test_an_optimizer_of_another_model_is_a_finding() -> None:
    found = uv.check(healthy(), toy(), loss_fn=LOSS, optimizer=sgd(healthy())).primary
    assert found is not None
    assert found.kind == "untrained"
    assert "holds 4 parameters that are not the model's" in found.message


def test_a_target_in_a_later_batch_that_is_no_class_is_a_finding() -> None:
    batches = toy()
    batches[3] = (batches[3][0], torch.full((64,), 99))
    model = healthy()
    found = uv.check(model, batches, loss_fn=LOSS, optimizer=sgd(model)).primary
    assert found is not None
    assert found.kind == "labels"
    assert found.message == "Target 99 is out of bounds, in batch 3 (the first is 0)"


def test_an_unused_head_of_zeros_is_unused_and_not_symmetric() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.aux = healthy(), nn.Linear(64, 4)
            nn.init.zeros_(self.aux.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    model = Model()
    diagnosis = uv.check(model, toy(), loss_fn=LOSS, optimizer=torch.optim.Adam(model.parameters(), 0.01))
    assert [finding.kind for finding in diagnosis.findings] == ["broken_graph"]
    assert diagnosis.healthy is not False


def test_a_head_that_starts_at_zero_is_no_finding() -> None:
    model = healthy()
    nn.init.zeros_(model[2].weight)  # pyright: ignore
    nn.init.zeros_(model[2].bias)  # pyright: ignore
    diagnosis = uv.check(model, toy(), loss_fn=LOSS, optimizer=torch.optim.Adam(model.parameters(), 0.01))
    assert diagnosis.learned
    assert not diagnosis.findings


def test_rows_of_an_embedding_that_were_not_seen_are_no_finding() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(1000, 16), nn.Flatten(), nn.Linear(64, 4))
    tokens = torch.randint(0, 20, (9, 64, 4))  # of a thousand
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    diagnosis = uv.check(model, zip(tokens, tokens[..., 0] % 4, strict=True), loss_fn=LOSS, optimizer=optimizer)
    assert diagnosis.learned
    assert not diagnosis.findings


class Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradients[0] @ weight, gradients[0].T @ x


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(16, 16).uniform_(-0.25, 0.25))

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(Times.apply(x, self.weight))  # pyright: ignore[reportArgumentType]


def test_a_custom_function_is_a_layer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(Custom() for _ in range(12)), nn.Linear(16, 4))
    diagnosis = uv.check(model, toy(), loss_fn=LOSS)
    assert len(diagnosis.table) == 13
    assert diagnosis.primary.kind == "vanishing"  # pyright: ignore


def test_sparse_gradients_and_bags_of_embeddings() -> None:
    model = nn.Sequential(nn.EmbeddingBag(20, 16, sparse=True), nn.ReLU(), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batches = [(torch.randint(0, 20, (64, 5)), torch.randint(0, 4, (64,))) for _ in range(9)]
    assert uv.check(model, batches, loss_fn=LOSS, optimizer=optimizer).table.layers == ("0", "2")


def test_complex_weights_are_measured_as_far_as_they_go() -> None:
    model = nn.Sequential(nn.Linear(16, 8, dtype=torch.cfloat), nn.Tanh(), nn.Linear(8, 4, dtype=torch.cfloat))
    batches = [(x.cfloat(), y) for x, y in toy()]
    table = uv.check(model, batches, loss_fn=lambda out, y: LOSS(out.abs(), y)).table
    assert table.layers == ("0", "2")
    assert (table.row("backward_norm") > 0).all()


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 16), nn.ReLU())
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = checkpoint(self.body, x, use_reentrant=False)
        assert isinstance(hidden, Tensor)
        return self.head(hidden)


def test_a_checkpointed_region_is_not_run_again_by_the_watch() -> None:
    states = []
    for watched in (False, True):
        torch.manual_seed(0)
        model = Checkpointed()
        optimizer = sgd(model)
        flow = uv.watch(model, optimizer, every=1)
        if watched:
            flow.start()
        loop(model, optimizer, steps=3)
        states.append(model.state_dict())
        if watched:
            assert flow.table.at(0).layers == ("body.0", "body.3", "head")
            flow.stop()
    assert all(torch.equal(a, b) for a, b in zip(*(state.values() for state in states), strict=True))


def test_a_step_that_a_scaler_skips_is_forgotten() -> None:
    model = normed()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    with uv.watch(model, optimizer, every=1) as flow:
        for number, x in enumerate(X):
            optimizer.zero_grad()
            overflow = 1e38 if number in (0, 7) else 1.0
            (scaler.scale(LOSS(model(x), Y)) * overflow).backward()
            scaler.step(optimizer)
            scaler.update()
    assert flow.steps == len(X) - 2
    assert len(flow.table.steps) == flow.steps
    assert flow.diagnose().healthy is not False, str(flow.diagnose())


def test_copies_and_saved_models_are_not_listened_to() -> None:
    model = normed()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=1) as flow:
        loop(model, optimizer, steps=1)
        twin = copy.deepcopy(model)
        torch.save(model, io.BytesIO())
        LOSS(twin(X[0]), Y).backward()
        uv.check(model, [(x, Y) for x in X[:9]], loss_fn=LOSS, optimizer=optimizer)
        loop(model, optimizer, steps=1)
    assert flow.series["backward_norm"].steps == (
        0,
        1,
    )


def test_passes_that_nobody_goes_back_through_are_let_go() -> None:
    model = normed()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=1) as flow:
        for x in X[:10]:
            model(x)
        assert len(flow._recorder.passes) <= 1
        loop(model, optimizer, steps=1)
    assert len(flow.table.steps) == 1


def test_an_error_in_a_forward_pass_leaves_nothing_switched_off() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no")

    with uv.watch(Fails(), every=1):
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no"):
                Fails()(X[0])
        assert torch.backends.mkldnn.enabled
        assert torch.backends.cudnn.enabled


def test_a_writer_that_fails_ends_no_training() -> None:
    class Away:
        def write(self, step: int, values: Any) -> None:
            raise ConnectionError("the server is away")

    model = normed()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=1, write=Away()) as flow, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        loop(model, optimizer, steps=3)
    assert len(flow.table.steps) == 3
    assert ["the server is away" in str(one.message) for one in told] == [True]


def test_an_optimizer_that_cannot_be_listened_to_leaves_no_hook() -> None:
    model = normed()
    with pytest.raises(uv.UnvanishError, match=r"no torch\.optim\.Optimizer"):
        uv.watch(model, object()).start()  # pyright: ignore
    assert not model._forward_hooks


def test_a_nan_is_named_where_it_was_made() -> None:
    model = sigmoids()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=1) as flow:
        loop(model, optimizer, steps=3)
        with torch.no_grad():
            model[4].weight[0, 0] = float("nan")  # pyright: ignore
        loop(model, optimizer, steps=2)
    primary = flow.diagnose().primary
    assert primary is not None
    assert primary.layers == ("4",)
    assert "first seen at step 3" in primary.message


def test_a_mask_with_infinities_is_not_the_fault() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inward, self.log = nn.Linear(16, 4), nn.LogSigmoid()
            self.register_buffer("mask", torch.full((4,), -torch.inf))

        def forward(self, x: Tensor) -> Tensor:
            return self.log(functional.relu(self.inward(x)).log() * 0) + 0 * self.mask.exp()

    finding = uv.check(Masked(), toy(), loss_fn=LOSS).primary
    assert finding is not None
    assert finding.kind == "non_finite"
    assert finding.layers == ("Masked",)
    assert finding.message.startswith("the logarithm in Masked has a NaN or an infinity")


def test_every_layer_below_a_cut_is_named() -> None:
    class Cut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = relu_mlp(6), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.body(x).detach())

    finding = uv.check(Cut(), toy(), loss_fn=LOSS).primary
    assert finding is not None
    assert finding.kind == "broken_graph"
    assert len(finding.layers) == 7


def test_no_step_at_all_is_refused() -> None:
    with pytest.raises(uv.UnvanishError, match="steps must be a whole number of at least 1"):
        uv.check(deep_sigmoid(), toy(), loss_fn=LOSS, steps=0)
