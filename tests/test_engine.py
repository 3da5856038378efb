"""The loop: the random stream, the batches, divergence, checkpoints."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import unvanish as uv
from unvanish.core.serialisation import unpack
from unvanish.data.order import draw_base_seed, epoch_order
from unvanish.store.chunk import Chunk
from unvanish.study.training import training

CPU = torch.device("cpu")


@pytest.mark.parametrize("seed", [0, 42, 2**40])
def test_batches_come_in_the_order_of_a_shuffled_data_loader(seed):
    loader = DataLoader(TensorDataset(torch.arange(1000)), 64, shuffle=True)
    torch.manual_seed(seed)
    theirs = [torch.cat([batch for (batch,) in loader]) for _ in range(3)]
    after = torch.get_rng_state()
    torch.manual_seed(seed)
    ours = [epoch_order(1000) for _ in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert torch.equal(torch.get_rng_state(), after)


def test_an_unshuffled_loader_draws_one_number():
    torch.manual_seed(1)
    list(DataLoader(TensorDataset(torch.arange(10))))
    after = torch.get_rng_state()
    torch.manual_seed(1)
    draw_base_seed()
    assert torch.equal(torch.get_rng_state(), after)


def test_setup_draws_the_published_weights_and_leaves_the_random_state():
    state = torch.get_rng_state()
    model = uv.baseline(seed=5).setup().model
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    layers = [nn.Linear(784, 128), *(nn.Linear(128, 128) for _ in range(6)), nn.Linear(128, 10)]
    for layer in layers:
        nn.init.normal_(layer.weight, 0, 0.05)
    ours = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert all(torch.equal(a.weight, b.weight) for a, b in zip(ours, layers, strict=True))
    assert all(not layer.bias.any() for layer in ours)


def test_the_caller_s_process_is_left_as_it_was(small):
    torch.set_num_threads(2)
    torch.set_flush_denormal(False)
    state = torch.get_rng_state()
    uv.run(small)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.tensor(1e-38).mul(0.01).item() != 0


def test_a_run_is_the_same_twice_and_other_with_another_seed(small):
    first, again, other = uv.run(small), uv.run(small), uv.run(small.but(seed=43))
    assert weights_equal(first, again)
    assert not weights_equal(first, other)


def test_divergence_is_a_result(small):
    wild = small.but(optimizer=uv.Optimizer("SGD", 1e30), epochs=5).with_remedies(uv.BetterActivation("relu"))
    record = uv.run(wild)
    assert record.outcome.state == "diverged"
    assert len(record.epochs) == 1
    assert not np.isfinite(record.epochs[-1].train_loss)


def test_the_last_short_batch_is_kept(small):
    """1,000 images in batches of 512: the mean is over two batch losses, not over images."""
    setup = small.setup()
    with torch.random.fork_rng():
        torch.manual_seed(small.seed)
        small.uninitialised().initialised()
        order = epoch_order(1000)
    from unvanish.data.fashion_mnist import fashion_mnist

    data = fashion_mnist().train
    losses = []
    for picked in order.split(512):
        losses.append(setup.loss_fn(setup.model(data.pixels_ND[picked].float() / 255), data.labels_N[picked]).item())
    frozen_in_place = small.but(samples=1000, epochs=1, optimizer=uv.Optimizer("SGD", 0.0))
    assert uv.run(frozen_in_place).epochs[0].train_loss == pytest.approx(sum(losses) / 2, rel=1e-6)


@pytest.mark.parametrize(
    "remedies",
    [(), (uv.BetterOptimizer("Adam", 0.01),), (uv.NormalizeInside(learned=True), uv.SkipConnection([(1, 2)])),
     (uv.BetterOptimizer("SGD", 0.05, {"momentum": 0.9}), uv.TrainSomeLayers((1, 2)))],
    ids=lambda remedies: "+".join(remedy.kind for remedy in remedies) or "baseline",
)  # fmt: skip
def test_going_on_from_any_checkpoint_ends_in_the_same_bits(remedies, data):
    recipe = uv.baseline(hidden=(16, 16, 16), epochs=3, samples=1024).with_remedies(*remedies)
    whole = list(training(recipe, data, CPU))
    total = sum(recipe.stage_epochs())
    for stopped_after in range(1, total + 1):
        calls = iter(range(1, total + 1))
        first = list(training(recipe, data, CPU, stop=lambda c=calls, n=stopped_after: next(c) == n))
        chunk = first[-1]
        assert isinstance(chunk, Chunk)
        assert chunk.state == "unfinished"
        rest = list(training(recipe, data, CPU, chunk.checkpoint))
        assert sorted(measured(first) + measured(rest)) == sorted(measured(whole))
        assert end_weights(rest) == end_weights(whole)


def measured(items: list) -> list[str]:
    """Everything that was measured, but for the time it took."""
    chunks = [item for item in items if isinstance(item, Chunk)]
    rows = [str((r.stage, r.epoch, r.train_loss, r.train_acc, r.val_loss, r.val_acc)) for c in chunks for r in c.rows]
    tables = [c.measured for c in chunks if c.measured.steps]
    return rows + [
        f"{step} {name} {values[index].tobytes().hex()}"
        for table in tables
        for name, values in sorted(table.values.items())
        for index, step in enumerate(table.steps)
    ]


def end_weights(items: list) -> list:
    return sorted((name, value.numpy().tobytes()) for name, value in unpack(items[-1].weights)[1].items())


def weights_equal(a: uv.Record, b: uv.Record) -> bool:
    return all(torch.equal(a.weights[name], b.weights[name]) for name in a.weights)


@pytest.mark.gpu
def test_it_trains_on_cuda(small):
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    ours, theirs = uv.run(small, device="cuda"), uv.run(small, device="cpu")
    for a, b in zip(ours.epochs, theirs.epochs, strict=True):
        assert a.train_loss == pytest.approx(b.train_loss, rel=1e-4)


def test_what_is_no_recipe_is_refused_in_a_sentence():
    with pytest.raises(uv.RecipeError, match="takes a recipe"):
        uv.run("5")  # pyright: ignore[reportArgumentType]
