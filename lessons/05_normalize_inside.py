# %% [markdown]
# # 5 · Normalise inside the network
#
# **Question.** In lesson 1 the pre-activations of all images become the same. One can normalise them in every layer, to
# mean 0 and standard deviation 1. Over what should mean and standard deviation be taken: of each unit over the batch,
# or of all numbers in the layer's output together?

# %%
import math
import os

import altair as alt
import torch

import unvanish as uv
from unvanish.data.images import scaled
from unvanish.theory import activation, centred

# None is all 60,000 training images. The project's tests set the variable to run the lesson in a short form.
EPOCHS, SAMPLES = (1, 2048) if os.environ.get("UNVANISH_LESSON_SHORT") else (12, None)
HIDDEN, WIDTH = 7, 128
BATCH = 64  # the published one is 512; with 64 an epoch has 8 times as many steps, and 12 epochs are enough

alt.renderers.enable("svg")  # charts that need no network connection; "html" makes them interactive


def lines(x, y, values, scale="linear"):
    """A chart with one line for each name in `values`; its points stand at x = 1, 2, …"""
    rows = [{x: i, y: float(v), "run": name} for name, row in values.items() for i, v in enumerate(row, start=1)]
    return (
        alt.Chart(alt.Data(values=rows), width=560, height=240)
        .mark_line(point=True)
        .encode(
            alt.X(x, type="quantitative", axis=alt.Axis(tickMinStep=1)),
            alt.Y(y, type="quantitative", scale=alt.Scale(type=scale)),
            alt.Color("run:N", sort=list(values)),
        )
    )


# %% [markdown]
# ## Predict
#
# Two networks with sigmoids and weights from N(0, 0.05²). Both normalise between each hidden `Linear` and its sigmoid:
#
# - **4a**: each unit by its mean and std over the batch (batch norm without learned scale and shift)
# - **4b**: all numbers of the layer by one mean and one std, over batch and units together
#
# 1. After normalisation both have pre-activations of mean 0 and std 1. Which of them keeps the backward signal at the
#    start: **both**, **4a only**, **4b only**, or **neither**?
# 2. Which learns first?

# %%
predicted_signal = None  # your answer
predicted_first = None  # your answer

# %% [markdown]
# ## Formula
#
# $$\text{4a:}\quad \hat z_{bi} = \frac{z_{bi} - \mu_i}{\sqrt{s_i^2 + \varepsilon}}, \quad \mu_i, s_i^2 \text{ over the
# batch, for each unit } i; \qquad \text{4b:}\quad \hat z_{bi} = \frac{z_{bi} - \mu}{s}, \quad \mu, s \text{ over all }
# b, i.$$
#
# (4a: Ioffe & Szegedy 2015, "Batch normalization", algorithm 1.) The backward signal is divided by the same number as
# the forward signal. For wide layers with random weights of variance $\sigma^2$:
#
# - 4a divides by the std over the batch, $s_i^2 \approx n\sigma^2 \operatorname{Var}\varphi$, where
#   $\operatorname{Var}\varphi = \mathbb{E}\,\varphi^2 - (\mathbb{E}\,\varphi)^2$. The factor of one layer on the RMS is
#   $\sqrt{n\sigma^2\,\mathbb{E}\,\varphi'^2 / s_i^2} = \sqrt{\mathbb{E}\,\varphi'^2/\operatorname{Var}\varphi}$.
# - 4b divides by the std over everything. It includes the differences *between units*, which are there for one image
#   alone: $s^2 \approx n\sigma^2\,\mathbb{E}\,\varphi^2$. The factor is
#   $\sqrt{\mathbb{E}\,\varphi'^2/\mathbb{E}\,\varphi^2}$.
#
# All means are over $\hat z \sim N(0, 1)$. In both, $\sigma$ has cancelled: the size of the weights no longer matters.
# In 4a the factor is never below 1, since $\operatorname{Var}\varphi \le \mathbb{E}\,\varphi'^2$ for Gaussian $\hat z$
# (the Poincaré inequality).

# %%
layer = centred(activation("sigmoid"), q=1.0)  # moments of a sigmoid behind N(0, 1)
slope = 1 / layer.gain**2  # E φ′²
variance = layer.length / layer.gain**2  # Var φ
factor_4a = math.sqrt(slope / variance)
factor_4b = math.sqrt(slope / (variance + layer.mean**2))
for name, factor in {"4a": factor_4a, "4b": factor_4b}.items():
    print(f"{name}: a factor of {factor:.3f} a layer, {factor ** (HIDDEN - 1):.2g} over six layers")

# %% [markdown]
# ## Run
#
# The same batches for both.

# %%
runs = {name: uv.run(uv.method(name, samples=SAMPLES, batch=BATCH), epochs=EPOCHS) for name in ("4a", "4b")}
print(*runs.values(), sep="\n")

# %% [markdown]
# ## Plot

# %%
signals = {name: record.series["backward_rms"].values[0, :HIDDEN] for name, record in runs.items()}
lines("hidden layer", "backward RMS before any step", signals, scale="log")

# %%
lines("epoch", "test accuracy", {name: record.curve["val_acc"] for name, record in runs.items()})

# %% [markdown]
# ## Answer

# %%
for (name, signal), factor in zip(signals.items(), (factor_4a, factor_4b), strict=True):
    print(f"{name}: layer 1 / layer 7 = {signal[0] / signal[-1]:.3g}, formula: {factor ** (HIDDEN - 1):.3g}")
