"""The compiled kernels, against torch in float64; and that a training is the same without them."""

import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import unvanish as uv
from unvanish.core.table import Table
from unvanish.data.fashion_mnist import scaled
from unvanish.measure.region import EVERYWHERE, Region
from unvanish.measure.schedule import every
from unvanish.measure.signal import Moments, dead_units, moments, saturated_share
from unvanish.train.group import Run
from unvanish.train.images import ImageData
from unvanish.train.loop import EpochDone, train
from unvanish.train.native import passes
from unvanish.train.native.library import library
from unvanish.train.native.passes import COLUMNS, change, scaled_rows, spread, surveyed

SHAPES = [(1, 1), (2, 3), (64, 128), (512, 128), (96, 10), (33, 4097), (5000, 1), (7, 784)]
needs_a_compiler = pytest.mark.skipif(library() is None, reason="no C compiler on this machine")


class Exact:
    """By torch, in float64."""

    def __init__(self, values: torch.Tensor, region: Region = EVERYWHERE) -> None:
        values = values.double()
        found: Moments = moments(values)
        self.mean, self.std, self.rms, self.norm = found.mean, found.std, found.rms, found.norm
        wide = Region(max(region.low, -1e300), min(region.high, 1e300))
        self.saturated = saturated_share(values, wide)
        dead = dead_units(values, region, values.dim() - 1)
        self.dead = 0.0 if dead is None else dead.float().mean().item()


def survey(values: torch.Tensor, region: Region = EVERYWHERE) -> dict[str, float]:
    return dict(zip(COLUMNS, surveyed(values, region).tolist(), strict=True))


@needs_a_compiler
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("region", [EVERYWHERE, Region(-1.0, 1.0), Region(0.0, math.inf), Region(-9.0, 9.0)], ids=str)
def test_a_survey_is_what_torch_says(shape, region):
    torch.manual_seed(0)
    values = torch.randn(shape) * 1.5 + torch.linspace(-3, 3, shape[1])  # some units at one side
    exact = Exact(values, region)
    for column, value in survey(values, region).items():
        assert value == pytest.approx(getattr(exact, column), rel=1e-6, abs=1e-7), column


@needs_a_compiler
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e25], ids=str)
def test_a_spread_is_what_torch_says(shape, scale):
    torch.manual_seed(0)
    values = (torch.randn(shape) + 100 * torch.randn(shape[1])) * scale  # each unit around a mean of its own
    exact = values.double() - values.double().mean(0)
    assert spread(values).item() == pytest.approx(exact.square().mean().sqrt().item(), rel=1e-5)


@needs_a_compiler
@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_a_spread_of_what_is_not_finite_is_no_number(odd):
    values = torch.randn(64, 8)
    values[3, 5] = odd
    assert math.isnan(spread(values).item())


@pytest.mark.parametrize("offset", [0.0, 0.5, 1000.0])
@pytest.mark.parametrize("look", [lambda values: survey(values)["std"], lambda values: moments(values).std])
def test_std_does_not_cancel(offset, look):
    values = torch.randn(512, 128, dtype=torch.float32) * 1e-3 + offset
    exact = values.double().std(unbiased=False).item()
    assert look(values) == pytest.approx(exact, rel=1e-3)


@needs_a_compiler
def test_a_first_element_far_off_and_blocks_of_different_means_do_not_harm():
    values = torch.randn(512, 128)
    values[0, 0] = 1e4
    values[256:] += 50
    exact = values.double()
    assert survey(values)["std"] == pytest.approx(exact.std(unbiased=False).item(), rel=1e-6)
    assert survey(values)["mean"] == pytest.approx(exact.mean().item(), rel=1e-6)


