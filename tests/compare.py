"""Short trainings, and how near two of them are."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

import unvanish as uv
from unvanish.core.table import Table
from unvanish.data.images import DataSet, Images
from unvanish.measure.schedule import every
from unvanish.train.group import Run
from unvanish.train.images import ImageData, Picked
from unvanish.train.loop import Ended, EpochDone, train


def few(data: DataSet, count: int) -> DataSet:
    return replace(data, train=data.train.first(count), test=data.test.first(700))


def in_order(x_ND: Tensor, y_N: Tensor, batch: int) -> Picked:
    return Picked(Images(x_ND, y_N), torch.arange(len(y_N)), batch)


def trained(
    recipe: uv.Recipe, data: DataSet, *, fast: bool = True
) -> tuple[dict[str, Tensor], list[tuple[float, ...]], list[Table]]:
    """About 50 steps, every third of them measured: the weights, the curve, the tables."""
    rows: list[tuple[float, ...]] = []
    tables: list[Table] = []
    runs = [Run(recipe.uninitialised(), 4, recipe.seed)]
    images = ImageData(few(data, recipe.batch * 12 + 7), recipe.batch)  # the last batch is a short one
    for happened in train(runs, images, schedule=every(3), device=torch.device("cpu"), fast=fast):
        for _, item in happened:
            if isinstance(item, EpochDone):
                rows.append((item.row.train_loss, item.row.train_acc, item.row.val_loss, item.row.val_acc))
                tables += item.measured
            else:
                assert isinstance(item, Ended)
                return item.weights, rows, tables
    raise AssertionError


def assert_alike(ours: list[Table], theirs: list[Table], rtol: float, atol: float = 0.0) -> None:
    assert [table.steps for table in ours] == [table.steps for table in theirs]
    for one, other in zip(ours, theirs, strict=True):
        for name in one.values.keys() | other.values.keys():
            near_0 = 1e-5 if name.endswith("mean") else atol  # a mean is as exact as what it is the mean of
            np.testing.assert_allclose(one.row(name), other.row(name), rtol=rtol, atol=near_0, err_msg=name)


def relative_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """‖a − b‖ / ‖b‖ over all weights together."""
    difference = sum((a[key].double() - b[key].double()).square().sum() for key in b)
    return float((difference / sum(b[key].double().square().sum() for key in b)) ** 0.5)
