"""`watch`: measures any loop, and leaves the training as it is."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint_sequential

import unvanish as uv
from unvanish.measure.schedule import early_and_then_rarely

LOSS = functional.cross_entropy
X, Y = torch.randn(20, 32, 16, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 4


def healthy() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(32, 4)
    )


def sigmoids() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [layer for _ in range(12) for layer in (nn.Linear(16, 16), nn.Sigmoid())]
    return nn.Sequential(*layers, nn.Linear(16, 4))


def sgd(model: nn.Module, rate: float = 0.1) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), rate, momentum=0.9)


def loop(model: nn.Module, optimizer: torch.optim.Optimizer, steps: int = 6) -> None:
    torch.manual_seed(1)
    for x in X[:steps]:
        optimizer.zero_grad()
        LOSS(model(x), Y).backward()
        optimizer.step()


def test_the_training_is_the_same_bit_for_bit() -> None:
    plain, watched = healthy(), healthy()
    loop(plain, sgd(plain))
    optimizer = sgd(watched)
    with uv.watch(watched, optimizer, every=1) as flow:
        loop(watched, optimizer)
    assert all(
        torch.equal(a, b) for a, b in zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
    )
    assert flow.steps == 6
    assert not watched._forward_hooks
    assert not watched._forward_pre_hooks
    assert not optimizer._optimizer_step_post_hooks


def test_update_ratios_and_gradients_are_those_of_the_step() -> None:
    model = nn.Linear(16, 4, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    before = model.weight.detach().clone()
    with uv.watch(model, optimizer) as flow:
        loop(model, optimizer, steps=1)
    one = flow.table.at(0)
    moved = (model.weight.detach() - before).norm() / before.norm()
    assert one.row("update_ratio")[0] == pytest.approx(moved.item(), rel=1e-5)
    assert one.row("weight_gradient_norm")[0] == pytest.approx(moved.item() * before.norm().item() / 0.1, rel=1e-4)


def test_the_schedule_is_a_number_or_a_function_of_the_step() -> None:
    for every, measured in ((3, [0, 3]), (lambda step: step in (1, 4), [1, 4]), (None, [0, 1, 2, 5])):
        model = healthy()
        optimizer = sgd(model)
        with uv.watch(model, optimizer, every=every) as flow:
            loop(model, optimizer)
        assert list(flow.series["backward_norm"].steps) == measured
    assert [step for step in range(160) if early_and_then_rarely(step)] == [0, 1, 2, 5, 10, 20, 35, 50, 100, 150]
    with pytest.raises(uv.UnvanishError, match="at least 1"):
        uv.watch(healthy(), every=0)


def test_without_an_optimizer_step_is_called() -> None:
    model = healthy()
    with uv.watch(model, every=1) as flow:
        for x in X[:4]:
            model.zero_grad()
            LOSS(model(x), Y).backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
            flow.step()
    updates = flow.series["update_ratio"]
    assert updates.steps == (0, 1, 2, 3)
    assert (updates.values[:, 0] > 0).all()
    with pytest.raises(uv.UnvanishError, match="without an optimizer"):
        uv.watch(model, sgd(model)).step()


def test_what_is_plain_is_called_by_its_name_and_a_healthy_network_is_left_alone() -> None:
    for make, kind in ((sigmoids, "vanishing"), (healthy, None)):
        model = make()
        optimizer = sgd(model)
        with uv.watch(model, optimizer) as flow:
            loop(model, optimizer, steps=20)
        primary = flow.diagnose().primary
        assert (primary.kind if primary else None) == kind


def test_a_nan_on_the_way_is_found() -> None:
    model = healthy()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=1) as flow:
        loop(model, optimizer, steps=3)
        with torch.no_grad():
            model[4].weight[0, 0] = float("nan")  # pyright: ignore
        loop(model, optimizer, steps=1)
    assert flow.diagnose().primary.kind == "non_finite"  # pyright: ignore


def test_nothing_measured_yet_is_said_in_a_sentence() -> None:
    with uv.watch(healthy()) as flow:
        found = flow.diagnose()
    assert found.healthy is None
    assert str(found).startswith("Nothing was measured: Sequential was never called through model(...)")
    with pytest.raises(uv.UnvanishError, match="no quantity is called 'rms'"):
        flow.series["rms"]


def test_validation_in_between_is_not_measured() -> None:
    model = healthy()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=1) as flow:
        for x in X[:3]:
            with torch.no_grad():
                model(x)
            model(x)  # a pass that nobody goes back through
            optimizer.zero_grad()
            LOSS(model(x), Y).backward()
            optimizer.step()
    values = flow.series["backward_norm"]
    assert values.steps == (0, 1, 2)
    assert np.isfinite(values.values[:, 0]).all()


def test_accumulated_gradients_count_as_one_step() -> None:
    model = healthy()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=1) as flow:
        for _ in range(2):
            optimizer.zero_grad()
            for x in X[:3]:
                (LOSS(model(x), Y) / 3).backward()
            optimizer.step()
    assert flow.steps == 2
    assert len(flow.table.steps) == 2


def test_mixed_precision_with_a_scaler() -> None:
    model = sigmoids()
    optimizer = sgd(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    with uv.watch(model, optimizer, every=1) as flow:
        for x in X[:4]:
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = LOSS(model(x), Y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert len(flow.table.steps) == 4
    assert flow.diagnose().primary.kind == "vanishing"  # pyright: ignore


def test_a_compiled_model_and_one_with_compiled_parts() -> None:
    whole: Any = torch.compile(sigmoids(), backend="eager")
    parts = sigmoids()
    parts[2].compile(backend="eager")
    for model in (whole, parts):
        optimizer = sgd(model)
        loop(model, optimizer, steps=2)  # compiled before anybody watches
        with uv.watch(model, optimizer, every=2) as flow:
            loop(model, optimizer, steps=4)
        assert flow.table.steps == (
            0,
            2,
        )
        assert len(flow.table.at(0)) == 13


def test_a_model_compiled_in_place_is_refused_in_a_sentence() -> None:
    model = sigmoids()
    model.compile(backend="eager")
    with pytest.raises(uv.UnvanishError, match="compiled in place"):
        uv.watch(model, sgd(model)).start()


def test_distributed_data_parallel() -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    torch.distributed.init_process_group("gloo", rank=0, world_size=1)
    try:
        model = nn.parallel.DistributedDataParallel(sigmoids())
        optimizer = sgd(model)
        with uv.watch(model, optimizer, every=1) as flow:
            loop(model, optimizer, steps=2)
        assert flow.table.at(0).layers[0] == "0"
        assert flow.diagnose().primary.kind == "vanishing"  # pyright: ignore
        batches = [(x, Y) for x in X[:9]]
        assert uv.check(model, batches, loss_fn=LOSS, optimizer=optimizer).primary.kind == "vanishing"  # pyright: ignore
    finally:
        torch.distributed.destroy_process_group()


class Through(nn.Module):
    def __init__(self, kind: Callable[..., nn.RNNBase]) -> None:
        super().__init__()
        self.rnn, self.head = kind(4, 8, batch_first=True), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x.view(len(x), 4, 4))[0][:, -1])


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU], ids=str)
def test_recurrent_layers_are_measured_through_time_and_train_the_same_but_for_rounding(kind: Any) -> None:
    torch.manual_seed(0)
    plain = Through(kind)
    watched = Through(kind)
    watched.load_state_dict(plain.state_dict())
    loop(plain, sgd(plain))
    optimizer = sgd(watched)
    with uv.watch(watched, optimizer, every=1) as flow:
        loop(watched, optimizer)
    assert len(flow.table.at(0).over_calls["rnn.weight_hh_l0"]) >= 3
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_writer_gets_stable_names() -> None:
    class Kept:
        def __init__(self) -> None:
            self.rows: list[tuple[int, dict[str, float]]] = []

        def write(self, step: int, values: Any) -> None:
            self.rows.append((step, dict(values)))

    model, kept = healthy(), Kept()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=2, write=kept):
        loop(model, optimizer, steps=3)
    assert [step for step, _ in kept.rows] == [0, 2]
    assert {"unvanish/backward_rms/0", "unvanish/update_ratio/4", "unvanish/dead/0"} <= set(kept.rows[0][1])


def test_the_first_layer_s_product_is_measured_as_by_the_loop() -> None:
    """Autograd keeps no weight of a layer whose input wants no gradient."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 8, bias=False), nn.ReLU(), nn.Linear(8, 2))
    x = torch.randn(32, 4)
    expected = model[0](x).std(correction=0).item()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with uv.watch(model, optimizer) as flow:
        model(x).square().mean().backward()
        optimizer.step()
    assert flow.series["pre_activation_std"].values[0, 0] == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(flow.series["pre_activation_std"].values).all()


