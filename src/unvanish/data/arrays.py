"""A data set in a NumPy file: `numpy.savez(FILE, x_train=…, y_train=…, x_test=…, y_test=…)`, as Keras names them."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from unvanish.core.errors import DataError
from unvanish.data.images import DataSet

NAMES = ("x_train", "y_train", "x_test", "y_test")


def numpy_file(path: Path) -> DataSet:
    """Raises `DataError` where the file is no .npz, lacks an array, or holds Python objects, which are never loaded."""
    try:
        file = np.load(path)  # which refuses Python objects
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise DataError(f"{path} holds one array; a data set needs {', '.join(NAMES)}: numpy.savez")
        with file:
            missing = [name for name in NAMES if name not in file.files]
            if missing:
                raise DataError(f"{path} lacks {', '.join(missing)}; it has {', '.join(file.files) or 'nothing'}")
            x_train, y_train, x_test, y_test = (file[name] for name in NAMES)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"{path} cannot be read as a NumPy file: {error}") from error
    return DataSet.of((x_train, y_train), (x_test, y_test), path.stem)
