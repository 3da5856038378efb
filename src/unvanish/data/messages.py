"""A data set as one safetensors buffer: how it comes to processes that do not have its files."""

from pathlib import Path

from safetensors import safe_open

from unvanish.core.serialisation import pack
from unvanish.data.images import DataSet, Images

PARTS = ("train", "test")


def packed_data(data: DataSet) -> bytes:
    parts = {"train": data.train, "test": data.test}
    tensors = {f"{part}/inputs": images.pixels_ND for part, images in parts.items()}
    tensors |= {f"{part}/labels": images.labels_N for part, images in parts.items()}
    return pack({"name": data.name}, tensors)


def data_in_file(path: Path, name: str) -> DataSet:
    """The data set of a file of such a buffer, whose tensors are mapped into memory and not copied."""
    with safe_open(path, "pt") as file:
        parts = [Images(file.get_tensor(f"{part}/inputs"), file.get_tensor(f"{part}/labels")) for part in PARTS]
    return DataSet(name, *parts)