def test_an_optimizer_of_another_model_is_refused() -> None:
    with pytest.raises(uv.RecipeError, match="holds no parameter of Linear"):
        uv.watch(nn.Linear(2, 2), torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1))


def test_a_schedule_that_fails_ends_no_training() -> None:
    model = nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    flow = uv.watch(model, optimizer, every=lambda step: bool(1 / 0)).start()
    with pytest.warns(UserWarning, match="the schedule is not measured"):
        model(torch.ones(8, 4))
    for _ in range(3):
        model(torch.ones(8, 4)).square().mean().backward()
        optimizer.step()
    assert flow.steps == 3
    assert "ZeroDivisionError" in flow.diagnose().notes[0]


def test_layers_inside_a_reentrant_checkpoint_are_named() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(*(layer for _ in range(4) for layer in (nn.Linear(4, 4), nn.LayerNorm((8, 4)))))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return checkpoint_sequential(self.inner, 2, x, use_reentrant=True)

    model, x = Outer(), torch.randn(16, 8, 4, requires_grad=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with uv.watch(model, optimizer) as flow:
        model(x).square().mean().backward()
        optimizer.step()
    assert flow.diagnose().notes[0] == "inner.0, inner.2: operations that are not known"


def test_the_numbers_of_a_step_share_one_piece_of_memory() -> None:
    """A hundred small tensors, kept from between the large ones of a pass, held 10 MB a step of a small ResNet."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.RNN(8, 8))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with uv.watch(model, optimizer) as flow:
        for _ in range(2):
            model(torch.randn(9, 4))[0].square().mean().backward()
            optimizer.step()
    assert len(flow._recorder.rows) == 2
    for row in flow._recorder.rows:
        values = [*row.numbers.values(), *(norm for norms in row.calls.values() for norm in norms)]
        assert len(values) > 30
        tensors = [value for value in values if isinstance(value, torch.Tensor)]  # of a weight used several times
        assert len(tensors) > 5
        assert len({value.untyped_storage().data_ptr() for value in tensors}) == 1
        assert row.calls