def by_torch(values: torch.Tensor) -> dict[str, float]:
    found = moments(values)
    return {column: getattr(found, column) for column in ("mean", "std", "rms", "norm")}


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-18, 1e18, 1e30])
@pytest.mark.parametrize("look", [survey, by_torch])
def test_what_has_vanished_or_exploded_is_measured_too(scale, look):
    """Where squares in float32 are 0 or infinite."""
    values = torch.randn(512, 128) * scale
    exact = Exact(values)
    for column, value in look(values).items():
        assert value == pytest.approx(getattr(exact, column), rel=1e-5, abs=1e-40), column


def test_what_is_all_equal_is_measured_too():
    for constant in (0.0, 0.5):
        seen = survey(torch.full((64, 128), constant))
        assert (seen["mean"], seen["std"], seen["rms"]) == (constant, 0, constant)


@needs_a_compiler
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_what_torch_says(odd):
    values = torch.randn(64, 16)
    values[3, 5] = odd
    exact, seen = Exact(values, Region(-1.0, 1.0)), survey(values, Region(-1.0, 1.0))
    for column in ("mean", "std", "rms", "norm"):
        np.testing.assert_equal(seen[column], getattr(exact, column))
    if not math.isnan(odd):
        assert seen["saturated"] == pytest.approx(exact.saturated, rel=1e-6)
        assert seen["dead"] == exact.dead


@pytest.mark.parametrize(
    ("region", "filled", "dead"),
    [
        (Region(0.0, math.inf), -1.0, 1),
        (Region(0.0, math.inf), math.inf, 0),  # exploded, but not at the flat side of a ReLU
        (Region(-math.inf, 3.0), 5.0, 1),
        (Region(-math.inf, 3.0), -5.0, 0),
        (Region(-1.0, 1.0), 2.0, 1),
        (Region(-1.0, 1.0), 0.0, 0),
    ],
    ids=str,
)
def test_dead_is_at_a_flat_side(region, filled, dead):
    values = torch.full((8, 3), filled)
    assert survey(values, region)["dead"] == Exact(values, region).dead == dead


@needs_a_compiler
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_change_of_a_weight(shape):
    torch.manual_seed(0)
    before = torch.randn(shape)
    after = before + 1e-3 * torch.randn(shape)
    exact = [(after - before).double().norm().item(), before.double().norm().item()]
    assert change(before, after).tolist() == pytest.approx(exact, rel=1e-6)
    assert change(before, before).tolist() == pytest.approx([0, exact[1]], rel=1e-6)


@needs_a_compiler
@pytest.mark.parametrize(("rows", "width"), [(1, 1), (3, 100), (512, 784), (96, 784)])
def test_pixels_are_picked_bit_for_bit(rows, width):
    images = torch.randint(0, 256, (600, width), dtype=torch.uint8)
    images[0, 0] = 255
    order = torch.cat([torch.zeros(1, dtype=torch.int64), torch.randint(0, 600, (rows - 1,))])
    x = scaled_rows(images, order)
    assert x is not None
    assert torch.equal(x, scaled(images.index_select(0, order)))


def picked(data, rows: torch.Tensor) -> torch.Tensor:
    return next(iter(ImageData(data, len(rows)).epoch(lambda _draw: rows))).input


def test_a_number_out_of_range_is_an_error(data):
    for odd in (60_000, -1):
        with pytest.raises((IndexError, RuntimeError)):
            picked(data, torch.tensor([0, odd]))


def test_what_users_set_as_default_does_not_matter(data):
    x = picked(data, torch.tensor([5, 7]))
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.equal(picked(data, torch.tensor([5, 7])), x)
        rows = torch.tensor([5, 7])
        torch.set_default_device("meta")
        assert torch.equal(picked(data, rows), x)
        assert surveyed(x, EVERYWHERE).device.type == "cpu"
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "values",
    [
        torch.randn(6, 5, dtype=torch.float64),
        torch.randn(5, 6).t(),
        torch.randn(2, 7, 3),  # tokens
    ],
    ids=lambda values: f"{values.dtype}-{values.dim()}",
)
def test_other_types_and_shapes_are_measured_as_well(values):
    region = Region(-1.0, 1.0)
    exact = Exact(values, region)
    for column, value in survey(values, region).items():
        assert value == pytest.approx(getattr(exact, column), rel=1e-5), column


