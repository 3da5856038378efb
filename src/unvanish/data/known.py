"""Data sets by name: those that are fetched, and those of one's own."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from unvanish.core.arguments import a_path
from unvanish.core.errors import DataError, did_you_mean
from unvanish.data.arrays import numpy_file
from unvanish.data.fashion_mnist import fashion_mnist
from unvanish.data.idx import idx_folder
from unvanish.data.images import OWN, DataSet
from unvanish.data.packed import PACKED, packed

FETCHED: dict[str, Callable[[], DataSet]] = {
    "fashion-mnist": fashion_mnist,
    **{name: lambda name=name: packed(name) for name in PACKED},
}


def load_data(where: "str | Path | DataSet") -> DataSet:
    """A data set: `fashion-mnist`, `mnist` or `kmnist`, fetched; a folder of IDX files; a NumPy file.

    where   a name; a folder, or `FOLDER/NAME` where it holds several sets, as EMNIST's does; a .npz file with x_train,
            y_train, x_test and y_test. A folder of the same name as a data set is written `./mnist`

    Raises `DataError` where it cannot be had.
    """
    if isinstance(where, DataSet):
        return where
    if isinstance(where, str) and (where in FETCHED or where in OWN):
        return data_named(where)
    path = a_path("a data set", where)
    if path.suffix == ".npz":
        return numpy_file(path)
    if path.is_dir() or (path.parent.is_dir() and path.parent != Path()):
        return idx_folder(path)
    raise DataError(
        f"'{where}' is neither a data set ({', '.join(FETCHED)}) nor a folder of IDX files or a .npz file"
        f"{did_you_mean(str(where), FETCHED)}"
    )


def data_named(name: str) -> DataSet:
    """The data set that a recipe names. Raises `DataError` where this process does not know it."""
    if name in OWN:
        return OWN[name]
    if name in FETCHED:
        return _fetched(name)
    label = name.partition("@")[0]
    raise DataError(
        f"the data set '{name}' is not loaded: load the files that it was made of, with uv.load_data(…) or --data, "
        f"and its content is recognised ('{label}' is only a label)"
    )


@cache
def _fetched(name: str) -> DataSet:
    return FETCHED[name]()
