"""The quantities. A new one is a file here and a line in `ALL`."""

from unvanish.measure.quantities.activation_mean import ActivationMean
from unvanish.measure.quantities.activation_rms import ActivationRMS
from unvanish.measure.quantities.activation_std import ActivationStd
from unvanish.measure.quantities.backward_norm import BackwardNorm
from unvanish.measure.quantities.backward_rms import BackwardRMS
from unvanish.measure.quantities.dead import Dead
from unvanish.measure.quantities.pre_activation_mean import PreActivationMean
from unvanish.measure.quantities.pre_activation_std import PreActivationStd
from unvanish.measure.quantities.saturated import Saturated
from unvanish.measure.quantities.spread import Spread
from unvanish.measure.quantities.update_norm import UpdateNorm
from unvanish.measure.quantities.update_ratio import UpdateRatio
from unvanish.measure.quantities.weight_gradient_norm import WeightGradientNorm
from unvanish.measure.quantity import Quantity

ALL: tuple[Quantity, ...] = (
    BackwardRMS(),
    BackwardNorm(),
    WeightGradientNorm(),
    UpdateNorm(),
    UpdateRatio(),
    PreActivationMean(),
    PreActivationStd(),
    ActivationMean(),
    ActivationStd(),
    ActivationRMS(),
    Spread(),
    Saturated(),
    Dead(),
)
