"""What mean-field theory predicts of a method's network at its initial weights."""

from functools import lru_cache

import torch
from torch import Tensor

from unvanish.core.errors import UnvanishError
from unvanish.core.recipe import Recipe

SQUARE, PRODUCT = (
    0.2064,
    0.1194,
)  # of FashionMNIST's training pixels in 0 to 1: the mean of x², and of x x′ of two images
SAMPLES = 512


@lru_cache(maxsize=256)
def predicted_signal(recipe: Recipe) -> tuple[float, ...]:
    """RMS of the backward signal at each hidden layer over the last hidden one's; empty where theory says nothing.

    Of weights that are drawn as the recipe says; of the data it needs two moments only, so that a report needs no data.
    """
    from unvanish.diagnosis.predicted import predicted_backward  # takes its time; not needed for a list of many

    try:
        setup = recipe.but(seed=0).setup(_inputs(recipe))
        found = list(predicted_backward(setup.model, setup.example).values())[:-1]
    except UnvanishError:  # a recipe of one's own
        return ()
    if len(setup.stages) > 1 or len(found) < 2 or not found[-1] > 0:
        return ()
    return tuple(value / found[-1] for value in found)


def _inputs(recipe: Recipe) -> Tensor:
    """Inputs of these moments."""
    width = recipe.uninitialised().example.shape[1]
    noise = torch.randn(SAMPLES, width, generator=torch.Generator().manual_seed(0))
    return PRODUCT**0.5 + (SQUARE - PRODUCT) ** 0.5 * noise
