"""Signal propagation in random networks, by mean-field theory. NumPy only: it can be used without torch.

    activation(name)       φ, φ′ and where they have kinks
    MeanField(φ, σ_w²)     length map, correlation map, their fixed points, χ₁, depth scales
    critical(φ, σ_b²)      the σ_w² on the critical line
    predicted(layers, …)   RMS of activation and backward signal, layer by layer
    centred(φ, q)          the critical gain of a layer whose activation is centred, and what it loses

>>> relu = MeanField(activation("ReLU"), weight_var=2.0)
>>> round(relu.chi(1.0), 12)
1.0
"""

from unvanish.theory.activation import ACTIVATIONS, Activation, activation
from unvanish.theory.centred import Centred, centred
from unvanish.theory.critical import critical, critical_line
from unvanish.theory.mean_field import MeanField
from unvanish.theory.propagation import Branch, Layer, Normalise, Prediction, Signal, predicted

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Branch",
    "Centred",
    "Layer",
    "MeanField",
    "Normalise",
    "Prediction",
    "Signal",
    "activation",
    "centred",
    "critical",
    "critical_line",
    "predicted",
]
