"""Many runs at once: order, failures, several recipes in one store."""

import os
import signal

import pytest
import torch

import unvanish as uv
from unvanish.core.errors import ClaimLostError
from unvanish.store.backends.folder import Folder
from unvanish.study.executors.pool import WorkerPool
from unvanish.study.jobs import BEGINNING, Queued
from unvanish.study.scheduler import train_all
from unvanish.study.training import header

CPU = torch.device("cpu")


def small(**changes) -> uv.Recipe:
    return uv.baseline(**{"hidden": (8, 8), "samples": 512, "epochs": 1, **changes})


def test_longest_first_and_every_event_in_order(tmp_path):
    recipes = [small(seed=1), small(seed=2, epochs=4), small(seed=3, epochs=2), small(seed=1)]
    events = []
    with uv.Store.writer(tmp_path) as store:
        train_all(recipes, store, executor=WorkerPool(1), device=CPU, listen=events.append)
        by_digest = {recipe.digest(): recipe for recipe in recipes}
        began = [by_digest[event.digest].epochs for event in events if event.kind == "began"]
        assert began == [4, 2, 1]  # and the one that was named twice is trained once
        assert sum(event.kind == "epoch" for event in events) == 7
        assert [event.data["state"] for event in events if event.kind == "ended"] == ["finished"] * 3
        again = []
        train_all(recipes, store, executor=WorkerPool(1), device=CPU, listen=again.append)
        assert all(event.kind == "known" for event in again)


def test_the_last_runs_end_together(tmp_path):
    """Three equal runs on two workers: in parts, so that neither waits while the other trains a whole one."""
    recipes = [small(seed=seed, epochs=16) for seed in (1, 2, 3)]
    left = {recipe.digest(): 16 for recipe in recipes}
    left_at_first_end = None
    events = []

    def listen(event):
        nonlocal left_at_first_end
        events.append(event)
        if event.kind == "epoch":
            left[event.digest] -= 1
        if event.kind == "ended" and left_at_first_end is None:
            left_at_first_end = sum(left.values())

    with uv.Store.writer(tmp_path) as store:
        train_all(recipes, store, executor=WorkerPool(2), device=CPU, listen=listen)
        records = [store.record(recipe.digest()) for recipe in recipes]
    assert sum(event.kind == "began" for event in events) == 3
    assert left_at_first_end <= 6
    for record, recipe in zip(records, recipes, strict=True):
        assert [row.epoch for row in record.epochs] == list(range(1, 17))
        alone = uv.run(recipe)
        assert all(torch.equal(record.weights[name], weight) for name, weight in alone.weights.items())


class Elsewhere:
    """Another machine's claims: it takes a run over at the second chunk, and gives it up when it is asked for again."""

    def __init__(self) -> None:
        self.held, self.asked = 0, 0

    def take(self, connection, digest):
        self.asked += self.held >= 2
        return "another:1:aa" if self.asked in (1, 2) else None

    def hold(self, connection, digest):
        self.held += 1
        if self.held == 2:
            raise ClaimLostError("taken over")

    def release(self, connection, digest):
        pass


def test_a_run_that_another_machine_has_taken_over_is_looked_at_until_it_is_free(tmp_path, monkeypatch, caplog):
    recipes = [small(seed=seed, epochs=12) for seed in (1, 2, 3)]  # on two workers they are trained in parts
    claims, events = Elsewhere(), []
    monkeypatch.setattr(Folder, "claims", claims)
    with uv.Store.writer(tmp_path) as store:
        train_all(recipes, store, executor=WorkerPool(2), device=CPU, listen=events.append)
        assert claims.held > 3
        assert claims.asked > 2
        assert "taken over" in caplog.text
        for recipe in recipes:
            record = store.record(recipe.digest())
            assert [row.epoch for row in record.epochs] == list(range(1, 13))
            assert [row.val_loss for row in record.epochs] == [row.val_loss for row in uv.run(recipe).epochs]
    assert sorted(e.digest for e in events if e.kind == "ended") == sorted(recipe.digest() for recipe in recipes)


def test_in_processes_or_in_this_one_the_bits_are_the_same(tmp_path):
    recipe = small(epochs=3)
    with uv.Store.writer(tmp_path) as store:
        train_all([recipe], store, executor=WorkerPool(1), device=CPU)
        there = store.record(recipe.digest())
    here = uv.run(recipe)
    assert [row.val_loss for row in there.epochs] == [row.val_loss for row in here.epochs]
    assert all(torch.equal(there.weights[name], weight) for name, weight in here.weights.items())


