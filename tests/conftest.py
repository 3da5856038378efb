"""Shared by all tests: real data, one thread, a small recipe."""

import os
from collections.abc import Iterator

import pytest
import torch

import postgres
import unvanish as uv
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.images import DataSet
from unvanish.train.process import reproducible_process

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes that tests start
torch.set_warn_always(True)  # else a warning is given once a process, in whichever test comes first


@pytest.fixture(scope="session")
def data() -> DataSet:
    return fashion_mnist()


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with reproducible_process():
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[postgres.Server]:
    """A server of our own; a test that needs one is slow."""
    reason = postgres.why_not()
    if reason is not None:
        pytest.skip(f"PostgreSQL is not tested: {reason}")
    with postgres.server() as server:
        yield server


@pytest.fixture
def database(postgresql) -> str:
    """The URL of an empty one."""
    return postgresql.new_database()


@pytest.fixture
def small() -> uv.Recipe:
    """A quick recipe: 3 × 16 on the first 1,024 images."""
    return uv.baseline(hidden=(16, 16, 16), epochs=2, samples=1024)
