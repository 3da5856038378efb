"""What every remedy promises, on every kind of network. No remedy is named here."""

import itertools
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

import unvanish as uv
from nets import CASES, fingerprint
from unvanish.core.blocks import quiet_forward
from unvanish.core.remedy import Remedy
from unvanish.modules.freeze import stage_network
from unvanish.remedies import ALL

REFUSALS = (uv.NothingToDo, uv.RecipeError)
REMEDIES = [remedy() for remedy in ALL]
by_kind = pytest.mark.parametrize("remedy", REMEDIES, ids=lambda remedy: remedy.kind)
by_case = pytest.mark.parametrize("case", CASES, ids=str)


@by_kind
def test_it_applies_to_some_network_and_says_of_the_others_why_not(remedy):
    changed = 0
    for case in CASES:
        before = case.setup()
        try:
            after = remedy.apply(before)
        except REFUSALS as refusal:
            assert_sentence(refusal)
        else:
            changed += 1
            assert fingerprint(after) != fingerprint(before)
    assert changed, "no case is one for it"


@by_kind
@by_case
def test_what_is_built_is_finite_and_trains(remedy, case):
    after = applied(remedy, case.setup())
    torch.manual_seed(0)
    model, optimizer = replace(after, example=torch.randn(64, *after.example.shape[1:])).build()
    target = torch.arange(len(after.example)) % 2
    for _ in range(2):
        optimizer.zero_grad()
        loss = after.loss_fn(model(after.example), target)
        assert torch.isfinite(loss)
        loss.backward()
        optimizer.step()
    assert all(torch.isfinite(p).all() for p in model.parameters())


@by_kind
def test_a_misspelt_field_is_refused(remedy):
    with pytest.raises(uv.RecipeError, match="has no 'nonsense'"):
        type(remedy)(nonsense=1)


def test_options_come_back_from_json_equal():
    recipe = uv.baseline(
        activation="Threshold",
        activation_options={"threshold": 0.1, "value": 0.0},
        optimizer=uv.Optimizer("Adam", 0.001, {"betas": (0.9, 0.99)}),
    )
    assert uv.Recipe.model_validate_json(recipe.model_dump_json()) == recipe


@by_kind
@by_case
def test_applying_changes_a_copy_only(remedy, case):
    setup = case.setup()
    before = fingerprint(setup)
    with suppress(*REFUSALS):
        remedy.apply(setup)
    assert fingerprint(setup) == before


@by_kind
@by_case
def test_applying_draws_no_random_numbers(remedy, case):
    setup = case.setup()
    state = torch.get_rng_state()
    applied(remedy, setup)
    assert torch.equal(torch.get_rng_state(), state)


@by_kind
@by_case
def test_the_forward_pass_keeps_its_shape(remedy, case):
    setup = case.setup()
    after = applied(remedy, setup)
    assert after.model(setup.example).shape == setup.model(setup.example).shape


@by_kind
@by_case
def test_every_stage_trains_what_it_says(remedy, case):
    setup = applied(remedy, case.setup())
    for stage in setup.stages:
        network = stage_network(setup, setup.model, stage)
        network(setup.example).sum().backward()
        moving = {name for name, p in network.named_parameters() if p.grad is not None}
        frozen = [name for block in setup.blocks[: stage.frozen] for name in block]
        assert moving
        assert not any(name == f or name.startswith(f"{f}.") for name in moving for f in frozen)


@by_kind
def test_json_there_and_back(remedy):
    data = remedy.dump()
    assert data["kind"] == remedy.kind
    assert Remedy.load(data) == remedy
    recipe = uv.baseline().but(remedies=(remedy,))
    again = uv.Recipe.model_validate_json(recipe.model_dump_json())
    assert again == recipe
    assert again.digest() == recipe.digest() != uv.baseline().digest()


@by_kind
def test_applied_twice_it_refuses_in_a_sentence_or_still_runs(remedy):
    setup = applied(remedy, CASES[0].setup())
    try:
        again = remedy.apply(setup)
    except REFUSALS as refusal:
        assert_sentence(refusal)
    else:
        quiet_forward(again.model, again.example)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(REMEDIES, 2)), ids=lambda remedy: remedy.kind)
@pytest.mark.parametrize("case", [CASES[0], *(pytest.param(one, marks=pytest.mark.slow) for one in CASES[1:])], ids=str)
def test_ordered_pairs_compose_or_say_why_not(first, second, case):
    setup = applied(first, case.setup())
    try:
        both = second.apply(setup)
    except REFUSALS as refusal:
        assert_sentence(refusal)
    else:
        quiet_forward(both.model, both.example)
        both.optimizer(both.model.parameters())


@by_kind
def test_it_says_why_it_works_and_where_it_fails(remedy):
    reason = type(remedy).reason()
    assert "Limitations:" in reason
    assert "\n    " in reason  # an equation
    assert str(remedy)


def applied(remedy: Remedy, setup: uv.Setup) -> uv.Setup:
    """With the remedy in it, or as it is where that has nothing to do there."""
    with suppress(*REFUSALS):
        return remedy.apply(setup)
    return setup


def assert_sentence(error: Exception) -> None:
    assert len(str(error).split()) >= 4
