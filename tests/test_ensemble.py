"""Many runs as one network: each trains as it would alone; and the captured step, but for the capture itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

import unvanish as uv
from compare import assert_alike, relative_difference
from unvanish.core.table import Table
from unvanish.measure.schedule import every
from unvanish.store.chunk import Chunk
from unvanish.study.executors.pool import Worker, WorkerPool
from unvanish.study.methods import PUBLISHED_METHODS
from unvanish.study.scheduler import train_all
from unvanish.study.training import shape_of_recipe, training, training_together
from unvanish.train import loop
from unvanish.train.captured import WARM_UP, CapturedGradients, Replayed
from unvanish.train.ensemble import shape_of, stacked
from unvanish.train.group import Run
from unvanish.train.images import ImageData
from unvanish.train.loop import Ended, EpochDone, train
from unvanish.train.native.library import missing
from unvanish.train.step import PlainGradients, StepByStep

CPU = torch.device("cpu")
SEEDS = (1, 2, 3)


class Seen:
    """What a training brings: the curve, the tables, the weights."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self.tables: list[Table] = []
        self.end = "unfinished"
        self.weights: dict[str, Tensor] = {}

    def see(self, item: EpochDone | Ended) -> None:
        if isinstance(item, Ended):
            self.end, self.weights = item.state, {name: value.clone().cpu() for name, value in item.weights.items()}
        else:
            row = item.row
            self.rows.append((row.train_loss, row.train_acc, row.val_loss, row.val_acc))
            self.tables += item.measured


def few(data, samples=700):
    return replace(data, train=data.train.first(samples), test=data.test.first(300))


def together(recipes: list[uv.Recipe], data, device=CPU, *, fast: bool = True) -> list[Seen]:
    runs = [Run(recipe.uninitialised(), recipe.epochs, recipe.seed) for recipe in recipes]
    seen = [Seen() for _ in recipes]
    subset = few(data)
    here = replace(subset, train=subset.train.to(device), test=subset.test.to(device))
    images = ImageData(here, recipes[0].batch, (len(runs),) if len(runs) > 1 else ())
    for happened in train(runs, images, schedule=every(2), device=device, fast=fast):
        for run, item in happened:
            seen[run].see(item)
    return seen


def alone(recipe: uv.Recipe, data, *, fast: bool = True) -> Seen:
    return together([recipe], data, fast=fast)[0]


def assert_close(ours: Seen, theirs: Seen, tolerance=1e-4) -> None:
    assert ours.end == theirs.end
    np.testing.assert_allclose(np.array(ours.rows)[:, [0, 2]], np.array(theirs.rows)[:, [0, 2]], rtol=tolerance)
    assert_alike(ours.tables, theirs.tables, rtol=1e-2, atol=1e-7)
    assert relative_difference(ours.weights, theirs.weights) < tolerance


COMMON = {"epochs": 2, "batch": 64}


@pytest.mark.parametrize("method", PUBLISHED_METHODS)
def test_every_published_method_trains_as_it_would_alone(method, data):
    recipes = [uv.method(method, seed=seed, **COMMON) for seed in SEEDS]
    assert len({shape_of_recipe(recipe) for recipe in recipes} - {None}) == 1
    for recipe, seen in zip(recipes, together(recipes, data), strict=True):
        reference = alone(recipe, data)
        if method == "1b":  # chaotic: it magnifies any rounding, so only its first step can be compared
            assert_alike(seen.tables[:1], reference.tables[:1], rtol=1e-2)
        else:
            assert_close(seen, reference)