for name, record in runs.items():
    accuracy = record.curve["val_acc"]
    above = next((epoch for epoch, value in enumerate(accuracy, 1) if value > 0.5), None)
    print(f"{name}: above 0.5 in epoch {above}, last {accuracy[-1]:.3f}")
print(f"you predicted: {predicted_signal}, {predicted_first}")

# %% [markdown]
# 4a keeps the signal, and learns at once. 4b has a factor of 0.4 per layer: the ratio is below 1/100, and the
# network stays at 0.10 for several epochs before it learns. In 4a the measured ratio is somewhat above the formula's,
# which takes one std for all units; they differ from unit to unit, and units with a small std amplify the signal.
#
# Why is 4b weaker, if both give mean 0 and std 1? Compare two measurements at the start: the std of the activations
# over images *and units*, and the spread over images alone.

# %%
for name, record in runs.items():
    print(
        f"{name}  std over images and units:", *(f"{x:.4f}" for x in record.series["activation_std"].values[0, :HIDDEN])
    )
    print(f"{name}  spread over images:       ", *(f"{x:.4f}" for x in record.series["spread"].values[0, :HIDDEN]))

# %% [markdown]
# In 4b the units differ from one another, and that alone fills the standard deviation of 1. What differs between the
# images goes on vanishing.
#
# ## Where it fails
#
# - **A prediction depends on the batch.** 4a uses the statistics of the batch at evaluation, too, as published. Below,
#   the test images are the same, but each batch holds one class only.
# - **Deep networks without skips:** the factor of 4a is above 1. For ReLU it is $\sqrt{\pi/(\pi - 1)} = 1.21$ a layer
#   (Yang et al. 2019, "A mean field theory of batch normalization"), so the gradient *explodes* exponentially (exercise
#   2).
# - **Small batches:** mean and std of few numbers are noise. With one image the std is 0.


# %%
def accuracy_on(model, order, size=500):
    """Test accuracy where batches are taken in this order."""
    test = uv.load_data("fashion-mnist").test
    right = 0
    with torch.no_grad():
        for places in order.split(size):
            right += (model(scaled(test.pixels_ND[places])).argmax(1) == test.labels_N[places]).sum().item()
    return right / len(order)


def trained(record):
    """The model with the weights that it had at the end, ready for evaluation."""
    model = record.recipe.setup().model
    model.load_state_dict(record.weights)
    return model.eval()


labels = uv.load_data("fashion-mnist").test.labels_N
mixed, by_class = torch.arange(len(labels)), labels.argsort(stable=True)  # 1,000 images of each class
model = trained(runs["4a"])
print(f"4a, mixed batches:    {accuracy_on(model, mixed):.3f}")
print(f"4a, batches by class: {accuracy_on(model, by_class):.3f}")

# %% [markdown]
# ## Exercises
#
# **1.** Batch norm is usually meant with learned scale and shift, and with running statistics at evaluation. Train
# `uv.method("4a-affine", …)` and repeat the comparison of mixed batches and batches by class.
#
# **2.** Measure the backward signal of 30 ReLU layers with batch norm before the first step (`samples=512, epochs=1`).
# Which factor does one layer have? Compare with 1.21.
#
# **3.** Let $c > 0$. If the weights of one normalised layer are multiplied by $c$, what happens to the output of the
# network, and to the gradient of these weights? Then draw all weights ten times as large, with `init_std=0.5`, and
# compare `activation_rms` before the first step.

# %%
# Solution 1: the running statistics do not depend on the batch, so neither does the accuracy.
affine = uv.run(uv.method("4a-affine", samples=SAMPLES, batch=BATCH), epochs=max(1, EPOCHS // 3))
model = trained(affine)
print(f"4a-affine, mixed batches:    {accuracy_on(model, mixed):.3f}")
print(f"4a-affine, batches by class: {accuracy_on(model, by_class):.3f}")

# %%
# Solution 2: about 1.2 a layer, as theory says; over 29 layers that is more than a hundred.
recipe = uv.baseline(hidden=(WIDTH,) * 30, samples=512)
record = uv.run(recipe.with_remedies(uv.BetterActivation("relu"), uv.NormalizeInside("batch-norm")), epochs=1)
signal = record.series["backward_rms"].values[0]
print(f"layer 1 / layer 30 = {signal[0] / signal[29]:.0f}, {(signal[0] / signal[29]) ** (1 / 29):.3f} a layer")

# %% [markdown]
# <details><summary>Solution 3, the formula</summary>
#
# The normalisation divides by $c$ times the standard deviation, so the output stays (but for $\varepsilon$): $L(cW) =
# L(W)$. Differentiate both sides by $W$: $c\,\nabla L(cW) = \nabla L(W)$, so the gradient is divided by $c$. The
# relative step of SGD, $\eta \lVert \nabla L \rVert / \lVert W \rVert$, is divided by $c^2$: large weights behind a
# normalisation learn slowly.
# </details>

# %%
# Solution 3: the activations of the hidden layers stay the same. Only those of the output layer are ten times as large.
for std in (0.05, 0.5):
    record = uv.run(uv.baseline(init_std=std, samples=512).with_remedies(uv.NormalizeInside()), epochs=1)
    print(f"σ = {std:4g}:", *(f"{value:.3f}" for value in record.series["activation_rms"].values[0]))
