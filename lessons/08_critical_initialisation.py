# %% [markdown]
# # 8 · Critical initialisation
#
# **Question.** Lesson 2 found weights that keep the gradient of a sigmoid network, but more than half of the units are
# saturated with them. Can one choose initial weights and biases so that the gradient is kept *and* the units are not
# saturated? No change of the layers, the optimizer or the training is allowed.

# %%
import math
import os

import altair as alt

import unvanish as uv
from unvanish.theory import MeanField, activation, centred

# None is all 60,000 training images. The project's tests set the variable to run the lesson in a short form.
EPOCHS, SAMPLES = (1, 2048) if os.environ.get("UNVANISH_LESSON_SHORT") else (12, None)
HIDDEN, WIDTH = 7, 128

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
# 1. Let the pre-activations be small, so that $\varphi'(z) \approx \varphi'(0)$. By which gain $g$ must a sigmoid layer
#    multiply its input to keep the gradient: **1**, **2** or **4**?
# 2. With such weights, 50 hidden sigmoid layers and SGD: does the network learn?

# %%
predicted_gain = None  # your number
predicted_deep = None  # your answer

# %% [markdown]
# ## Formula
#
# *Mean-field theory* follows two numbers through a wide random network: the mean square $q_l = \mathbb{E}\,z_l^2$, and
# the correlation of the pre-activations of two inputs. With $z \sim N(0, 1)$, weights of variance $\sigma_w^2/n$,
# biases of variance $\sigma_b^2$:
#
# $$q_{l} = \sigma_w^2\,\mathbb{E}\,\varphi(\sqrt{q_{l-1}}\,z)^2 + \sigma_b^2, \qquad \chi =
# \sigma_w^2\,\mathbb{E}\,\varphi'(\sqrt{q}\,z)^2 .$$
#
# $\chi$ is the factor of one layer on the squared backward signal (Poole et al. 2016, "Exponential expressivity in deep
# neural networks through transient chaos", eq. 3; Schoenholz et al. 2017, "Deep information propagation", eq. 5). A
# network is *critical* at $\chi = 1$.
#
# For the sigmoid $\varphi'(0) = 1/4$, so $\sigma_w = 4$ should be critical for small $q$. But $\varphi(0) = 1/2$, so
# $q$ is never small: $\sigma_w^2\,\mathbb{E}\,\varphi^2 \ge 16/4 = 4$.

# %%
sigmoid = activation("sigmoid")
field = MeanField(sigmoid, weight_var=16.0)
print(f"σ_w = 4, no bias: q* = {field.fixed_length:.2f}, χ₁ = {field.chi_1:.2f}: {field.phase}")

# %% [markdown]
# The part $\mathbb{E}\,\varphi$ of the activation is the same for all inputs. It carries no information, and a bias can
# subtract it:
#
# $$W = g\,Q \ \ (Q \text{ orthogonal}), \qquad b = -W\,\mathbb{E}\,\varphi(z), \qquad g =
# \frac{1}{\sqrt{\mathbb{E}\,\varphi'(\sqrt q z)^2}} .$$
#
# Then each layer acts on $\varphi(z) - \mathbb{E}\,\varphi$. For the sigmoid at $q \to 0$: $g = 4$ and $b = -\tfrac12 W
# \mathbf 1$. We call this *centred critical* initialisation; the project knows of no publication of it. For odd
# activations such as tanh, $b = 0$, and it is the orthogonal critical initialisation of Saxe et al. (2014, "Exact
# solutions to the nonlinear dynamics of learning in deep linear neural networks") and Pennington et al. (2017,
# "Resurrecting the sigmoid").
#
# One cannot keep both the gradient and the length of the signal. Of gain $g$,
#
# $$q_{l+1} = g^2 \operatorname{Var} \varphi(\sqrt{q_l}\,z), \qquad \chi_l = g^2\,\mathbb{E}\,\varphi'(\sqrt{q_l}\,z)^2,
# \qquad \operatorname{Var}\varphi(\sqrt q z) \le q\,\mathbb{E}\,\varphi'(\sqrt q z)^2$$
#
# (the Poincaré inequality; equal only for affine $\varphi$). So either the gradient is kept and the signal decreases,
# or the signal is kept and the gradient grows towards the input.

# %%
for gain in (None, 4.0, 7.0):
    q, growth = 1.0, 1.0
    for _ in range(HIDDEN - 1):
        layer = centred(sigmoid, q, gain)
        q, growth = layer.length, growth * math.sqrt(layer.chi)
    name = "own gain at each layer" if gain is None else f"gain {gain:g}"
    print(f"{name:22}  q: 1 → {q:.3f},  backward signal, layer 1 / layer 7: {growth:.3g}")

# %% [markdown]
# ## Run
#
# - `uv.CentredCriticalInit()` takes at each layer the gain that keeps the gradient.
# - `uv.method("centred-critical")` takes gain 7, chosen on held-out training images (the project's docs/theory.md).
# - Weights from N(0, 1²), lesson 2, for comparison. The optimizer is SGD(0.01) for all.