@pytest.mark.parametrize(
    "optimizer",
    [("SGD", {"momentum": 0.9, "nesterov": True}), ("AdamW", {}), ("RMSprop", {}), ("NAdam", {}), ("ASGD", {})],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_any_optimizer_that_treats_each_weight_by_itself(optimizer, data):
    name, options = optimizer
    recipes = [
        uv.baseline(hidden=(12, 7), init_std=None, optimizer=uv.Optimizer(name, 0.003, options), seed=seed, **COMMON)
        for seed in SEEDS
    ]
    for recipe, seen in zip(recipes, together(recipes, data), strict=True):
        assert_close(seen, alone(recipe, data), tolerance=1e-3)


def test_methods_that_differ_in_their_first_weights_only_go_together(data):
    recipes = [uv.method(method, **COMMON) for method in ("baseline", "1a")]
    assert shape_of_recipe(recipes[0]) == shape_of_recipe(recipes[1])
    for recipe, seen in zip(recipes, together(recipes, data), strict=True):
        assert_close(seen, alone(recipe, data))


def test_a_run_that_diverges_leaves_the_others_alone(data):
    """N(0, 1²) with ReLU diverges at depth 7; N(0, 0.05²) does not."""
    recipes = [uv.baseline(activation="ReLU", init_std=std, **COMMON) for std in (0.05, 3.0)]
    calm, wild = together(recipes, data)
    assert (calm.end, wild.end) == ("finished", "diverged")
    assert len(wild.rows) == 1
    assert_close(calm, alone(recipes[0], data))


def test_what_cannot_go_together():
    skips = [uv.SkipConnection(pairs) for pairs in ([(1, 3), (2, 4)], [(1, 4), (2, 3)])]
    crossed, nested = (shape_of(uv.baseline().with_remedies(skip).uninitialised()) for skip in skips)
    assert crossed != nested  # modules of the same names in the same places, wired otherwise
    assert shape_of_recipe(uv.baseline()) != shape_of_recipe(uv.baseline(batch=100))
    assert shape_of_recipe(uv.baseline()) != shape_of_recipe(uv.baseline(optimizer=uv.Optimizer("SGD", 0.02)))
    assert shape_of_recipe(uv.baseline(activation="RReLU")) is None  # it draws random numbers in its steps
    assert shape_of_recipe(uv.baseline(optimizer=uv.Optimizer("Adafactor", 0.01))) is None


def test_state_dicts_have_the_names_of_one_network_and_the_runs_in_front():
    networks = [uv.method("4a-affine", seed=seed).setup().model for seed in SEEDS]
    ours, theirs = stacked(networks).state_dict(), networks[1].state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert torch.equal(ours[name][1], value)


@pytest.mark.parametrize(
    "remedies",
    [(uv.BetterOptimizer("Adam", 0.001),), (uv.NormalizeInside(learned=True),), (uv.TrainSomeLayers((1, 1)),)],
    ids=lambda remedies: remedies[0].kind,
)
def test_going_on_together_from_any_checkpoint_ends_in_the_same_bits(remedies, data):
    small = uv.baseline(hidden=(16, 16), epochs=2, samples=300, batch=64).with_remedies(*remedies)
    recipes = [small.but(seed=seed) for seed in SEEDS]

    def items(checkpoints, stop_after=None):
        calls = iter(range(1, 100))
        found = training_together(recipes, few(data), CPU, checkpoints, stop=lambda: next(calls) == stop_after)
        chunks: list[list[Chunk]] = [[] for _ in recipes]
        for run, item in found:
            if isinstance(item, Chunk):
                chunks[run].append(item)
        return chunks

    whole = items([None] * len(recipes))
    for stop_after in range(1, sum(recipes[0].stage_epochs()) + 1):
        first = items([None] * len(recipes), stop_after)
        rest = items([chunks[-1].checkpoint for chunks in first])
        for run in range(len(recipes)):
            assert rest[run][-1].weights == whole[run][-1].weights
            rows = [row for chunk in first[run] + rest[run] for row in chunk.rows]
            expected = [row for chunk in whole[run] for row in chunk.rows]
            assert [(r.stage, r.epoch, r.val_loss) for r in rows] == [(r.stage, r.epoch, r.val_loss) for r in expected]


def test_a_run_of_an_ensemble_can_go_on_alone(data):
    recipes = [uv.method("3", epochs=3, samples=300, seed=seed, batch=64) for seed in SEEDS]
    calls = iter(range(1, 100))
    found = list(training_together(recipes, data, CPU, [None] * 3, stop=lambda: next(calls) == 1))
    checkpoint = next(item.checkpoint for run, item in found if run == 1 and isinstance(item, Chunk))
    rest = [item for item in training(recipes[1], data, CPU, checkpoint) if not isinstance(item, Chunk)]
    reference = [item for item in training(recipes[1], data, CPU) if not isinstance(item, Chunk)]
    assert [row.epoch for row in rest] == [2, 3]
    assert rest[-1].val_loss == pytest.approx(reference[-1].val_loss, rel=1e-4)


def test_a_study_trains_what_is_alike_together(tmp_path):
    def small(**changes):
        return uv.baseline(**{"hidden": (8, 8), "samples": 512, "epochs": 6, **changes})

    recipes = [small(seed=seed) for seed in range(5)] + [small(hidden=(8,)), small(activation="RReLU")]
    with uv.Store.writer(tmp_path) as store:
        train_all(recipes, store, executor=WorkerPool(2), device=CPU, together=3)
        for recipe in recipes:
            record, reference = store.record(recipe.digest()), uv.run(recipe)
            assert record.outcome.state == "finished"
            assert [row.epoch for row in record.epochs] == list(range(1, 7))
            assert record.epochs[-1].val_loss == pytest.approx(reference.epochs[-1].val_loss, rel=1e-4)
            for name, series in reference.series.items():
                atol = 1e-5 if name.endswith("mean") else 1e-7
                np.testing.assert_allclose(record.series[name].values, series.values, rtol=1e-2, atol=atol)
        steps = [store.record(recipe.digest()).environment["step"] for recipe in recipes]
    native = missing()
    assert steps == ["ensemble"] * 5 + [f"plain ({native})" if native else "native", "plain (it has no form for RReLU)"]


def test_an_ensemble_that_fails_falls_apart_and_every_place_is_filled_again(tmp_path):
    too_narrow = uv.MLP(hidden=(8,), classes=3)  # for ten classes
    broken = [uv.baseline(samples=512, epochs=1, seed=seed).but(network=too_narrow) for seed in SEEDS]
    with uv.Store.writer(tmp_path) as store, WorkerPool(2) as pool:
        spawned, spawn = [], pool.spawn

        def counted() -> Worker:
            spawned.append(spawn())
            return spawned[-1]

        pool.spawn = counted
        train_all(broken, store, executor=pool, device=CPU, together=8)
        assert {store.record(recipe.digest()).outcome.state for recipe in broken} == {"failed"}
    assert len(spawned) == 1  # the second of the two was let go while the ensemble was all that there was to do


# The captured step


class Again:
    """Instead of recording kernels, do the work again into the same memory, as a replay does."""

    def __init__(self, network: nn.Module) -> None:
        self.network, self.replays = network, 0

    def warm_up(self, work):
        return work()

    def record(self, work):
        before = [buffer.clone() for buffer in self.network.buffers()]
        results = tree_map(lambda value: value.clone(), work())
        for buffer, value in zip(self.network.buffers(), before, strict=True):
            buffer.copy_(value)  # a recording moves no statistics
        tree_map(lambda value: value.fill_(-1), results)  # nor fills anything

        def replay() -> None:
            self.replays += 1
            tree_map(lambda there, now: there.copy_(now), results, work())

        return replay, results


@pytest.mark.parametrize("method", ["baseline", "3", "4a-affine", "4b", "5", "6"])
def test_captured_gradients_leave_the_same_bits(method, data, monkeypatch):
    recorders: list[Again] = []
    plain_steps = loop.plain_steps

    def captured(*args, **options) -> StepByStep:
        plain = plain_steps(*args, **options)
        assert isinstance(plain.gradients, PlainGradients)
        recorders.append(Again(plain.gradients.network))
        return StepByStep(CapturedGradients(plain.gradients, recorders[-1]), plain.optimizer, plain.recorder)

    recipe = uv.method(method, **COMMON)
    theirs = alone(recipe, data, fast=False)
    monkeypatch.setattr(loop, "plain_steps", captured)
    ours = alone(recipe, data, fast=False)
    assert ours.rows == theirs.rows
    assert all(torch.equal(ours.weights[name], value) for name, value in theirs.weights.items())
    assert_alike(ours.tables, theirs.tables, rtol=1e-6)
    # 11 steps an epoch: six are measured, the last one is short; the first few of either kind warm up
    steps = recipe.stage_epochs()[-1] * 10 - 2 * WARM_UP
    evaluations = recipe.stage_epochs()[-1] * 4 - WARM_UP
    assert recorders[-1].replays == steps + evaluations


def test_other_shapes_are_not_replayed():
    network = nn.Linear(3, 2)
    recorder = Again(network)
    replayed = Replayed(network, recorder)
    for rows in [4] * (WARM_UP + 2) + [1, 4]:
        x = torch.rand(rows, 3)
        torch.testing.assert_close(replayed(x), network(x))
    assert recorder.replays == 3


@pytest.mark.gpu
def test_an_ensemble_on_cuda_trains_as_on_the_cpu(data):
    if not torch.cuda.is_available():
        pytest.skip("this machine has no CUDA device")
    recipes = [uv.method("4a-affine", seed=seed, **COMMON) for seed in SEEDS]
    for ours, theirs in zip(together(recipes, data, torch.device("cuda")), together(recipes, data), strict=True):
        assert_close(ours, theirs, tolerance=1e-3)
