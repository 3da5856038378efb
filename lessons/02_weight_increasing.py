# %% [markdown]
# # 2 · Weight increasing
#
# **Question.** Lesson 1: weights from N(0, 0.05²) make each layer multiply the backward signal by about 1/7. Larger
# weights multiply it by more. How large must they be? Is larger always better?

# %%
import math
import os

import altair as alt

import unvanish as uv
from unvanish.theory import MeanField, activation, critical

# None is all 60,000 training images. The project's tests set the variable to run the lesson in a short form.
EPOCHS, SAMPLES = (1, 2048) if os.environ.get("UNVANISH_LESSON_SHORT") else (10, None)
HIDDEN, WIDTH = 7, 128
SIGMAS = (0.05, 0.5, 1.0, 10.0)

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
# 1. Which $\sigma$ of 0.05, 0.5, 1 and 10 gives the highest test accuracy after 10 epochs?
# 2. With $\sigma = 10$, how much of the backward signal at layer 7 arrives at layer 1: **less than 1/100**, **about
#    1**, or **more than 100 times as much**?

# %%
predicted_sigma = None  # your number
predicted_ratio = None  # your number

# %% [markdown]
# ## Formula
#
# Let $h_l = \varphi(z_l)$, $z_l = W_l h_{l-1}$, $\delta_l = \partial L/\partial z_l$, $n$ units a layer, and
# independent weights from $N(0, \sigma^2)$. Then
#
# $$\mathbb{E}\,z_l^2 = n\sigma^2\,\mathbb{E}\,h_{l-1}^2, \qquad \mathbb{E}\,\delta_l^2 =
# n\sigma^2\,\mathbb{E}\,\varphi'(z_l)^2\;\mathbb{E}\,\delta_{l+1}^2 .$$
#
# (Glorot & Bengio 2010, eqs. 5 and 6; here the mean of $\varphi'^2$ is kept, they take $\varphi' \approx 1$.) The
# factor on the squared signal is called $\chi_1 = \sigma_w^2\,\mathbb{E}\,\varphi'(z)^2$ with $\sigma_w^2 = n\sigma^2$
# (Schoenholz et al. 2017, "Deep information propagation", eq. 5). Gradients vanish for $\chi_1 < 1$ and explode for
# $\chi_1 > 1$.
#
# Two effects work against each other. A larger $\sigma$ increases $n\sigma^2$. It also increases $\mathbb{E}\,z^2$, so
# the sigmoids saturate, and $\mathbb{E}\,\varphi'(z)^2$ decreases. Theory computes both.

# %%
sigmoid = activation("sigmoid")
print("    σ   factor per layer √χ₁   phase")
for sigma in SIGMAS:
    field = MeanField(sigmoid, weight_var=WIDTH * sigma**2)
    print(f"{sigma:5g}   {math.sqrt(field.chi_1):18.3f}   {field.phase}")
print(f"χ₁ = 1 at σ = {math.sqrt(critical(sigmoid).weight_var / WIDTH):.3f}")

# %% [markdown]
# ## Run
#
# One training for each $\sigma$. Methods 1a and 1b of the published study are those with 1 and 10.

# %%
records = {f"σ = {sigma:g}": uv.run(uv.baseline(init_std=sigma, samples=SAMPLES), epochs=EPOCHS) for sigma in SIGMAS}

# %% [markdown]
# ## Plot
#
# First the backward signal before any step, over depth, for each $\sigma$. Then the test accuracy.

# %%
signals = {name: record.series["backward_rms"].values[0, :HIDDEN] for name, record in records.items()}
lines("hidden layer", "backward RMS", signals, scale="log")

# %%
lines("epoch", "test accuracy", {name: record.curve["val_acc"] for name, record in records.items()})

# %% [markdown]
# ## Answer

# %%
print("         layer 1 / layer 7    by theory   saturated units   loss, epoch 1   test accuracy")
for sigma, (name, record) in zip(SIGMAS, records.items(), strict=True):
    signal = signals[name]
    theory = math.sqrt(MeanField(sigmoid, WIDTH * sigma**2).chi_1) ** (HIDDEN - 1)
    saturated = record.series["saturated"].values[0, :HIDDEN].mean()
    curve = record.curve
    print(
        f"{name:8} {signal[0] / signal[-1]:17.2g} {theory:12.2g} {saturated:17.0%} {curve['train_loss'][0]:15.2f} "
        f"{curve['val_acc'][-1]:15.4f}"
    )