def test_a_run_that_fails_is_kept_as_failed_and_the_others_go_on(tmp_path):
    """More classes in the data than outputs in the net: refused in the worker, where the data are."""
    broken = small().but(network=uv.MLP(hidden=(8,), classes=3))
    events = []
    with uv.Store.writer(tmp_path) as store:
        train_all([broken, small()], store, executor=WorkerPool(2), device=CPU, listen=events.append)
        outcome = store.record(broken.digest()).outcome
        assert outcome.state == "failed"
        assert "network takes 784 and has 3" in (outcome.error or "")
        assert store.record(small().digest()).outcome.state == "finished"
    ended = {event.digest: event.data["state"] for event in events if event.kind == "ended"}
    assert ended == {broken.digest(): "failed", small().digest(): "finished"}


def test_a_worker_that_cannot_start_is_given_up_with_what_it_printed_last(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "torch.py").write_text("raise ImportError('no torch today')")
    with uv.Store.writer(tmp_path / "store") as store:
        train_all([small()], store, executor=WorkerPool(1), device=CPU)
        outcome = store.record(small().digest()).outcome
    assert outcome.state == "failed"
    assert "died 3 times" in (outcome.error or "")
    assert "no torch today" in (outcome.error or "")


@pytest.mark.parametrize(
    ("places", "tried_no_more"),
    [
        ([(1, 4), (1, 4), (1, 4)], True),
        ([BEGINNING] * 3, True),
        ([(1, 4), BEGINNING, BEGINNING], False),
        ([(1, 4), BEGINNING, BEGINNING, (1, 2), BEGINNING, BEGINNING], False),
        ([(1, 4), BEGINNING, BEGINNING, BEGINNING], True),
        ([(1, 4), (1, 4), (1, 5), (1, 5), (1, 5)], True),
        ([(1, 4), (1, 4), (1, 5), (1, 5)], False),
        ([(1, 4), (1, 3)] * 5, True),
        ([(1, 4), (1, 3)] * 4 + [(1, 4)], False),
    ],
)
def test_a_run_is_tried_no_more_when_its_workers_die_at_the_same_place_or_again_and_again(places, tried_no_more):
    recipe = small()
    run = Queued(recipe, recipe.digest(), header(recipe, CPU), None, epochs=9, size=1)
    verdicts = []
    for place in places:
        if place != BEGINNING:
            run.reached(place)
        verdicts.append(run.died())
    assert verdicts == [False] * (len(places) - 1) + [tried_no_more]


@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "Rprop", "ASGD"])
@pytest.mark.parametrize("activation", ["Tanh", "ELU", "RReLU", "SiLU"])
def test_any_optimizer_and_activation(optimizer, activation):
    recipe = uv.baseline(
        hidden=(12, 7, 9), activation=activation, init_std=None, optimizer=uv.Optimizer(optimizer, 0.01),
        epochs=1, samples=256, batch=100,
    )  # fmt: skip
    assert uv.run(recipe).outcome.state == "finished"


def test_ctrl_c_while_a_chunk_is_being_kept_waits_for_it(tmp_path):
    recipe = small(epochs=40, hidden=(128, 128), samples=None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with uv.Store.writer(tmp_path) as store:
            keep = store.add

            def add(digest, chunk):
                signal.raise_signal(signal.SIGINT)
                keep(digest, chunk)

            store.add = add
            with pytest.raises(KeyboardInterrupt):
                train_all([recipe], store, executor=WorkerPool(1), device=CPU)
            kept = store.record(recipe.digest()).epochs
    finally:
        signal.signal(signal.SIGINT, before)
    assert kept
    assert [row.epoch for row in kept] == list(range(1, len(kept) + 1))  # no hole


def test_a_worker_that_dies_over_an_ensemble_leaves_each_run_to_itself(tmp_path):
    recipes = [small(seed=seed, epochs=30, samples=4096) for seed in range(3)]
    killed = []

    def kill_once(event):
        if event.kind == "epoch" and not killed:
            killed.append(pool.workers[0].process.pid)
            os.kill(killed[0], signal.SIGKILL)

    with uv.Store.writer(tmp_path) as store:
        pool = WorkerPool(1)
        train_all(recipes, store, executor=pool, device=CPU, together=3, listen=kill_once)
        for recipe in recipes:
            record, alone = store.record(recipe.digest()), uv.run(recipe)
            assert record.outcome.state == "finished"
            assert all(torch.equal(record.weights[name], weight) for name, weight in alone.weights.items())


def test_workers_run_nothing_that_lies_in_the_current_folder(tmp_path, monkeypatch):
    for name in ("pooch", "numpy", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.syspath_prepend("")
    with uv.Store.writer(tmp_path / "store") as store:
        train_all([small()], store, executor=WorkerPool(1), device=CPU)
        assert store.record(small().digest()).outcome.state == "finished"
    assert not (tmp_path / "ran").exists()
