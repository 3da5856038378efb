"""The results table for a paper, LaTeX and CSV, and what to cite, BibTeX."""

import csv
import io
from collections.abc import Sequence

from unvanish import __version__
from unvanish.core.output import not_a_formula
from unvanish.study.report.groups import Group
from unvanish.study.report.results import COLUMNS, table

SPECIAL = {"&": r"\&", "%": r"\%", "_": r"\_", "#": r"\#", "±": r"$\pm$", "→": r"$\to$", "×": r"$\times$", "²": r"$^2$",
           "−": "$-$", "σ": r"$\sigma$", "–": "--", "…": r"\dots{}"}  # fmt: skip
PAPERS = (
    ("glorot2010understanding", "inproceedings", "Glorot, Xavier and Bengio, Yoshua",
     "Understanding the difficulty of training deep feedforward neural networks", "AISTATS", 2010),
    ("glorot2011deep", "inproceedings", "Glorot, Xavier and Bordes, Antoine and Bengio, Yoshua",
     "Deep sparse rectifier neural networks", "AISTATS", 2011),
    ("kingma2015adam", "inproceedings", "Kingma, Diederik P. and Ba, Jimmy",
     "Adam: A method for stochastic optimization", "ICLR", 2015),
    ("ioffe2015batch", "inproceedings", "Ioffe, Sergey and Szegedy, Christian",
     "Batch normalization: Accelerating deep network training by reducing internal covariate shift", "ICML", 2015),
    ("he2016identity", "inproceedings", "He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian",
     "Identity mappings in deep residual networks", "ECCV", 2016),
    ("bengio2007greedy", "inproceedings", "Bengio, Yoshua and Lamblin, Pascal and Popovici, Dan and Larochelle, Hugo",
     "Greedy layer-wise training of deep networks", "NIPS", 2007),
    ("schoenholz2017deep", "inproceedings",
     "Schoenholz, Samuel S. and Gilmer, Justin and Ganguli, Surya and Sohl-Dickstein, Jascha",
     "Deep information propagation", "ICLR", 2017),
    ("xiao2017fashion", "misc", "Xiao, Han and Rasul, Kashif and Vollgraf, Roland",
     "Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", "arXiv:1708.07747", 2017),
)  # fmt: skip


def as_csv(groups: Sequence[Group]) -> str:
    """The table as the page has it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(map(not_a_formula, row) for row in table(groups))
    return text.getvalue()


def as_latex(groups: Sequence[Group]) -> str:
    """A `tabular` with the rules of the package booktabs."""
    lines = [" & ".join(map(_latex, row)) + r" \\" for row in table(groups)]
    head = " & ".join(map(_latex, COLUMNS)) + r" \\"
    columns = "l" * len(COLUMNS)
    body = "\n".join(lines)
    return f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{head}\n\\midrule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"


def _latex(cell: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in cell)


def bibtex() -> str:
    """Of this program and of the papers behind the methods."""
    own = (
        "@software{unvanish,\n  author = {{The unvanish authors}},\n  title = {unvanish: see where the gradient dies "
        f"in a deep network, learn why, fix it, and prove that the fix worked}},\n  version = {{{__version__}}}\n}}\n"
    )
    return own + "".join(
        f"\n@{kind}{{{key},\n  author = {{{authors}}},\n  title = {{{title}}},\n  "
        f"{'howpublished' if kind == 'misc' else 'booktitle'} = {{{where}}},\n  year = {{{year}}}\n}}\n"
        for key, kind, authors, title, where, year in PAPERS
    )
