"""`uv.run` of a setup: anyone's model and batches, by the one loop."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import unvanish as uv
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.store.chunk import Chunk
from unvanish.study.training import training
from unvanish.train.checkpoint import Checkpoint

X = torch.randn(10, 32, 6, generator=torch.Generator().manual_seed(0))
BATCHES = [(x, x[:, :3].argmax(1)) for x in X]


def setup(optimizer=None, **options) -> uv.Setup:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3))
    return uv.Setup.of(model, X[0], optimizer=optimizer or uv.Optimizer("SGD", 0.1), **options)


def by_hand(given: uv.Setup, epochs: int, batches=BATCHES) -> nn.Module:
    model, optimizer = given.build()
    for _ in range(epochs):
        for x, y in batches:
            optimizer.zero_grad()
            given.loss_fn(model(x), y).backward()
            optimizer.step()
    return model


def test_it_trains_as_a_loop_by_hand_does_bit_for_bit() -> None:
    given = setup()
    before = {name: value.clone() for name, value in given.model.state_dict().items()}
    record = uv.run(given, BATCHES, epochs=3, held_out=BATCHES[:2], measure_every=2)
    expected = by_hand(given, 3).state_dict()
    assert record.weights is not None
    assert all(torch.equal(record.weights[name], value) for name, value in expected.items())
    assert all(torch.equal(given.model.state_dict()[name], value) for name, value in before.items())
    assert [row.epoch for row in record.epochs] == [1, 2, 3]
    assert record.epochs[-1].train_loss < record.epochs[0].train_loss
    assert 0 <= record.epochs[-1].val_acc <= 1
    assert record.series["backward_rms"].steps == ((1, 0), (1, 1), (1, 2), (1, 3))
    assert record.table.layers == given.layers == ("0", "2", "4")


def test_with_remedies_init_and_stages() -> None:
    given = setup()
    for remedy in (uv.WeightIncreasing(0.5), uv.NormalizeInside(learned=True), uv.TrainSomeLayers((1, 1), share=0.5)):
        given = remedy.apply(given)
    record = uv.run(given, BATCHES, epochs=2, measure_every=1)
    assert [(row.stage, row.epoch) for row in record.epochs] == [(1, 1), (2, 1), (3, 1), (3, 2)]


def test_so_many_steps_across_epochs() -> None:
    seen = []
    record = uv.run(setup(), BATCHES, steps=23, on_step=lambda number, loss: seen.append((number, loss.item())))
    assert [number for number, _ in seen] == [*range(10), *range(10), *range(3)]
    assert len(record.epochs) == 3
    assert all(isinstance(loss, float) for _, loss in seen)


def test_on_step_can_end_it() -> None:
    seen = []
    record = uv.run(setup(), BATCHES, epochs=5, on_step=lambda number, loss: seen.append(number) or number == 4)
    assert seen == [0, 1, 2, 3, 4]
    assert len(record.epochs) == 1
    assert record.outcome.state == "finished"


def test_a_loader_and_an_iterator() -> None:
    data = TensorDataset(X.flatten(0, 1), torch.cat([y for _, y in BATCHES]))
    record = uv.run(setup(), DataLoader(data, 50, shuffle=True), epochs=2, seed=3)
    again = uv.run(setup(), DataLoader(data, 50, shuffle=True), epochs=2, seed=3)
    assert record.epochs[1].train_loss == again.epochs[1].train_loss
    uv.run(setup(), iter(BATCHES))
    with pytest.raises(uv.UnvanishError, match="can be gone through again"):
        uv.run(setup(), iter(BATCHES), epochs=2)
    with pytest.raises(uv.UnvanishError, match="pair \\(input, target\\)"):
        uv.run(setup(), ["text"])


def test_any_loss_any_optimizer() -> None:
    targets = [(x, x[:, :3]) for x in X]
    given = setup(lambda parameters: torch.optim.LBFGS(parameters, 0.01), loss_fn=functional.mse_loss)
    record = uv.run(given, targets, epochs=1, held_out=targets[:1])
    assert record.epochs[0].train_acc != record.epochs[0].train_acc  # NaN: there are no classes
    assert record.epochs[0].val_loss < 1.5
    assert record.outcome.last_val_acc is None
    assert record.outcome.state == "finished"


def test_without_anything_held_out_it_does_not_count_as_diverged() -> None:
    assert uv.run(setup(), BATCHES, epochs=2).outcome.state == "finished"
    wild = uv.run(setup(uv.Optimizer("SGD", 1e30), loss_fn=lambda out, y: out.square().sum()), BATCHES, epochs=3)
    assert wild.outcome.state == "diverged"
    assert len(wild.epochs) == 1


def test_it_is_kept_under_its_name(tmp_path) -> None:
    first = uv.run(setup(), BATCHES, epochs=2, store=tmp_path, name="mine")
    seen = []
    again = uv.run(setup(), BATCHES, epochs=2, store=tmp_path, name="mine", on_epoch=seen.append)
    assert seen == []
    assert again.epochs == first.epochs
    assert again.name == "mine"
    assert again.recipe is None
    (summary,) = uv.Store.reader(tmp_path).summaries()
    assert (summary.name, summary.recipe) == ("mine", None)
    with pytest.raises(uv.RecipeError, match="kept under a name"):
        uv.run(setup(), BATCHES, store=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((uv.baseline(), BATCHES), "go with a Setup"),
        ((setup(),), "needs batches"),
        (("5",), "takes a recipe"),
    ],
)
def test_what_does_not_go_together_is_said(arguments, said) -> None:
    with pytest.raises(uv.RecipeError, match=said):
        uv.run(*arguments)


def frozen_statistics(fast: bool) -> list[tuple[int, torch.Tensor]]:
    """The running mean of the first block's batch norm, after each epoch."""
    from dataclasses import replace

    from unvanish.data.fashion_mnist import fashion_mnist
    from unvanish.measure.schedule import every
    from unvanish.train.group import Run
    from unvanish.train.images import ImageData
    from unvanish.train.loop import EpochDone, train

    recipe = uv.baseline(hidden=(8,) * 4, batch=64).with_remedies(
        uv.NormalizeInside(learned=True), uv.TrainSomeLayers((2, 2), share=1.0)
    )
    data = fashion_mnist()
    few = replace(data, train=data.train.first(256), test=data.test.first(64))
    found = []
    runs = [Run(recipe.uninitialised(), 2, 42)]
    for happened in train(runs, ImageData(few, 64), schedule=every(1), device=torch.device("cpu"), fast=fast):
        for _, item in happened:
            if isinstance(item, EpochDone):
                network = item.checkpoint().network
                (name,) = [name for name in network if name.startswith("hidden1") and name.endswith("running_mean")]
                found.append((item.row.stage, network[name].clone()))
    return found