def test_pixels_that_are_no_bytes_are_left_to_torch():
    assert scaled_rows(torch.zeros(4, 3), torch.tensor([1])) is None
    assert scaled_rows(torch.zeros(4, 3, 3, dtype=torch.uint8), torch.tensor([1])) is None


@needs_a_compiler
@pytest.mark.parametrize("method", ["1b", "2", "4b", "6"])
def test_a_training_is_the_same_without_them(method, data, monkeypatch):
    """The same bits; the gradient flow to rounding."""

    def trained() -> tuple[list[tuple[float, ...]], list[Table]]:
        few = replace(data, train=data.train.first(1100), test=data.test.first(200))
        runs = [Run(uv.method(method).uninitialised(), 3, 42)]
        happened = train(runs, ImageData(few, 512), schedule=every(1), device=torch.device("cpu"))
        done = [item for items in happened for _, item in items if isinstance(item, EpochDone)]
        rows = [(item.row.train_loss, item.row.val_loss, item.row.train_acc, item.row.val_acc) for item in done]
        return rows, [table for item in done for table in item.measured]

    rows, tables = trained()
    monkeypatch.setattr(passes, "library", lambda: None)
    rows_without, tables_without = trained()
    assert rows == rows_without
    for ours, theirs in zip(tables, tables_without, strict=True):
        for name in ours.values:
            np.testing.assert_allclose(ours.row(name), theirs.row(name), rtol=2e-5, atol=1e-7, err_msg=name)


def in_a_new_process(script: str, **environment: str) -> subprocess.CompletedProcess:
    log = "import logging; logging.basicConfig(level='INFO', format='%(message)s')\n"
    return subprocess.run(
        [sys.executable, "-c", log + script], env=os.environ | environment, capture_output=True, text=True, check=True
    )


SAY = "from unvanish.train.native.library import library; print(library() is not None)"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"CC": "no-such-compiler"}, "no-such-compiler"),
        ({"CC": "false"}, "no compiled kernels"),
        ({"CC": 'cc "'}, "no compiled kernels"),
        ({"CC": "cc -fvisibility=hidden"}, "no compiled kernels"),
        ({"XDG_CACHE_HOME": "/proc/nowhere"}, "no compiled kernels"),
        ({"UNVANISH_KERNELS": "off"}, ""),
    ],
    ids=["no compiler", "a compiler that fails", "no command", "nothing to be seen", "no cache", "off"],
)
def test_without_them_torch_does_the_work(environment, said, tmp_path):
    process = in_a_new_process(SAY, **({"XDG_CACHE_HOME": str(tmp_path)} | environment))
    assert process.stdout == "False\n"
    assert said in process.stderr
    assert "Traceback" not in process.stderr


@needs_a_compiler
def test_workers_that_compile_at_the_same_time_get_on(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        all_at_once = pool.map(lambda _: in_a_new_process(SAY, XDG_CACHE_HOME=str(tmp_path)).stdout, range(3))
    assert list(all_at_once) == ["True\n"] * 3
    assert [path.suffix for path in (tmp_path / "unvanish" / "kernels").iterdir()] == [".so"]


@needs_a_compiler
@pytest.mark.parametrize("left", [0.0, 0.5])
def test_a_damaged_file_in_the_cache_is_made_again(left, tmp_path):
    assert in_a_new_process(SAY, XDG_CACHE_HOME=str(tmp_path)).stdout == "True\n"
    (compiled,) = Path(tmp_path, "unvanish", "kernels").iterdir()
    whole = compiled.read_bytes()
    compiled.write_bytes(whole[: int(left * len(whole))])
    assert in_a_new_process(SAY, XDG_CACHE_HOME=str(tmp_path)).stdout == "True\n"
    assert compiled.read_bytes() == whole
