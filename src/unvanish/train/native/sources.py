"""What the native step is compiled from: hatch_build.py runs this file, too, so it imports nothing of the package."""

import hashlib
from pathlib import Path

FOLDER = Path(__file__).parent


def digest() -> str:
    """Of the C files, and of the structs that Python shares with them."""
    files = sorted([*FOLDER.glob("*.[ch]"), FOLDER / "structs.py"])
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
