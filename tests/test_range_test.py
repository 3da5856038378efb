"""The learning-rate range test: what it finds, and that it leaves what it is given as it was."""

import copy

import pytest
import torch
from torch import nn

import unvanish as uv

MSE = nn.functional.mse_loss


def linear(rate: float, scale: float = 1.0):
    """A line to be learned; the curvature of its loss is 2 scale², so that rates above 1/scale² diverge."""
    torch.manual_seed(0)
    model = nn.Linear(4, 1, bias=False)
    x = torch.randn(16, 64, 4, generator=torch.Generator().manual_seed(1)) * scale
    return model, [(one, one.sum(1, keepdim=True)) for one in x], torch.optim.SGD(model.parameters(), rate)


@pytest.mark.parametrize(("rate", "scale"), [(1e-4, 1.0), (1.0, 1.0), (1e-4, 10.0)])
def test_it_finds_a_rate_that_learns_below_the_stability_limit(rate, scale):
    model, batches, optimizer = linear(rate, scale)
    found = uv.learning_rate_range_test(model, batches, MSE, optimizer)
    chosen = rate * found.factor
    assert 0.005 < chosen * scale**2 < 0.5  # gradient descent on it diverges above 1/scale²
    assert found.remedy == uv.LearningRate(found.factor)
    for group in optimizer.param_groups:
        group["lr"] = chosen
    before = MSE(model(batches[0][0]), batches[0][1]).item()
    for x, y in batches * 4:
        optimizer.zero_grad()
        MSE(model(x), y).backward()
        optimizer.step()
    assert MSE(model(batches[0][0]), batches[0][1]).item() < 0.2 * before


def test_it_leaves_the_model_the_optimizer_and_the_random_state():
    model, batches, optimizer = linear(0.1)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    uv.learning_rate_range_test(model.eval(), batches, MSE, optimizer)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), state)
    assert (optimizer.param_groups[0]["lr"], model.training) == (0.1, False)


def test_it_says_its_answer_and_draws_it():
    model, batches, optimizer = linear(0.01)
    found = uv.learning_rate_range_test(model, batches, MSE, optimizer)
    assert f"{0.01 * found.factor:.2g}" in str(found)
    assert found.plot().to_dict()["layer"]
    assert len(found.factors) == len(found.losses) == len(found.smoothed) < 100  # it ends once the loss rises


def test_a_loss_that_never_falls_has_no_rate():
    model, batches, optimizer = linear(0.1)
    flat = uv.learning_rate_range_test(model, batches, lambda output, _target: 0 * output.sum() + 1.0, optimizer)
    with pytest.raises(uv.NothingToDo, match="falls at no rate"):
        _ = flat.factor


def test_what_it_cannot_work_with_is_refused_in_a_sentence():
    model, batches, _ = linear(0.1)
    with pytest.raises(uv.RecipeError, match="needs the optimizer"):
        uv.learning_rate_range_test(model, batches, MSE, None)
    with pytest.raises(uv.RecipeError, match="learning rate is 0"):
        uv.learning_rate_range_test(model, batches, MSE, torch.optim.SGD(model.parameters(), 0.0))
    with pytest.raises(uv.RecipeError, match="at least 2 steps"):
        uv.learning_rate_range_test(model, batches, MSE, torch.optim.SGD(model.parameters(), 0.1), steps=1)
    with pytest.raises(uv.NothingToDo, match="not finite at the first step"):
        uv.learning_rate_range_test(
            model,
            batches,
            lambda output, _target: output.sum() * float("nan"),
            torch.optim.SGD(model.parameters(), 0.1),
        )