# %%
runs = {
    "N(0, 1²)": uv.run(uv.method("1a", samples=SAMPLES), epochs=EPOCHS),
    "centred, own gain": uv.run(uv.baseline(samples=SAMPLES).with_remedies(uv.CentredCriticalInit()), epochs=EPOCHS),
    "centred, gain 7": uv.run(uv.method("centred-critical", samples=SAMPLES), epochs=EPOCHS),
}

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
print("                    layer 1 / layer 7   saturated   spread, layer 7   test accuracy")
for name, record in runs.items():
    signal = signals[name]
    saturated = record.series["saturated"].values[0, :HIDDEN].mean()
    spread = record.series["spread"].values[0, HIDDEN - 1]
    print(
        f"{name:18} {signal[0] / signal[-1]:18.2f} {saturated:11.0%} {spread:17.3f} {record.curve['val_acc'][-1]:15.3f}"
    )
print(f"you predicted a gain of {predicted_gain}; 1/φ′(0) is {centred(sigmoid, 0.0).gain:g}")

# %% [markdown]
# The centred networks keep the gradient with almost no unit saturated, and learn from the first epoch on. With gain 7
# the gradient is not kept, but grows a few times towards the input, and the spread of the images is larger at layer 7.
# In these epochs that network is ahead.
#
# Theory predicts the measured profile layer by layer. Start from the measured length of the first pre-activation:

# %%
record = runs["centred, own gain"]
stds = record.series["pre_activation_std"].values[0, :HIDDEN]
q = stds[0] ** 2
for number, measured in enumerate(stds, start=1):
    print(f"layer {number}: std of z measured {measured:.3f}, predicted {math.sqrt(q):.3f}")
    q = centred(sigmoid, q).length

# %% [markdown]
# ### Depth
#
# If the gradient is kept, depth should not matter. 50 sigmoid layers, SGD(0.01), nothing else:

# %%
deep = uv.run(
    uv.baseline(hidden=(WIDTH,) * 50, samples=SAMPLES).with_remedies(uv.CentredCriticalInit()),
    epochs=max(1, EPOCHS // 4),
)
signal = deep.series["backward_rms"].values[0]
print(f"layer 1 / layer 50 = {signal[0] / signal[49]:.2f}; test accuracy {deep.curve['val_acc'][-1]:.3f}")
print(f"you predicted: {predicted_deep}")

# %% [markdown]
# ## Where it fails
#
# - **ReLU and its kind** have no linear range around 0, so there is nothing to centre. Use He's weights (lesson 3).
# - **It is critical at $q = 0$ only.** With the gain that keeps the gradient, the signal decreases with depth, as
#   $1/\sqrt{\text{depth}}$ for a sigmoid; with a larger gain the gradient grows.
# - **It says something about the start only.** Training moves the weights away. Very deep networks stand small steps
#   only: thousand layers want Adam with a learning rate of 1e-4.
# - **It needs a batch of real inputs**, since the first layer is centred on their mean and scaled to their spread. A
#   recipe takes the first 512 training images.

# %%
try:
    uv.baseline(activation="ReLU").with_remedies(uv.CentredCriticalInit())
except uv.NothingToDo as error:
    print(error)

# %% [markdown]
# ## Exercises
#
# **1.** What are $g$ and $b$ for tanh at $q \to 0$? Check it with `centred`, then measure the ratio of layer 1 to layer
# 7.
#
# **2.** Verify $\operatorname{Var}\varphi \le q\,\mathbb{E}\,\varphi'^2$ for the sigmoid at $q = 0.01, 1, 100$.
# `centred(φ, q)` has `gain` $= 1/\sqrt{\mathbb{E}\,\varphi'^2}$ and `length` $= g^2\operatorname{Var}\varphi$. When are
# both sides nearly equal?
#
# **3.** Combine centred weights with Adam (`uv.BetterOptimizer("Adam")`) and train for a few epochs. Which accuracy do
# you get, and why may it be higher than that of either alone?

# %%
# Solution 1: tanh′(0) = 1 and tanh(0) = 0, so g = 1 and b = 0.
layer = centred(activation("tanh"), q=0.0)
print(f"g = {layer.gain:g}, mean to subtract: {layer.mean:g}")
record = uv.run(uv.baseline(activation="Tanh", samples=512).with_remedies(uv.CentredCriticalInit()), epochs=1)
signal = record.series["backward_rms"].values[0]
print(f"layer 1 / layer 7 = {signal[0] / signal[HIDDEN - 1]:.2f}")

# %%
# Solution 2: the sides are nearly equal where z is so small that the sigmoid is almost linear.
for q in (0.01, 1.0, 100.0):
    layer = centred(sigmoid, q)
    print(f"q = {q:6g}: Var φ = {layer.length / layer.gain**2:.5f} ≤ q E φ′² = {q / layer.gain**2:.5f}")

# %%
# Solution 3: the weights repair the signal, Adam the size of the steps. Neither does what the other does.
recipe = uv.baseline(samples=SAMPLES).with_remedies(uv.CentredCriticalInit(), uv.BetterOptimizer("Adam"))
record = uv.run(recipe, epochs=max(1, EPOCHS // 3))
print("test accuracy by epoch:", *(f"{value:.3f}" for value in record.curve["val_acc"]))
