"""FashionMNIST (Xiao, Rasul & Vollgraf 2017) as tensors over memory-mapped files, shared by all processes."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unvanish.data import sources
from unvanish.data.sources import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS

IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes before the pixels in an IDX file


@dataclass(frozen=True)
class Images:
    """Images as bytes with their labels: `pixels_ND` uint8 of D = 784, `labels_N` int64.

    What frozen layers make of the images takes their place as floats of another D.
    """

    pixels_ND: Tensor
    labels_N: Tensor

    def __len__(self) -> int:
        return len(self.labels_N)

    def first(self, count: int | None) -> "Images":
        """Only the first `count`, or all."""
        return self if count is None else Images(self.pixels_ND[:count], self.labels_N[:count])

    def to(self, device: torch.device) -> "Images":
        return Images(self.pixels_ND.to(device), self.labels_N.to(device))


@dataclass(frozen=True)
class FashionMNIST:
    """60,000 training and 10,000 test images."""

    train: Images
    test: Images


def scaled(pixels_BD: Tensor) -> Tensor:
    """Bytes divided by 255, float32: the only preprocessing of the published protocol. Floats are scaled already."""
    return pixels_BD if pixels_BD.is_floating_point() else pixels_BD.float().div_(255)


def fashion_mnist() -> FashionMNIST:
    """The data set, fetched and verified if need be. Raises `DataError` in a sentence where it cannot be had."""
    files = sources.locate()
    return FashionMNIST(
        train=_images(files[TRAIN_IMAGES], files[TRAIN_LABELS]),
        test=_images(files[TEST_IMAGES], files[TEST_LABELS]),
    )


def _images(images: Path, labels: Path) -> Images:
    count = labels.stat().st_size - LABELS_HEADER
    # Copy-on-write: torch wants writable memory, and the pages stay shared as long as nobody writes.
    pixels = np.memmap(images, np.uint8, mode="c", offset=IMAGES_HEADER, shape=(count, 28 * 28))
    label_bytes = np.memmap(labels, np.uint8, mode="c", offset=LABELS_HEADER, shape=(count,))
    return Images(torch.from_numpy(pixels), torch.from_numpy(label_bytes).long())
