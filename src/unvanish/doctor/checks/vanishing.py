"""UV001 vanishing gradient

What it measures: the share of the backward signal ‖∂loss/∂z‖ that is left when it has passed the layers, taken
between layers, so that it is the same whatever the loss is multiplied by. For a weight that is used at every
time step, the same over time. A network that learns nevertheless, in the trial, is not sick.
Why it is bad: with a factor f a layer, the first of L layers learns f^(L−1) times slower than the last; below
about 1e-7 its updates are lost in the rounding of float32.
Known problems: a network may learn for a while with its last layers alone. A recurrent net whose answer depends
on the last steps only loses nothing by it, so over time we are sure only where it learns at no rate. Frozen layers
have no signal and are no finding.
Remedies: critical initialisation, an activation that does not saturate, normalisation, skip connections;
over time, gates (LSTM, GRU) or an orthogonal recurrent weight.
References: Hochreiter 1991; Bengio, Simard & Frasconi 1994; Glorot & Bengio 2010; He et al. 2015;
Schoenholz et al. 2017, "Deep Information Propagation", section 4.
"""

from dataclasses import dataclass
from typing import final

from unvanish.core.check import Check, Examination
from unvanish.core.finding import Finding
from unvanish.doctor.profile import backward_loss, left_over_time, typical_factor

SMALL = 0.02  # if trials fail at every rate, this much is enough
TINY = 1e-3  # if a trial fails as it is
HOPELESS = 1e-6  # so little that no other rate needs to be tried
NO_TRIAL = 1e-4  # healthy ReLU networks of ten layers come down to 3e-4


@final
@dataclass(frozen=True)
class Vanishing(Check):
    code = "UV001"
    kind = "vanishing"
    title = "vanishing gradient"
    explains = ("collapse", "lr_low", "lr_high")
    remedies = (
        "critical initial weights (He for ReLU, σ_w = 1 for tanh)",
        "ReLU or another activation that does not saturate (BetterActivation)",
        "normalisation behind each layer (NormalizeInside)",
        "skip connections (SkipConnection)",
        "training the layers in turn (TrainSomeLayers)",
    )

    def examine(self, seen: Examination) -> Finding | None:
        if seen.learns or seen.learns_at:  # a network that learns, if only with larger steps, gets enough of a signal
            return None
        loss, over_time = backward_loss(seen.reading), left_over_time(seen.reading)
        if loss.layers and loss.factor < _limit(seen):
            factor = typical_factor(seen.reading, loss.layers)
            return self.finding(
                f"of the backward signal {_share(loss.factor)} is left below layer {loss.layers[0]}: "
                f"each of {len(loss.layers)} layers passes on {factor:.2g} of it",
                layers=loss.layers,
                certainty=_certainty(seen, loss.factor),
                signal_left=loss.factor,
                factor_per_layer=factor,
            )
        if seen.learns is False and over_time.layers and over_time.factor < SMALL:
            return self.finding(
                f"over the uses of {over_time.layers[0]} in one pass, {_share(over_time.factor)} of the backward "
                "signal reaches the first half: what came early cannot be learned",
                layers=over_time.layers,
                certainty=0.45 if not seen.tried else 0.95 if over_time.factor < TINY else 0.7,
                signal_left=over_time.factor,
            )
        return None


def _limit(seen: Examination) -> float:
    if seen.hopeless:
        return SMALL
    return NO_TRIAL if seen.learns is None else TINY


def _certainty(seen: Examination, left: float) -> float:
    if seen.asleep or (seen.learnable is False and left > HOPELESS):
        return 0.45  # others may wake it; or it is the data that nobody can learn from
    if seen.learns is None:
        return 0.7 if left < NO_TRIAL / 100 else 0.55
    if seen.hopeless:
        return 0.95 if left < TINY else 0.8
    return 0.95 if left < HOPELESS else 0.85


def _share(left: float) -> str:
    return "nothing" if left == 0 else f"1/{1 / left:,.0f}" if left > 1e-6 else f"{left:.0e}"
