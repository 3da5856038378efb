"""A data set as tensors: training and test images, or any other vectors, with the labels of their classes."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unvanish.core.arguments import a_text, in_brief
from unvanish.core.errors import DataError


@dataclass(frozen=True)
class Images:
    """Images with their labels: `pixels_ND` as bytes, or as float32 that are taken as they are; `labels_N` int64.

    What frozen layers make of the images takes their place as floats of another D.
    """

    pixels_ND: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    def first(self, count: int | None) -> "Images":
        """Only the first `count`, or all."""
        return self if count is None else Images(self.pixels_ND[:count], self.labels_N[:count])

    def last(self, count: int) -> "Images":
        return Images(self.pixels_ND[-count:], self.labels_N[-count:])

    def to(self, device: torch.device) -> "Images":
        return Images(self.pixels_ND.to(device), self.labels_N.to(device))


@dataclass(frozen=True, eq=False)
class DataSet:
    """Training and test images by the name that a recipe knows them by.

    Of one's own, the name ends with the start of the SHA-256 sum of the content, `digits@0f3a…`: so a recipe names
    what it was trained on, wherever the files lie.
    """

    name: str
    train: Images
    test: Images

    @classmethod
    def of(cls, train: Any, test: Any, name: str = "data") -> "DataSet":
        """A data set of one's own from two pairs (inputs, labels) of tensors or arrays, and known to recipes from then.

        train, test  inputs [N, …] are flattened to [N, D]: uint8 is divided by 255 in training, anything else becomes
                     float32 and is taken as it is. Labels [N] are whole numbers from 0 on
        name         what the recipes, tables and figures call it

        Raises `DataError` where shapes or types do not fit.
        """
        pairs = (_images("train", train), _images("test", test))
        widths = {images.pixels_ND.shape[1] for images in pairs}
        if len(widths) > 1:
            raise DataError(f"train and test must have inputs of one size; they have {sorted(widths)} numbers")
        made = cls(f"{_plain(name)}@{_sum(*pairs)}", *pairs)
        OWN[made.name] = made
        return made

    @property
    def inputs(self) -> int:
        """Numbers in one input, D."""
        return self.train.pixels_ND.shape[1]

    @property
    def classes(self) -> int:
        """The largest label, plus one."""
        return 1 + max(int(images.labels_N.max()) for images in (self.train, self.test))

    def on(self, device: torch.device, samples: int | None = None) -> "DataSet":
        """On a device, with only the first `samples` training images, or all."""
        return DataSet(self.name, self.train.first(samples).to(device), self.test.to(device))

    def for_selection(self, held_out: int) -> "DataSet":
        """Without its last `held_out` training images, which take the place of the test images."""
        if not 0 < held_out < len(self.train):
            raise DataError(
                f"{held_out:,} training images cannot be held out of {len(self.train):,}: fewer than all of them"
            )
        return DataSet(self.name, self.train.first(len(self.train) - held_out), self.train.last(held_out))

    def __repr__(self) -> str:
        counts = f"{len(self.train):,} training and {len(self.test):,} test"
        return f"DataSet({self.name!r}: {counts} inputs of {self.inputs:,} numbers, {self.classes} classes)"


MOST_CLASSES = 1_000_000
OWN: dict[str, DataSet] = {}  # of one's own, by name: what a recipe of this process can name


def scaled(pixels_BD: Tensor) -> Tensor:
    """Bytes divided by 255, float32: the only preprocessing of the published protocol. Floats are scaled already."""
    return pixels_BD if pixels_BD.is_floating_point() else pixels_BD.float().div_(255)


def _images(part: str, pair: Any) -> Images:
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise DataError(f"{part} must be a pair (inputs, labels) of tensors or arrays, not {in_brief(pair)}")
    inputs, labels = (_tensor(part, one) for one in pair)
    if inputs.dim() < 2 or not inputs[0].numel():
        raise DataError(f"{part}: inputs have a shape [N, …], not {list(inputs.shape)}")
    if labels.shape != inputs.shape[:1] or not len(labels):
        raise DataError(f"{part}: {list(inputs.shape)} inputs need labels of shape [{len(inputs)}], at least one")
    if labels.is_floating_point() or labels.is_complex() or int(labels.min()) < 0:
        raise DataError(f"{part}: labels are whole numbers from 0 on, one for each input")
    if int(labels.max()) >= MOST_CLASSES:
        raise DataError(f"{part}: a label is {int(labels.max()):,}; there may be at most {MOST_CLASSES:,} classes")
    if inputs.dtype is not torch.uint8 and not inputs.is_floating_point():
        raise DataError(f"{part}: inputs are bytes (uint8), which are divided by 255, or floats, not {inputs.dtype}")
    inputs = inputs.flatten(1)
    if inputs.dtype is not torch.uint8:
        inputs = inputs.float()
        if not bool(torch.isfinite(inputs).all()):
            raise DataError(f"{part}: inputs hold NaN or infinite values")
    return Images(inputs.contiguous(), labels.long().contiguous())


def _tensor(part: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().cpu()
    try:
        array = np.array(value)
        if array.dtype.kind in "ui" and array.dtype != np.uint8:  # torch has no arithmetic of some of them
            array = array.astype(np.int64)
        return torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, OverflowError):
        raise DataError(f"{part} holds {in_brief(value)}, which is no array of numbers") from None


def _plain(name: str) -> str:
    """Of letters, digits and hyphens, so that it can stand in file names."""
    kept = "".join(c if c.isalnum() else "-" for c in a_text("the data set's name", name)).strip("-")
    return kept.lower() or "data"


def _sum(*parts: Images) -> str:
    found = hashlib.sha256()
    for images in parts:
        for tensor in (images.pixels_ND, images.labels_N):
            found.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.numpy().tobytes())
    return found.hexdigest()[:16]
