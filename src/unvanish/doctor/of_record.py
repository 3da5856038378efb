"""A run of the study, diagnosed by the same checks from what the store keeps of it."""

import math

import numpy as np

from unvanish.core.check import Examination
from unvanish.core.reading import Array, Reading
from unvanish.core.record import Record
from unvanish.doctor.diagnosis import Diagnosis, diagnose

CLASSES = 10
LEARNED = 0.2  # of the way from guessing to no error


def diagnose_run(record: Record, step: int = 0) -> Diagnosis:
    """The diagnosis at a measured step of a run: 0 is before its first step, −1 its end.

    Whether it learns is what its validation accuracy came to in the end. RMS stands in for norms: the network's
    hidden layers are of one width, so their ratios are the same.
    """
    series = record.series
    layers = series["backward_signal"].layers
    shown = {name: one.values[step] for name, one in series.items() if len(one.values)}
    nothing = np.full(len(layers), np.nan)

    def of(name: str) -> Array:
        return shown.get(name, nothing)

    mean, std = of("activation_mean"), of("activation_std")
    reading = Reading(
        layers,
        activation_rms_L=np.sqrt(mean**2 + std**2),
        spread_L=nothing,  # the study keeps the spread over batch and units together
        backward_norm_L=of("backward_signal"),
        backward_rms_L=of("backward_signal"),
        gradient_norm_L=of("weight_gradient"),
        update_ratio_L=of("update_ratio"),
        saturated_L=of("saturated"),
        dead_L=of("dead"),
    )
    examination = Examination(reading, learns=_learns(record), diverged=record.outcome.state == "diverged")
    return diagnose(examination, title=f"the network {record.recipe.network}")


def _learns(record: Record) -> bool | None:
    """Whether the run came a fifth of the way from guessing to no error."""
    best = record.outcome.best_val_acc
    if best is None or not math.isfinite(best):
        return None
    return (best - 1 / CLASSES) / (1 - 1 / CLASSES) >= LEARNED
