"""FashionMNIST (Xiao, Rasul & Vollgraf 2017) as tensors over memory-mapped files, shared by all processes."""

from pathlib import Path

import numpy as np
import torch

from unvanish.data import sources
from unvanish.data.images import DataSet, Images
from unvanish.data.sources import TEST_IMAGES, TEST_LABELS, TRAIN_IMAGES, TRAIN_LABELS

NAME = "fashion-mnist"
IMAGES_HEADER, LABELS_HEADER = 16, 8  # bytes before the pixels in an IDX file


def fashion_mnist() -> DataSet:
    """The data set, fetched and verified if need be. Raises `DataError` in a sentence where it cannot be had."""
    files = sources.locate()
    return DataSet(
        NAME,
        train=_images(files[TRAIN_IMAGES], files[TRAIN_LABELS]),
        test=_images(files[TEST_IMAGES], files[TEST_LABELS]),
    )


def _images(images: Path, labels: Path) -> Images:
    count = labels.stat().st_size - LABELS_HEADER
    # Copy-on-write: torch wants writable memory, and the pages stay shared as long as nobody writes.
    pixels = np.memmap(images, np.uint8, mode="c", offset=IMAGES_HEADER, shape=(count, 28 * 28))
    label_bytes = np.memmap(labels, np.uint8, mode="c", offset=LABELS_HEADER, shape=(count,))
    return Images(torch.from_numpy(pixels), torch.from_numpy(label_bytes).long())