@pytest.mark.parametrize("fast", [True, False])
def test_the_statistics_of_a_frozen_block_do_not_move(fast: bool) -> None:
    by_stage = frozen_statistics(fast)
    assert [stage for stage, _ in by_stage] == [1, 1, 2, 2, 3, 3]
    values = [value for _, value in by_stage]
    assert not torch.equal(values[0], values[1])
    assert torch.equal(values[1], values[2])  # frozen
    assert torch.equal(values[2], values[3])
    assert not torch.equal(values[3], values[4])


def test_going_on_needs_the_optimizer_and_the_layers_of_the_stages_before() -> None:
    """Each part of a checkpoint, spoiled by itself, changes what comes after."""
    recipe = uv.baseline(hidden=(8,) * 3, epochs=2, samples=512, batch=64, optimizer=uv.Optimizer("Adam", 0.01))
    recipe = recipe.with_remedies(uv.TrainSomeLayers((1, 2), share=1.0))
    data, cpu = fashion_mnist(), torch.device("cpu")
    calls = iter(range(1, 99))
    *_, chunk = training(recipe, data, cpu, stop=lambda: next(calls) == 1)  # in the middle of the first stage
    assert isinstance(chunk, Chunk)
    assert chunk.checkpoint is not None
    kept = Checkpoint.unpack(chunk.checkpoint)

    def end(checkpoint: Checkpoint) -> bytes:
        *_, last = training(recipe, data, cpu, checkpoint.pack())
        assert isinstance(last, Chunk)
        assert last.weights is not None
        return last.weights

    whole = end(kept)
    *_, alone = training(recipe, data, cpu)
    assert isinstance(alone, Chunk)
    assert alone.weights == whole
    for part in ("optimizer", "base", "network"):
        tensors = getattr(kept, part)
        spoiled = {name: value * 1.5 if value.is_floating_point() else value for name, value in tensors.items()}
        assert end(replace(kept, **{part: spoiled})) != whole, part


def test_nothing_is_saved_for_going_on_where_nothing_is_left_but_when_it_is_stopped_there(monkeypatch) -> None:
    """A checkpoint of 100 runs of 300 layers is 10 GB, which the final chunk would replace at once."""
    monkeypatch.setattr("unvanish.study.training.SAVE_WITHIN_S", 0.0)
    monkeypatch.setattr("unvanish.study.training.SAVING_SHARE", 0)
    recipe, data, cpu = uv.baseline(hidden=(8,), epochs=2), fashion_mnist(), torch.device("cpu")

    def saved(stop=lambda: False) -> list[tuple[str, bool]]:
        items = training(recipe.but(samples=512), data, cpu, stop=stop)
        return [(item.state, item.checkpoint is not None) for item in items if isinstance(item, Chunk)]

    assert saved() == [("unfinished", True), ("finished", False)]
    calls = itertools.count(1)
    assert saved(lambda: next(calls) == 2) == [("unfinished", True), ("unfinished", True)]


