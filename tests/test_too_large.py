"""An ensemble that the memory has no room for: it is halved, and none is as large from there on."""

import pytest
import torch

import unvanish as uv
from unvanish.core.serialisation import pack, unpack
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.study import worker
from unvanish.study.scheduler import train_all

CPU = torch.device("cpu")


def recipes(count: int, *widths: int) -> list[uv.Recipe]:
    same = [uv.baseline(hidden=(width,), epochs=1, samples=512) for width in widths]
    return [one.but(seed=seed) for one in same for seed in range(count)]


class SmallPlace:
    """In this process; its memory has room for ensembles of so many numbers that are trained."""

    def __init__(self, room: int) -> None:
        self.room, self.sizes, self.messages = room, list[int](), list[bytes]()

    def give(self, job: bytes) -> None:
        meta, tensors = unpack(job)
        self.sizes.append(len(meta["recipes"]))
        if self.sizes[-1] * numbers(meta["recipes"][0]["network"]["hidden"][0]) > self.room:
            self.messages += [pack({"about": "apart", "too_large": True}), pack({"about": "free"})]
        else:
            self.messages += worker.do(meta, tensors, fashion_mnist(), lambda: False)

    def dismiss(self) -> None:
        self.messages.append(b"")


def numbers(width: int) -> int:
    return 784 * width + width + 10 * width + 10


class OnePlace:
    here, places = True, 1

    def __init__(self, place: SmallPlace) -> None:
        self.workers = [place]

    def provide(self, data: str) -> None:
        pass

    def reap(self, gone: SmallPlace) -> str:
        self.workers.remove(gone)
        return ""

    def ready(self, timeout: float | None) -> list[SmallPlace]:
        return list(self.workers)

    def messages(self, ready):
        for place in ready:
            message = place.messages.pop(0)
            yield place, message or None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def test_it_is_halved_until_it_fits_and_the_next_begins_there(tmp_path):
    """Room for three runs of 8 units: eight are tried, then four, then two. Of 4 units three train as much as those."""
    wanted = recipes(8, 8, 4)
    place = SmallPlace(3 * numbers(8))
    with uv.Store.writer(tmp_path) as store:
        train_all(wanted, store, executor=OnePlace(place), device=CPU, together=256)  # pyright: ignore[reportArgumentType]
        assert {one.outcome.state for one in store.summaries()} == {"finished"}
    assert place.sizes == [8, 4, 2, 2, 2, 2, 3, 3, 2]
    assert len(store.summaries()) == 16


@pytest.mark.parametrize(
    ("error", "too_large"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4000000000000 bytes"), True),
        (ValueError("the weights are too large"), False),
    ],
)
def test_a_worker_says_whether_the_memory_was_too_small(monkeypatch, error, too_large):
    def fails(*_):
        raise error

    monkeypatch.setattr(worker, "training_together", fails)
    meta = {"recipes": [one.model_dump(mode="json") for one in recipes(2, 8)], "device": "cpu", "measure_every": 10}
    first, last = (unpack(message)[0] for message in worker.do(meta, {}, fashion_mnist(), lambda: False))
    assert first == {"about": "apart", "too_large": too_large}
    assert last == {"about": "free"}
