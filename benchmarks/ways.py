"""The ways to do the same work: 784 → 7 × 128 sigmoid → 10, batch 512, SGD 0.01, an epoch and its evaluation.

Each takes the data and a `gate` that it calls after every epoch, evaluation included, and trains until it
is killed. One thread each; frameworks are imported where they are used, and only if they are installed.
"""
# The frameworks' own annotations refuse what their documentation shows:
# pyright: reportArgumentType=false, reportIncompatibleMethodOverride=false

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset, TensorDataset

import unvanish as uv
from unvanish.data.images import DataSet, scaled
from unvanish.data.order import epoch_order
from work import BATCH, Products, trained

Gate = Callable[[], None]
FOREVER = 10**6


def products(data: DataSet, gate: Gate) -> None:
    work = Products()
    while True:
        work.epoch()
        gate()


def ours(data: DataSet, gate: Gate) -> None:
    for _ in trained(uv.baseline(), data, FOREVER, every=1):
        gate()


def ours_unmeasured(data: DataSet, gate: Gate) -> None:
    for _ in trained(uv.baseline(), data, FOREVER, every=None):
        gate()


def pytorch_in_memory(data: DataSet, gate: Gate) -> None:
    """A plain loop over tensors: no loader, no telemetry, pixels scaled once."""
    net, (x, y), (test_x, test_y) = _net(), _tensors(data.train), _tensors(data.test)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    while True:
        for picked in epoch_order(len(y)).split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(net(x[picked]), y[picked]).backward()
            optimizer.step()
        with torch.no_grad():
            for a, b in zip(test_x.split(BATCH), test_y.split(BATCH), strict=True):
                functional.cross_entropy(net(a), b).item()
        gate()


