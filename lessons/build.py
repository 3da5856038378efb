"""The lessons as Jupyter notebooks: each `lessons/NN_name.py`, in jupytext's percent format, becomes `NN_name.ipynb`.

`hatch_build.py` calls it when the package is built. By hand, after a lesson was changed:

    python lessons/build.py src/unvanish/lessons
"""

import sys
from pathlib import Path

import jupytext
import nbformat

SOURCES = Path(__file__).parent
PYTHON = {"display_name": "Python 3", "language": "python", "name": "python3"}  # every Jupyter has it


def lessons() -> list[Path]:
    """The sources, in the order of the lessons."""
    return sorted(SOURCES.glob("[0-9][0-9]_*.py"))


def notebook(source: Path) -> str:
    """The text of the notebook: the same source gives the same bytes."""
    made = jupytext.read(source, fmt="py:percent")
    made.metadata = nbformat.from_dict({"kernelspec": PYTHON, "language_info": {"name": "python"}})
    for number, cell in enumerate(made.cells, start=1):
        cell["id"] = f"{source.stem}-{number:02}"  # jupytext draws them at random
    nbformat.validate(made)
    return nbformat.writes(made, version=4) + "\n"


def build(folder: Path) -> list[Path]:
    """Write all of them into `folder`, and take away those whose source is gone."""
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / f"{source.stem}.ipynb" for source in lessons()]
    for path in set(folder.glob("*.ipynb")) - set(written):
        path.unlink()
    for path, source in zip(written, lessons(), strict=True):
        path.write_text(notebook(source), encoding="utf-8")
    return written


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python lessons/build.py DIR")
    for path in build(Path(sys.argv[1])):
        print(path)
