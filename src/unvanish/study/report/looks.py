"""A colour and a dash for each method, the same in every figure and every report."""

from collections.abc import Sequence

from unvanish.study.methods import METHODS

# Okabe & Ito 2008: told apart with any colour vision; no yellow, which is lost on white, and a grey for the baseline
COLOURS = ("#7f7f7f", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3))


def looks(names: Sequence[str]) -> list[tuple[str, tuple[int, ...]]]:
    """Colour and dash of each name: the published methods' by their place among them, then the next ones that are free.

    28 differ; then they repeat.
    """
    every = [(colour, dash) for dash in DASHES for colour in COLOURS]
    own = dict(zip(METHODS, every, strict=False))
    free = [look for look in every if look not in own.values()]
    others = [name for name in names if name not in own]
    return [own.get(name) or free[others.index(name) % len(free)] for name in names]