class _AsImages(Dataset):
    """What torchvision's FashionMNIST with ToTensor does for each item: an array, a PIL image, a tensor."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        from PIL import Image

        self.pixels, self.labels, self.image_of = pixels.view(-1, 28, 28), labels, Image.fromarray

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.image_of(self.pixels[index].numpy())
        tensor = torch.from_numpy(np.array(image, np.uint8, copy=True)).view(28, 28, 1)
        return tensor.permute((2, 0, 1)).contiguous().to(torch.float32).div(255), int(self.labels[index])


def notebook(data: DataSet, gate: Gate) -> None:
    """The published notebooks' way: a `DataLoader` over PIL images, `.item()` at every step."""
    net = nn.Sequential(nn.Flatten(), _net())
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    train_loader = DataLoader(_AsImages(data.train.pixels_ND, data.train.labels_N), BATCH, shuffle=True)
    test_loader = DataLoader(_AsImages(data.test.pixels_ND, data.test.labels_N), BATCH)
    while True:
        losses, right = [], 0
        for x, y in train_loader:
            output = net(x)
            loss = functional.cross_entropy(output, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            right += (output.argmax(1) == y).sum().item()
        with torch.no_grad():
            for x, y in test_loader:
                output = net(x)
                losses.append(functional.cross_entropy(output, y).item())
                right += (output.argmax(1) == y).sum().item()
        gate()


def scikit_learn(data: DataSet, gate: Gate) -> None:
    from sklearn.neural_network import MLPClassifier

    (x, y), (test_x, test_y) = _arrays(data.train), _arrays(data.test)
    net = MLPClassifier((128,) * 7, activation="logistic", solver="sgd", alpha=0, batch_size=BATCH,
                        learning_rate_init=0.01, momentum=0, random_state=42)  # fmt: skip
    while True:
        net.partial_fit(x, y, classes=np.arange(10))  # one epoch
        net.score(test_x, test_y)
        gate()


def jax_scan(data: DataSet, gate: Gate) -> None:
    """JAX with the whole epoch compiled as one `lax.scan`."""
    import jax
    import jax.numpy as jnp

    (x, y), (test_x, test_y) = _arrays(data.train), _arrays(data.test)
    fans = [784, *(128,) * 7, 10]
    draw = np.random.default_rng(42)
    weights = [
        (draw.normal(0, 0.05, (a, b)).astype(np.float32), np.zeros(b, np.float32)) for a, b in itertools.pairwise(fans)
    ]

    def loss_of(weights, x, y):
        for w, b in weights[:-1]:
            x = jax.nn.sigmoid(x @ w + b)
        w, b = weights[-1]
        return -jnp.take_along_axis(jax.nn.log_softmax(x @ w + b), y[:, None], 1).mean()

    @jax.jit
    def epoch(weights, x, y, order):
        def step(weights, picked):
            loss, gradient = jax.value_and_grad(loss_of)(weights, x[picked], y[picked])
            return jax.tree.map(lambda w, g: w - 0.01 * g, weights, gradient), loss

        return jax.lax.scan(step, weights, order)

    evaluate = jax.jit(loss_of)
    x, y, test_x, test_y = map(jnp.asarray, (x, y, test_x, test_y))
    steps = len(y) // BATCH  # the short last batch is left out: a scan's steps are of one shape
    while True:
        order = draw.permutation(len(y))[: steps * BATCH].reshape(steps, BATCH)
        weights, _ = epoch(weights, x, y, order)
        evaluate(weights, test_x, test_y).block_until_ready()
        gate()


def keras_jax(data: DataSet, gate: Gate) -> None:
    import os

    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    net = keras.Sequential(
        [keras.Input((784,)), *(keras.layers.Dense(128, "sigmoid") for _ in range(7)), keras.layers.Dense(10)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    net.compile(keras.optimizers.SGD(0.01), loss, metrics=["accuracy"])
    net.fit(
        *_arrays(data.train), BATCH, FOREVER, verbose=0,
        validation_data=_arrays(data.test), validation_batch_size=BATCH,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: gate())],
    )  # fmt: skip


def lightning(data: DataSet, gate: Gate) -> None:
    import logging
    import warnings

    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel("ERROR")
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = _net()

        def training_step(self, batch, _index):
            return functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch, _index):
            self.log("val_loss", functional.cross_entropy(self.net(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.01)

    class AtGate(L.Callback):
        def on_train_epoch_end(self, *_):  # after the epoch's validation
            gate()

    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        max_epochs=FOREVER, accelerator="cpu", num_sanity_val_steps=0, callbacks=[AtGate()],
        enable_model_summary=False, **quiet,
    )  # fmt: skip
    loaders = [
        DataLoader(TensorDataset(*_tensors(part)), BATCH, shuffle=shuffle)
        for part, shuffle in ((data.train, True), (data.test, False))
    ]
    trainer.fit(Module(), *loaders)


def skorch(data: DataSet, gate: Gate) -> None:
    from skorch import NeuralNetClassifier
    from skorch.callbacks import Callback
    from skorch.dataset import Dataset as SkorchDataset
    from skorch.helper import predefined_split

    class AtGate(Callback):
        def on_epoch_end(self, *_args, **_kwargs):
            gate()

    (x, y), test = _arrays(data.train), _arrays(data.test)
    NeuralNetClassifier(
        _net(), criterion=nn.CrossEntropyLoss, optimizer=torch.optim.SGD, lr=0.01, batch_size=BATCH, max_epochs=FOREVER,
        iterator_train__shuffle=True, train_split=predefined_split(SkorchDataset(*test)), callbacks=[AtGate()],
        verbose=0,
    ).fit(x, y)  # fmt: skip


WAYS: dict[str, Callable[[DataSet, Gate], None]] = {
    "matrix products only": products,
    "unvanish, every step measured (default)": ours,
    "unvanish, nothing measured": ours_unmeasured,
    "PyTorch eager, tensors in memory": pytorch_in_memory,
    "notebook (DataLoader over PIL images)": notebook,
    "scikit-learn, float32": scikit_learn,
    "JAX, epoch in lax.scan": jax_scan,
    "Keras on JAX": keras_jax,
    "Lightning": lightning,
    "skorch": skorch,
}


def _net() -> nn.Module:
    torch.manual_seed(42)
    widths = [784, *(128,) * 7]
    hidden = [(nn.Linear(a, b), nn.Sigmoid()) for a, b in itertools.pairwise(widths)]
    return nn.Sequential(*(module for pair in hidden for module in pair), nn.Linear(128, 10))


def _tensors(part: Any) -> tuple[Tensor, Tensor]:
    return scaled(part.pixels_ND), part.labels_N


def _arrays(part: Any) -> tuple[np.ndarray, np.ndarray]:
    return scaled(part.pixels_ND).numpy(), part.labels_N.numpy()
