"""The callbacks and the writers, each with the real library."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import unvanish as uv
from test_watch import LOSS, X, Y, loop, sgd, sigmoids

FROM_LIBRARIES = pytest.mark.filterwarnings("ignore")  # theirs, not ours
NAME = "unvanish/backward_rms/0"


@FROM_LIBRARIES
def test_lightning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.loggers import CSVLogger

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = sigmoids()

        def training_step(self, batch: Any, _: int) -> Tensor:
            return LOSS(self.net(batch[0]), batch[1])  # not through the module's own `forward`

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self)

    module, callback = Module(), uv.LightningWatch(every=2, stop_if_failing=True)
    loader = DataLoader(TensorDataset(X[:6].flatten(0, 1), Y.repeat(6)), 32)
    trainer = Trainer(
        max_epochs=3,
        callbacks=[callback],
        accelerator="cpu",
        logger=CSVLogger(tmp_path, flush_logs_every_n_steps=1),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, loader)
    assert callback.flow is not None
    assert callback.flow.table.steps == (
        0,
        2,
        4,
    )
    assert callback.flow.table.at(0).row("update_ratio")[-1] > 0
    assert callback.diagnose().primary.kind == "vanishing"  # pyright: ignore
    assert trainer.current_epoch == 1  # it stopped, and said why
    assert "the training ends here. Module is failing: vanishing gradient" in caplog.text
    (kept,) = tmp_path.rglob("metrics.csv")
    assert "unvanish/backward_rms/net.0" in kept.read_text()  # by default in the Trainer's own logger


@FROM_LIBRARIES
def test_transformers(tmp_path: Path) -> None:
    from transformers import Trainer, TrainingArguments

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = sigmoids()

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            output = self.net(x)
            return {"loss": LOSS(output, labels), "logits": output}

    rows = [{"x": x, "labels": y} for x, y in zip(X[0], Y, strict=True)]
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=4,
        per_device_train_batch_size=8,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    callback = uv.TransformersWatch(every=1)
    Trainer(Model(), arguments, train_dataset=rows, callbacks=[callback]).train()  # pyright: ignore
    assert callback.flow is not None
    assert callback.flow.table.steps == (
        0,
        1,
        2,
        3,
    )
    assert callback.diagnose().primary.kind == "vanishing"  # pyright: ignore


def watched(writer: Any) -> None:
    model = sigmoids()
    optimizer = sgd(model)
    with uv.watch(model, optimizer, every=2, write=writer):
        loop(model, optimizer, steps=4)


@FROM_LIBRARIES
def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    watched(uv.TensorBoardWriter(tmp_path))
    events = EventAccumulator(str(tmp_path)).Reload()
    scalars = events.Scalars(NAME)
    assert [one.step for one in scalars] == [0, 2]
    assert all(one.value > 0 for one in scalars)


@FROM_LIBRARIES
def test_mlflow(tmp_path: Path) -> None:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db")
    mlflow.set_experiment("watch")
    with mlflow.start_run() as run:
        watched(uv.MLflowWriter())
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, NAME)
    assert [one.step for one in history] == [0, 2]


@FROM_LIBRARIES
def test_wandb_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import wandb

    monkeypatch.setenv("WANDB_SILENT", "true")
    with pytest.raises(uv.UnvanishError, match=r"wandb\.init"):
        uv.WandbWriter()
    with wandb.init(mode="offline", dir=tmp_path, project="watch") as run:
        watched(uv.WandbWriter(run))
        assert run.summary[NAME] > 0
        assert run.summary["unvanish/step"] == 2
    assert list(tmp_path.rglob("*.wandb"))


def test_a_missing_library_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "unvanish.integrations.mlflow", raising=False)
    with pytest.raises(ImportError, match=r"pip install 'unvanish\[mlflow\]'"):
        _ = uv.MLflowWriter


os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


KERAS = """
import keras, numpy as np, unvanish as uv
layers = [keras.layers.Dense(16, activation="sigmoid", name=f"hidden{i}") for i in range(12)]
model = keras.Sequential([keras.layers.Input((8,)), *layers, keras.layers.Dense(3, name="last")])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile(optimizer=keras.optimizers.SGD(0.01), loss=loss)
x = np.random.default_rng(0).normal(size=(256, 8)).astype("float32")
callback = uv.KerasWatch(every=1, stop_if_failing=True)
fitted = model.fit(x, x[:, :3].argmax(1), epochs=3, batch_size=64, verbose=0, callbacks=[callback])
found = callback.diagnose().primary
print(found.kind, found.layers[0], callback.flow.steps, len(fitted.epoch))
"""


def test_keras_on_its_torch_backend() -> None:
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run([sys.executable, "-c", KERAS], capture_output=True, text=True, env=environment, timeout=120)
    assert done.stdout.splitlines()[-1:] == ["vanishing hidden0 4 1"], done.stderr
    assert "the training ends here. Sequential is failing" in done.stderr