def test_a_batch_norm_fits_the_layer_before_it() -> None:
    kinds = {
        nn.Conv1d(2, 4, 3): (torch.zeros(2, 2, 9), nn.BatchNorm1d),
        nn.Conv2d(2, 4, 3): (torch.zeros(2, 2, 9, 9), nn.BatchNorm2d),
        nn.Conv3d(2, 4, 3): (torch.zeros(2, 2, 9, 9, 9), nn.BatchNorm3d),
    }
    for conv, (example, norm) in kinds.items():
        net = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
        net(example)
        better = uv.NormalizeInside(learned=True).apply(uv.Setup.of(net, example))
        assert type(better.model[0][1]) is norm
        assert better.model(torch.randn_like(example)).shape == (2, 3)


@pytest.mark.parametrize("value", [0, -1, 1.5, "2", True])
@pytest.mark.parametrize("name", ["epochs", "steps", "measure_every"])
def test_a_length_is_a_count(name, value) -> None:
    with pytest.raises(uv.RecipeError, match=f"{name} must be a whole number of at least 1, not {value!r}"):
        uv.run(setup(), BATCHES, **{name: value})


def test_stages_share_out_epochs_and_no_steps() -> None:
    with pytest.raises(uv.RecipeError, match="give epochs"):
        uv.run(uv.TrainSomeLayers((1, 1)).apply(setup()), BATCHES, steps=30)


def test_a_name_is_of_one_network(tmp_path) -> None:
    uv.run(setup(), BATCHES, store=tmp_path, name="mine")
    deeper = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(6, 6), nn.Tanh())), nn.Linear(6, 3))
    other = uv.Setup.of(deeper, X[0])
    with pytest.raises(uv.StoreError, match="of other layers \\(0, 2, 4\\): give another name, or fresh=True"):
        uv.run(other, BATCHES, store=tmp_path, name="mine")
    assert uv.run(other, BATCHES, store=tmp_path, name="mine", fresh=True).series["spread"].layers == other.layers


def test_held_out_batches_of_an_iterator_are_evaluated_each_epoch() -> None:
    once = uv.run(setup(), BATCHES, epochs=3, held_out=iter(BATCHES[:2]))
    again = uv.run(setup(), BATCHES, epochs=3, held_out=BATCHES[:2])
    assert [row.val_loss for row in once.epochs] == [row.val_loss for row in again.epochs]


class Force(nn.Module):
    """The gradient of a potential by its input: its last bias is no part of the output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.potential = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.detach().requires_grad_()
        return -torch.autograd.grad(self.potential(x).sum(), x, create_graph=True)[0]


class Critic(nn.Module):
    """The gradient of what it gives is asked for by its loss, as in a gradient penalty."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = x.detach().clone().requires_grad_()
        return x, self.net(x)


def penalised(output, target):
    x, out = output
    slope = torch.autograd.grad(out.sum(), x, create_graph=True)[0].norm(dim=1)
    return functional.mse_loss(out, target) + 0.1 * (slope - 1).square().mean()


@pytest.mark.parametrize(
    ("make", "loss_fn", "batches"),
    [
        (Force, functional.mse_loss, [(x, -x) for x in X]),
        (Critic, penalised, [(x, x[:, :1]) for x in X]),
    ],
    ids=["force field", "gradient penalty"],
)
def test_models_and_losses_that_differentiate_by_the_input(make, loss_fn, batches) -> None:
    diagnosis = uv.check(make(), batches, loss_fn, lambda parameters: torch.optim.Adam(parameters, 1e-2))
    assert diagnosis.healthy
    assert diagnosis.findings == ()
    given = uv.Setup.of(make(), X[0], optimizer=uv.Optimizer("Adam", 1e-2), loss_fn=loss_fn)
    record = uv.run(given, batches, epochs=20, held_out=batches[:2])
    expected = sum(loss_fn(given.model.eval()(x), y).item() for x, y in batches[:2]) / 2
    assert record.epochs[-1].val_loss < expected / 2


def test_held_out_may_be_none_and_nothing_else_that_holds_no_batches() -> None:
    assert uv.run(setup(), BATCHES, steps=2, held_out=None).epochs
    with pytest.raises(uv.RecipeError, match="held_out must be an iterable"):
        uv.run(setup(), BATCHES, steps=2, held_out=3)
