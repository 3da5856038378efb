"""The probes. A new one is a file here and a line in `ALL`."""

from unvanish.core.probe import Probe
from unvanish.probes.activation_mean import ActivationMean
from unvanish.probes.activation_std import ActivationStd
from unvanish.probes.backward_signal import BackwardSignal
from unvanish.probes.dead import Dead
from unvanish.probes.pre_activation_mean import PreActivationMean
from unvanish.probes.pre_activation_std import PreActivationStd
from unvanish.probes.saturated import Saturated
from unvanish.probes.update_ratio import UpdateRatio
from unvanish.probes.weight_gradient import WeightGradient

ALL: tuple[Probe, ...] = (
    BackwardSignal(),
    WeightGradient(),
    UpdateRatio(),
    PreActivationMean(),
    PreActivationStd(),
    ActivationMean(),
    ActivationStd(),
    Saturated(),
    Dead(),
)
