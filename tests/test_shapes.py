"""Over sixty models, losses and loops as people write them: nothing is refused, nothing crashes, no alarm."""

import pytest
import torch

import unvanish as uv
from shapes import LOOPS, TASKS, Loop


def test_there_are_sixty() -> None:
    assert len(TASKS) + len(LOOPS) >= 60


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.filterwarnings("ignore")  # of torch's about compiled models and schedules
def test_a_healthy_task_is_checked_without_an_alarm(name: str) -> None:
    torch.manual_seed(0)
    found = uv.check(TASKS[name]())
    assert found.primary is None, str(found)
    assert found.healthy, str(found)
    assert all(len(line) <= 80 for line in str(found).splitlines())


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.filterwarnings("ignore")
def test_a_healthy_loop_is_watched_without_an_alarm(name: str) -> None:
    torch.manual_seed(0)
    it = Loop.new()
    with uv.watch(it.model, it.optimizer, every=1) as flow:
        LOOPS[name](it)
    assert flow.steps
    assert flow.diagnose().primary is None
