# ruff: noqa: E501 (a sentence is compared whole)
"""What each check says, word for word and figure for figure, over networks that it was read and found right on.

A change of a sentence, a certainty or a threshold shows here. Read what changed before you write it down anew.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from test_checks_contract import (
    FAILS,
    FAILS_AT_EVERY_RATE,
    HELPS,
    NAN,
    at_one_layer,
    contrast,
    falling,
    inputs,
    saturation,
    table,
)
from unvanish.core.finding import Finding, Kind
from unvanish.diagnosis.evidence.origin import Origin
from unvanish.diagnosis.examination import Examination
from unvanish.diagnosis.rules import rule


class Said(NamedTuple):
    certainty: float
    layers: tuple[str, ...]
    evidence: dict[str, float]
    explains: tuple[str, ...]
    message: str


SCENARIOS = {
    "vanishing, no trial, much left": ("vanishing", {"backward_norm": falling(0.5e-4)}, {"learned": None}),
    "vanishing, no trial, little left": ("vanishing", {"backward_norm": falling(0.5e-6)}, {"learned": None}),
    "vanishing at this rate": ("vanishing", {"backward_norm": falling(0.5e-3)}, FAILS),
    "vanishing, lost to rounding": ("vanishing", {"backward_norm": falling(1e-9)}, FAILS),
    "vanishing at every rate, some left": ("vanishing", {"backward_norm": falling(0.5e-2)}, FAILS_AT_EVERY_RATE),
    "vanishing at every rate, little left": ("vanishing", {"backward_norm": falling(0.5e-3)}, FAILS_AT_EVERY_RATE),
    "vanishing to nothing": ("vanishing", {"backward_norm": [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]}, FAILS),
    "vanishing, but from data that nobody learns from": (
        "vanishing",
        {"backward_norm": falling(0.5e-3)},
        FAILS | {"learnable": False},
    ),
    "vanishing from such data, but lost to rounding": (
        "vanishing",
        {"backward_norm": falling(0.5e-6)},
        FAILS | {"learnable": False},
    ),
    "vanishing, learns at another rate": (
        "vanishing",
        {"backward_norm": falling(1e-9)},
        FAILS | {"learns_at": (10.0,)},
    ),
    "vanishing over time": ("vanishing", {}, FAILS | {"over_calls": list(10.0 ** np.arange(-9, 1))}),
    "vanishing over time, nothing tried": (
        "vanishing",
        {},
        {"learned": False, "over_calls": list(10.0 ** np.arange(-9, 1))},
    ),
    "vanishing over time, some left": ("vanishing", {}, FAILS | {"over_calls": [5e-3] * 6 + [1.0] * 6}),
    "over time, too much left": ("vanishing", {}, FAILS | {"over_calls": [0.03] * 6 + [1.0] * 6}),
    "over so few uses it is depth": ("vanishing", {}, FAILS | {"over_calls": [1e-9] * 3 + [1.0] * 4}),
    "over time, no trial": ("vanishing", {}, {"learned": None, "over_calls": [1e-9] * 6 + [1.0] * 6}),
    "collapse, gently": ("collapse", contrast(0.01), FAILS),
    "collapse at once": ("collapse", {"spread": [1.0, 1.0, 1e-5, 1e-5, 1e-5, 1.0]}, FAILS),
    "collapse to nothing": ("collapse", {"spread": [1.0, 1.0, 1.0, 0.02, 0.0, 1.0]}, FAILS),
    "collapse, no trial": ("collapse", contrast(0.001), {"learned": None}),
    "collapse of data that nobody learns from": ("collapse", contrast(0.01), FAILS | {"learnable": False}),
    "collapse at once of such data": (
        "collapse",
        {"spread": [1.0, 1.0, 1e-5, 1e-5, 1e-5, 1.0]},
        FAILS | {"learnable": False},
    ),
    "collapse, learns": ("collapse", contrast(0.01), {"learned": True}),
    "collapse, learns at another rate": ("collapse", contrast(0.01), FAILS | {"learns_at": (0.1,)}),
    "exploding backward": ("exploding", {"backward_norm": [1e5, 1e4, 1e3, 1e2, 10.0, 1.0]}, FAILS),
    "exploding backward, less": ("exploding", {"backward_norm": [2e3, 1e3, 1e2, 1e1, 2.0, 1.0]}, FAILS),
    "exploding backward, no trial": (
        "exploding",
        {"backward_norm": [1e6, 1e4, 1e3, 1e2, 10.0, 1.0]},
        {"learned": None},
    ),
    "exploding forward": ("exploding", {"activation_rms": [1.0, 10.0, 1e3, 1e4, 1e5, 1.0]}, FAILS),
    "a large output alone": ("exploding", {"activation_rms": [1.0, 1.0, 1.0, 1.0, 1.0, 1e9]}, FAILS),
    "exploding over time": ("exploding", {}, FAILS | {"over_calls": list(10.0 ** -np.arange(0, 10))}),
    "exploding over few uses is depth": ("exploding", {}, FAILS | {"over_calls": [1e9] * 3 + [1.0] * 4}),
    "dead": ("dead", at_one_layer("dead", 0.8), FAILS),
    "dead throughout a layer": ("dead", at_one_layer("dead", 1.0), FAILS),
    "dead, no trial": ("dead", at_one_layer("dead", 1.0), {"learned": None}),
    "dead at this scale only": ("dead", at_one_layer("dead", 1.0), FAILS | {"stronger": at_one_layer("dead", 0.5)}),
    "dead at any scale": ("dead", at_one_layer("dead", 1.0), FAILS | {"stronger": at_one_layer("dead", 0.9)}),
    "dead, of a bounded activation": ("dead", at_one_layer("dead", 1.0) | saturation(1.0), FAILS),
    "saturated": ("saturated", {"saturated": [0.1, 0.7, 0.8, 0.2, 0.1, NAN]}, FAILS),
    "saturated, no trial": ("saturated", saturation(0.95), {"learned": None}),
    "saturated throughout, learns for a while": ("saturated", saturation(0.95), {"learned": True}),
    "saturated throughout, had learned": ("saturated", saturation(0.95), {"learned": True, "had_learned": True}),
    "symmetric": ("symmetric", {}, FAILS | {"symmetric": ("layer1",)}),
    "symmetric layers": ("symmetric", {}, FAILS | {"symmetric": ("layer1", "layer2")}),
    "input scale": ("input_scale", {}, FAILS | inputs(90.0) | HELPS),
    "input scale, learns": ("input_scale", {}, {"learned": True} | inputs(90.0) | HELPS),
    "input scale, no trial": ("input_scale", {}, {"learned": None} | inputs(90.0)),
    "rate far too high": ("lr_high", {}, FAILS | {"learns_at": (1e-3, 0.1)}),
    "rate rather high": ("lr_high", {}, FAILS | {"learns_at": (0.6,)}),
    "rate too high, diverges": ("lr_high", {}, FAILS | {"learns_at": (0.01,), "diverged": True}),
    "diverges, nothing tried": ("lr_high", {}, {"learned": False, "diverged": True}),
    "diverges, but learns at a larger rate": ("lr_high", {}, FAILS | {"learns_at": (10.0,), "diverged": True}),
    "rate too low": ("lr_low", {}, FAILS | {"learns_at": (1000.0, 1e5)}),
    "rate too low and too high": ("lr_low", {}, FAILS | {"learns_at": (1000.0, 0.1)}),
    "no gradient": ("broken_graph", {}, FAILS | {"no_gradient": True}),
    "cut": ("broken_graph", {}, FAILS | {"cut": ("layer1",)}),
    "cut in many places": ("broken_graph", {}, FAILS | {"cut": ("layer0", "layer1", "layer2", "layer3")}),
    "unused": ("broken_graph", {}, FAILS | {"unused": ("layer4",)}),
    "unused and cut": ("broken_graph", {}, FAILS | {"unused": ("layer4",), "cut": ("layer1",)}),
    "non-finite": ("non_finite", {}, {"learned": False, "origin": Origin("layer2", when="first seen at step 3")}),
}


def found_in(kind: Kind, shown: dict, facts: dict) -> Finding | None:
    facts = dict(facts)
    over = {"rnn": np.array(facts.pop("over_calls"))} if "over_calls" in facts else {}
    stronger = {"stronger": table(**facts.pop("stronger"))} if "stronger" in facts else {}
    return rule(kind).examine(Examination(replace(table(**shown), over_calls=over), **facts, **stronger))


EXPECTED: dict[str, Said | None] = {
    "vanishing, no trial, much left": Said(
        0.55,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"signal_left": 5e-05, "factor_per_layer": 0.137973},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks by a factor of 7.25 per layer over 5 layers (layer0, layer1, layer2 …); 5e-05 of its norm is left at layer layer0",
    ),
    "vanishing, no trial, little left": Said(
        0.7,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"signal_left": 5e-07, "factor_per_layer": 0.054928},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks by a factor of 18.2 per layer over 5 layers (layer0, layer1, layer2 …); 5e-07 of its norm is left at layer layer0",
    ),
    "vanishing at this rate": Said(
        0.85,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"signal_left": 0.0005, "factor_per_layer": 0.218672},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks by a factor of 4.57 per layer over 5 layers (layer0, layer1, layer2 …); 0.0005 of its norm is left at layer layer0",
    ),
    "vanishing, lost to rounding": Said(
        0.95,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"signal_left": 1e-09, "factor_per_layer": 0.0158489},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks by a factor of 63.1 per layer over 5 layers (layer0, layer1, layer2 …); 1e-09 of its norm is left at layer layer0",
    ),
    "vanishing at every rate, some left": Said(
        0.8,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"signal_left": 0.005, "factor_per_layer": 0.346572},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks by a factor of 2.89 per layer over 5 layers (layer0, layer1, layer2 …); 0.005 of its norm is left at layer layer0",
    ),
    "vanishing at every rate, little left": Said(
        0.95,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"signal_left": 0.0005, "factor_per_layer": 0.218672},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks by a factor of 4.57 per layer over 5 layers (layer0, layer1, layer2 …); 0.0005 of its norm is left at layer layer0",
    ),
    "vanishing to nothing": Said(
        0.95,
        ("layer2",),
        {"signal_left": 0.0, "factor_per_layer": 0.0},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks to nothing over layer layer2; nothing of its norm is left at layer layer0",
    ),
    "vanishing, but from data that nobody learns from": Said(
        0.45,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"signal_left": 0.0005, "factor_per_layer": 0.218672},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks by a factor of 4.57 per layer over 5 layers (layer0, layer1, layer2 …); 0.0005 of its norm is left at layer layer0",
    ),
    "vanishing from such data, but lost to rounding": Said(
        0.95,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"signal_left": 5e-07, "factor_per_layer": 0.054928},
        ("collapse", "lr_low", "lr_high"),
        "the gradient shrinks by a factor of 18.2 per layer over 5 layers (layer0, layer1, layer2 …); 5e-07 of its norm is left at layer layer0",
    ),
    "vanishing, learns at another rate": None,
    "vanishing over time": Said(
        0.95,
        ("rnn",),
        {"signal_left": 1e-05},
        ("collapse", "lr_low", "lr_high"),
        "over the time steps of rnn, 1e-05 of the gradient reaches the first half: what depends on early inputs cannot be learned",
    ),
    "vanishing over time, nothing tried": Said(
        0.45,
        ("rnn",),
        {"signal_left": 1e-05},
        ("collapse", "lr_low", "lr_high"),
        "over the time steps of rnn, 1e-05 of the gradient reaches the first half: what depends on early inputs cannot be learned",
    ),
    "vanishing over time, some left": Said(
        0.7,
        ("rnn",),
        {"signal_left": 0.005},
        ("collapse", "lr_low", "lr_high"),
        "over the time steps of rnn, 0.005 of the gradient reaches the first half: what depends on early inputs cannot be learned",
    ),
    "over time, too much left": None,
    "over so few uses it is depth": None,
    "over time, no trial": None,
    "collapse, gently": Said(
        0.85,
        ("layer3", "layer4"),
        {"contrast": 0.01},
        ("lr_low",),
        "from layer layer3 on, activations hardly depend on the input: only 1.0e-02 of the signal does",
    ),
    "collapse at once": Said(
        0.97,
        ("layer2", "layer3", "layer4"),
        {"contrast": 1e-05},
        ("vanishing", "lr_low", "dead"),
        "from layer layer2 on, activations hardly depend on the input: only 1.0e-05 of the signal does, and it is lost within one layer",
    ),
    "collapse to nothing": Said(
        0.85,
        ("layer3", "layer4"),
        {"contrast": 0.0},
        ("lr_low",),
        "from layer layer3 on, activations hardly depend on the input: less of the signal does than float32 resolves",
    ),
    "collapse, no trial": Said(
        0.6,
        ("layer3", "layer4"),
        {"contrast": 0.001},
        ("lr_low",),
        "from layer layer3 on, activations hardly depend on the input: only 1.0e-03 of the signal does",
    ),
    "collapse of data that nobody learns from": Said(
        0.45,
        ("layer3", "layer4"),
        {"contrast": 0.01},
        ("lr_low",),
        "from layer layer3 on, activations hardly depend on the input: only 1.0e-02 of the signal does",
    ),
    "collapse at once of such data": Said(
        0.97,
        ("layer2", "layer3", "layer4"),
        {"contrast": 1e-05},
        ("vanishing", "lr_low", "dead"),
        "from layer layer2 on, activations hardly depend on the input: only 1.0e-05 of the signal does, and it is lost within one layer",
    ),
    "collapse, learns": None,
    "collapse, learns at another rate": None,
    "exploding backward": Said(
        0.95,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"backward_growth": 100000.0, "forward_growth": 1.0},
        ("lr_high", "lr_low", "non_finite", "dead", "collapse", "vanishing"),
        "the backward signal grows by a factor of 1e+05 on its way to layer layer0",
    ),
    "exploding backward, less": Said(
        0.8,
        ("layer1", "layer2", "layer3"),
        {"backward_growth": 2000.0, "forward_growth": 1.0},
        ("lr_high", "lr_low", "non_finite", "dead", "collapse", "vanishing"),
        "the backward signal grows by a factor of 2e+03 on its way to layer layer0",
    ),
    "exploding backward, no trial": Said(
        0.6,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"backward_growth": 1000000.0, "forward_growth": 1.0},
        ("lr_high", "lr_low", "non_finite", "dead", "collapse", "vanishing"),
        "the backward signal grows by a factor of 1e+06 on its way to layer layer0",
    ),
    "exploding forward": Said(
        0.95,
        ("layer1", "layer2", "layer3", "layer4"),
        {"backward_growth": 1.0, "forward_growth": 100000.0},
        ("lr_high", "lr_low", "non_finite", "dead", "collapse", "vanishing"),
        "the activations grow by a factor of 1e+05 from the first layer to layer4",
    ),
    "a large output alone": None,
    "exploding over time": Said(
        0.95,
        ("rnn",),
        {"backward_growth": 1.0, "forward_growth": 1.0},
        ("lr_high", "lr_low", "non_finite", "dead", "collapse", "vanishing"),
        "over the time steps of rnn the backward signal grows by a factor of 1e+05",
    ),
    "exploding over few uses is depth": None,
    "dead": Said(
        0.85,
        ("layer2",),
        {"dead": 0.8},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "80% of the units of layer layer2 pass no gradient for any input seen",
    ),
    "dead throughout a layer": Said(
        0.95,
        ("layer2",),
        {"dead": 1.0},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "100% of the units of layer layer2 pass no gradient for any input seen",
    ),
    "dead, no trial": Said(
        0.7,
        ("layer2",),
        {"dead": 1.0},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "100% of the units of layer layer2 pass no gradient for any input seen",
    ),
    "dead at this scale only": Said(
        0.45,
        ("layer2",),
        {"dead": 1.0},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "100% of the units of layer layer2 pass no gradient for any input seen; with inputs three times as large, some units of every layer would be active",
    ),
    "dead at any scale": Said(
        0.95,
        ("layer2",),
        {"dead": 1.0},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "100% of the units of layer layer2 pass no gradient for any input seen",
    ),
    "dead, of a bounded activation": None,
    "saturated": Said(
        0.9,
        ("layer1", "layer2"),
        {"saturated": 0.8},
        ("vanishing", "collapse", "exploding", "lr_low", "lr_high"),
        "80% of the activations of layer layer2 are saturated: the slope of the activation function is nearly 0 there",
    ),
    "saturated, no trial": Said(
        0.6,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"saturated": 0.95},
        ("vanishing", "collapse", "exploding", "lr_low", "lr_high"),
        "95% of the activations of layer layer0 are saturated: the slope of the activation function is nearly 0 there",
    ),
    "saturated throughout, learns for a while": Said(
        0.6,
        ("layer0", "layer1", "layer2", "layer3", "layer4"),
        {"saturated": 0.95},
        ("vanishing", "collapse", "exploding", "lr_low", "lr_high"),
        "95% of the activations of layer layer0 are saturated: the slope of the activation function is nearly 0 there",
    ),
    "saturated throughout, had learned": None,
    "symmetric": Said(
        0.97,
        ("layer1",),
        {"layers_alike": 1.0},
        ("vanishing", "collapse", "dead", "lr_low", "lr_high", "exploding", "saturated"),
        "all units of layer layer1 have equal weights, so they get equal gradients and stay equal",
    ),
    "symmetric layers": Said(
        0.97,
        ("layer1", "layer2"),
        {"layers_alike": 2.0},
        ("vanishing", "collapse", "dead", "lr_low", "lr_high", "exploding", "saturated"),
        "all units of 2 layers have equal weights, so they get equal gradients and stay equal",
    ),
    "input scale": Said(
        0.95,
        (),
        {"mean": 0.0, "std": 90.0},
        ("lr_high", "lr_low", "dead", "saturated", "vanishing", "collapse", "exploding", "non_finite"),
        "the inputs have mean 0 and standard deviation 90; with mean 0 and standard deviation 1 the same network learns",
    ),
    "input scale, learns": Said(
        0.6,
        (),
        {"mean": 0.0, "std": 90.0},
        ("lr_high", "lr_low", "dead", "saturated", "vanishing", "collapse", "exploding", "non_finite"),
        "the inputs have mean 0 and standard deviation 90; with mean 0 and standard deviation 1 the same network learns twice as well",
    ),
    "input scale, no trial": Said(
        0.4,
        (),
        {"mean": 0.0, "std": 90.0},
        ("lr_high", "lr_low", "dead", "saturated", "vanishing", "collapse", "exploding", "non_finite"),
        "the inputs have mean 0 and standard deviation 90",
    ),
    "rate far too high": Said(
        0.9,
        (),
        {"rate_factor": 0.1},
        ("non_finite", "collapse"),
        "the network does not learn with this learning rate, and learns with 0.1 times it",
    ),
    "rate rather high": Said(
        0.6,
        (),
        {"rate_factor": 0.6},
        ("non_finite", "collapse"),
        "the network does not learn with this learning rate, and learns with 60% of it",
    ),
    "rate too high, diverges": Said(
        0.9,
        (),
        {"rate_factor": 0.01},
        ("non_finite", "collapse"),
        "the network does not learn with this learning rate, and learns with 0.01 times it: its loss diverges",
    ),
    "diverges, nothing tried": Said(
        0.6, (), {}, ("non_finite", "collapse"), "the loss diverges within a few steps, though it was finite at first"
    ),
    "diverges, but learns at a larger rate": None,
    "rate too low": Said(
        0.9,
        (),
        {"rate_factor": 1000.0},
        (),
        "the network does not learn with this learning rate, and learns with 1e+03 times it",
    ),
    "rate too low and too high": None,
    "no gradient": Said(
        0.99,
        (),
        {},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "the loss depends on no weight: nothing can be learned",
    ),
    "cut": Said(
        0.97,
        ("layer1",),
        {"without_gradient": 1.0},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "no gradient arrives at layer layer1, though the loss depends on it: the graph is cut between here and the loss",
    ),
    "cut in many places": Said(
        0.97,
        ("layer0", "layer1", "layer2", "layer3"),
        {"without_gradient": 4.0},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "no gradient arrives at 4 layers (layer0, layer1, layer2 …), though the loss depends on them: the graph is cut between here and the loss",
    ),
    "unused": Said(
        0.3,
        ("layer4",),
        {"unused": 1.0},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "the loss does not depend on layer layer4",
    ),
    "unused and cut": Said(
        0.97,
        ("layer1",),
        {"without_gradient": 1.0},
        ("vanishing", "collapse", "lr_low", "lr_high"),
        "no gradient arrives at layer layer1, though the loss depends on it: the graph is cut between here and the loss",
    ),
    "non-finite": Said(
        0.97,
        ("layer2",),
        {},
        ("vanishing", "collapse", "dead", "lr_low", "lr_high", "saturated"),
        "layer2 has a NaN or an infinity, first seen at step 3",
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_check_says(name: str) -> None:
    found, said = found_in(*SCENARIOS[name]), EXPECTED[name]
    if said is None:
        assert found is None
        return
    assert found is not None
    assert found.message == said.message
    assert found.layers == said.layers
    assert tuple(found.explains) == said.explains
    assert found.certainty == pytest.approx(said.certainty, rel=1e-5)
    assert found.evidence == pytest.approx(said.evidence, rel=1e-5, nan_ok=True)
