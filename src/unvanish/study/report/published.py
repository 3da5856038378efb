"""The published numbers, to be compared with: (train loss, train acc, val loss, val acc) after an epoch.

From the logs of the original study's notebooks, run once with seed 42 on a GPU, so that late epochs
agree within the noise of training, not to the digit.
"""

from dataclasses import dataclass

from unvanish.core.curve import Epoch
from unvanish.study.methods import PUBLISHED_EPOCHS, label
from unvanish.study.report.groups import Group, recipe_of

Figures = tuple[float, float, float, float]

# method → {(stage, epoch): figures}
PUBLISHED: dict[str, dict[tuple[int, int], Figures]] = {
    "1a": {
        (1, 1): (4.3083, 0.1408, 2.2051, 0.2009),
        (1, 2): (2.0239, 0.2703, 1.9038, 0.3168),
        (1, 3): (1.8105, 0.3564, 1.7464, 0.3777),
        (1, 300): (0.5413, 0.8026, 0.6031, 0.7786),
    },
    "2": {
        (1, 1): (2.3025, 0.1266, 2.3024, 0.2430),
        (1, 2): (2.3023, 0.1645, 2.3022, 0.2325),
        (1, 3): (2.3021, 0.2092, 2.3021, 0.2481),
        (1, 300): (0.2284, 0.9194, 0.3996, 0.8669),
    },
    "4a": {
        (1, 1): (1.9000, 0.5648, 1.6384, 0.6892),
        (1, 2): (1.4851, 0.7218, 1.3591, 0.7382),
        (1, 3): (1.2591, 0.7536, 1.1771, 0.7561),
        (1, 300): (0.0736, 0.9812, 0.4151, 0.8751),
    },
    "5": {
        (1, 1): (2.3062, 0.1079, 2.3007, 0.1009),
        (1, 2): (2.2994, 0.1216, 2.2988, 0.1906),
        (1, 3): (2.2966, 0.1433, 2.2951, 0.1028),
        (1, 300): (0.5241, 0.8142, 0.5489, 0.8025),
    },
    "6": {
        (1, 100): (0.8430, 0.6958, 0.8507, 0.6811),
        (7, 300): (0.4938, 0.8226, 0.5382, 0.8072),
    },
}


@dataclass(frozen=True)
class Comparison:
    """One published epoch beside ours."""

    method: str
    stage: int
    epoch: int
    published: Figures
    ours: Figures

    @property
    def difference(self) -> float:
        """The largest of the four, after rounding ours to the four published decimals."""
        return round(max(abs(round(o, 4) - p) for o, p in zip(self.ours, self.published, strict=True)), 4)


def comparisons(groups: list[Group]) -> list[Comparison]:
    """Every published epoch that a run with seed 42 has reached.

    A stage's epoch is compared only where the stages before it had their published length.
    """
    found = []
    for group in groups:
        method = label(group.recipe)
        for record in group.records:
            recipe = recipe_of(record)
            if recipe.seed != 42 or recipe.samples is not None or recipe.batch != 512:
                continue
            rows = {(row.stage, row.epoch): row for row in record.epochs}
            for (stage, epoch), figures in PUBLISHED.get(method, {}).items():
                comparable = stage == 1 or recipe.epochs == PUBLISHED_EPOCHS
                if comparable and (stage, epoch) in rows:
                    found.append(Comparison(group.name, stage, epoch, figures, _figures(rows[stage, epoch])))
    return found


def _figures(row: Epoch) -> Figures:
    return (row.train_loss, row.train_acc, row.val_loss, row.val_acc)
