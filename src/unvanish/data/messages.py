"""A data set for processes that do not have its files: as one safetensors buffer, or as arrays in shared memory."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from numpy.typing import NDArray
from safetensors import safe_open

from unvanish.core.serialisation import pack
from unvanish.data.images import DataSet, Images

PARTS = ("train", "test")


def packed_data(data: DataSet) -> bytes:
    return pack({"name": data.name}, _tensors(data))


def arrays_of_data(data: DataSet) -> dict[str, NDArray]:
    return {name: tensor.numpy() for name, tensor in _tensors(data).items()}


def data_of_arrays(arrays: Mapping[str, NDArray], name: str) -> DataSet:
    """The inverse, without a copy. The memory may be one that cannot be written to: training never writes there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        tensors = {key: torch.from_numpy(array) for key, array in arrays.items()}
    return DataSet(name, *(Images(tensors[f"{part}/inputs"], tensors[f"{part}/labels"]) for part in PARTS))


def _tensors(data: DataSet) -> dict[str, torch.Tensor]:
    parts = {"train": data.train, "test": data.test}
    inputs = {f"{part}/inputs": images.pixels_ND for part, images in parts.items()}
    return inputs | {f"{part}/labels": images.labels_N for part, images in parts.items()}


def data_in_file(path: Path, name: str) -> DataSet:
    """The data set of a file of such a buffer, whose tensors are mapped into memory and not copied."""
    with safe_open(path, "pt") as file:
        parts = [Images(file.get_tensor(f"{part}/inputs"), file.get_tensor(f"{part}/labels")) for part in PARTS]
    return DataSet(name, *parts)
