"""A recipe changed by the options of the command line: only what they name changes."""

import pytest

import unvanish as uv
from unvanish.cli.recipe_files import recipe_with
from unvanish.models.mlp import MLP

FUNNEL = uv.baseline().but(network=MLP(hidden=(64, 32, 16), activation="LeakyReLU", options={"negative_slope": 0.2}))


def network_with(**settings) -> MLP:
    network = recipe_with(FUNNEL, settings).network
    assert isinstance(network, MLP)
    return network


def test_another_rate_or_activation_leaves_the_widths():
    assert network_with(lr=0.5) == FUNNEL.network
    changed = network_with(activation="tanh")
    assert (changed.hidden, changed.activation, changed.options) == ((64, 32, 16), "Tanh", {})


def test_the_same_activation_keeps_its_options():
    assert network_with(activation="leakyrelu").options == {"negative_slope": 0.2}


def test_depth_and_width_together_replace_the_layers():
    assert network_with(depth=2, width=8).hidden == (8, 8)
    assert network_with(width=8).hidden == (8, 8, 8)
    same = recipe_with(uv.baseline(hidden=(4, 4)), {"depth": 3}).network
    assert isinstance(same, MLP)
    assert same.hidden == (4, 4, 4)


def test_depth_alone_of_different_widths_is_refused():
    with pytest.raises(uv.RecipeError, match=r"--depth needs --width beside it: .* 64, 32, 16"):
        network_with(depth=5)


def test_options_that_a_remedy_of_the_recipe_replaces_are_refused():
    third = uv.method("3")
    with pytest.raises(uv.RecipeError, match=r"lr has no effect beside better-optimizer \(Adam, lr=0.001\)"):
        recipe_with(third, {"lr": 0.5})
    with pytest.raises(uv.RecipeError, match="optimizer has no effect"):
        recipe_with(None, {"optimizer": "adam", "method": "3"})
    drawn = recipe_with(uv.method("1a"), {"init": "xavier"})
    assert [one.kind for one in drawn.remedies] == ["xavier-init"]  # in place of the recipe's own