best = max(records, key=lambda name: records[name].curve["val_acc"][-1])
print(f"highest: {best}; you predicted {predicted_sigma}, and a ratio of {predicted_ratio} at σ = 10")

# %% [markdown]
# Theory and measurement agree: the signal vanishes at 0.05, decreases slowly at 0.5, is kept at 1, and explodes at 10,
# although almost all units are saturated there. The few units that are not pass on a signal that weights of size 10
# amplify.
#
# The highest accuracy is that of $\sigma = 0.5$, not that of the weights which keep the gradient best. Layer 1 gets
# about a seventh of the signal there, and a seventh does no harm: SGD only takes smaller steps in layer 1. What harms
# is a factor that seven layers turn into 1/140,000. And $\sigma = 0.5$ has fewer saturated units and a smaller first
# loss than $\sigma = 1$. A kept gradient is necessary within some orders of magnitude; it is not the only thing that
# matters.
#
# ## Where it fails
#
# - **Too large.** With $\sigma = 10$ the forward pass is close to a step function: a small change of the input flips
#   units between 0 and 1. The gradient describes the function only in a very small neighbourhood, so steps along it do
#   not reduce the loss reliably. Large gradients are no sign of good ones.
# - **The critical weights saturate the sigmoid.** At $\sigma = 1$ more than half of the units are where $\varphi'$ is
#   below a twentieth of its maximum. The reason is that $\varphi(0) = 1/2$: every layer gets a large input that is the
#   same for all images. Lesson 8 removes it.
# - **The right $\sigma$ depends on the width and the activation**, since $\chi_1$ contains $n\sigma^2$. For ReLU, whose
#   slope does not decrease, $\sigma = 1$ at width 128 multiplies the signal by $\sqrt{128/2} = 8$ a layer.
#
# ## Exercises
#
# **1.** Which $\sigma$ is critical ($\chi_1 = 1$) for 512 units a layer? Compute it, then measure the ratio of layer 1
# to layer 7 before the first step. `samples=512, epochs=1` is enough.
#
# **2.** Xavier initialisation has $\sigma^2 = 2/(n_\text{in} + n_\text{out})$, so $n\sigma^2 = 1$ here. Keras
# uses it by default, as a uniform distribution. Predict the factor of one layer for the sigmoid,
# then measure it with `uv.XavierInit()`.
#
# **3.** Put ReLU in place of the sigmoid and keep $\sigma = 1$. What happens to the activations, and to the loss?

# %%
# Solution 1: n σ² stays what it is, so σ is halved when the width is four times as large.
wide = math.sqrt(critical(sigmoid).weight_var / 512)
record = uv.run(uv.baseline(hidden=(512,) * HIDDEN, init_std=wide, samples=512), epochs=1)
signal = record.series["backward_rms"].values[0]
print(f"σ = {wide:.3f}: gradient ratio layer 1 / layer 7: {signal[0] / signal[HIDDEN - 1]:.2f}")

# %%
# Solution 2: Xavier's derivation takes φ′(0) = 1, which is true for tanh. The sigmoid's is 1/4, so at most 1/4 a layer.
record = uv.run(uv.baseline(samples=512).with_remedies(uv.XavierInit()), epochs=1)
signal = record.series["backward_rms"].values[0]
print(f"measured factor: {(signal[0] / signal[HIDDEN - 1]) ** (1 / (HIDDEN - 1)):.3f}, theory for n σ² = 1: ", end="")
print(f"{math.sqrt(MeanField(sigmoid, 1.0).chi_1):.3f}")

# %%
# Solution 3: the activations grow by about 8 a layer. The first loss is enormous, and the training diverges.
record = uv.run(uv.baseline(activation="ReLU", init_std=1.0, samples=512), epochs=2)
print("activation RMS:", *(f"{value:.3g}" for value in record.series["activation_rms"].values[0, :HIDDEN]))
print(f"loss of the first epoch: {record.curve['train_loss'][0]:.3g}; the training {record.outcome.state}")
