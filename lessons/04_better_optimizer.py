# %% [markdown]
# # 4 · A better optimizer
#
# **Question.** SGD multiplies the gradient by the learning rate, so a layer with a gradient of a millionth takes steps
# of a millionth. Adam divides each gradient by its own running size. Does that repair a vanishing gradient?

# %%
import math
import os

import altair as alt

import unvanish as uv

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
# Network and weights are those of lesson 1; only SGD(0.01) becomes Adam(0.001).
#
# 1. Before the first step the gradient ratio layer 1 / layer 7 is 1/146,000 with SGD. With Adam: **the same**,
#    or **more**?
# 2. The test accuracy after 12 epochs: **0.10**, **about 0.5** or **above 0.7**?

# %%
predicted_ratio = None  # your answer
predicted_accuracy = None  # your number

# %% [markdown]
# ## Formula
#
# Adam keeps running means of the gradient $g$ and of its square, corrected for their start at 0 (Kingma & Ba 2015,
# "Adam: a method for stochastic optimization", algorithm 1):
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\, g, \quad v \leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \qquad
# \Delta\theta = -\eta\, \frac{\hat m}{\sqrt{\hat v} + \varepsilon}, \quad
# \hat m = \frac{m}{1 - \beta_1^t}, \; \hat v = \frac{v}{1 - \beta_2^t} .$$
#
# If all gradients are multiplied by $c > 0$, then $\hat m$ and $\sqrt{\hat v}$ are, too, and the step is the same, as
# long as $\sqrt{\hat v} \gg \varepsilon = 10^{-8}$. In the first step $\hat m = g$ and $\hat v = g^2$, so
#
# $$\Delta\theta = -\eta\,\frac{g}{|g| + \varepsilon} \approx -\eta\,\mathrm{sign}(g), \qquad \frac{\lVert \Delta W
# \rVert}{\lVert W \rVert} \le \frac{\eta}{\sigma} = \frac{0.001}{0.05} = 0.02 .$$

# %% [markdown]
# ## Run

# %%
adam = uv.run(uv.method("3", samples=SAMPLES), epochs=EPOCHS)
sgd = uv.run(uv.baseline(samples=SAMPLES), epochs=max(1, EPOCHS // 4))
print(adam, sgd, sep="\n")

# %% [markdown]
# ## Plot
#
# The relative step $\lVert \Delta W \rVert / \lVert W \rVert$ of the first step, layer by layer. The last one is the
# output layer.

# %%
first_steps = {"SGD": sgd.series["update_ratio"].values[0], "Adam": adam.series["update_ratio"].values[0]}
lines("layer", "relative first step", first_steps, scale="log")

# %%
adam.series["backward_rms"].plot()

# %%
lines("epoch", "test accuracy", {"Adam": adam.curve["val_acc"], "SGD": sgd.curve["val_acc"]})

# %% [markdown]
# ## Answer

# %%
for name, record in {"SGD": sgd, "Adam": adam}.items():
    signal = record.series["backward_rms"].values
    at_start, at_end = signal[0, 6] / signal[0, 0], signal[-1, 6] / signal[-1, 0]
    print(f"{name}: gradient ratio layer 1 / layer 7: 1/{at_start:,.0f} at initialisation, 1/{at_end:,.3g} at the end")
gradient = adam.series["weight_gradient_norm"].values[0, 0] / math.sqrt(784 * WIDTH)
print(f"one gradient of layer 1 at the start: RMS {gradient:.1e}, against ε = 1e-8")
print(f"test accuracy of Adam after {EPOCHS} epochs: {adam.curve['val_acc'][-1]:.3f}")
print(f"you predicted: {predicted_ratio}, {predicted_accuracy}")

# %% [markdown]
# Before the first step the gradient is exactly the same, because it depends on the weights and the batch only. **Adam
# does not repair the signal; it repairs the step.** Layers 4 to 7 take first steps of 0.02, as the formula says. Those
# of layers 1 to 3 are smaller, since a part of their gradients is not large against $\varepsilon$. All layers move, and
# after some epochs on a plateau the weights are such that the signal reaches layer 1: it no longer vanishes.
#
# ## Where it fails
#
# The division stops helping when gradients are of the size of $\varepsilon$. With 12 hidden layers in place of 7, the
# first layers of the same network get a gradient far below $10^{-8}$ and stand still, and the network learns nothing.

# %%
deep = uv.run(
    uv.baseline(hidden=(WIDTH,) * 12, samples=SAMPLES).with_remedies(uv.BetterOptimizer("Adam")), epochs=EPOCHS
)
print(f"12 layers under Adam: test accuracy {deep.curve['val_acc'][-1]:.4f}")
lines("layer", "relative step, last epoch", {"12 layers": deep.series["update_ratio"].values[-1]}, scale="log")

# %% [markdown]
# There is a second limit: the *forward* signal has vanished, too. At layer 12 the activations of two images differ by
# about $10^{-8}$, less than the distance between two neighbouring float32 numbers near 0.5, which is $6 \cdot 10^{-8}$.
# Most of what the output layer sees of an image is rounding error. A smaller $\varepsilon$ restores the steps, but not
# this signal (exercise 2).
#
# ## Exercises
#
# **1.** SGD with momentum 0.9 takes steps that are up to $1/(1 - 0.9) = 10$ times as large. Does it help the 7-layer
# network? Predict, then run it for 3 epochs.
#
# **2.** Train the 12-layer network with `eps=1e-16` for 3 epochs. Do its first layers move now? How well does it learn,
# compared with the 7-layer network? Look at `spread`, the RMS of what distinguishes the images in the activations,
# before the first step.
#
# **3.** Why does a learning rate of 1,000 for SGD not do what Adam does?

# %%
# Solution 1: no. A factor of 10 is nothing against 146,000.
momentum = uv.Optimizer("SGD", 0.01, {"momentum": 0.9})
record = uv.run(uv.baseline(samples=SAMPLES, optimizer=momentum), epochs=max(1, EPOCHS // 4))
print(f"test accuracy: {record.curve['val_acc'][-1]:.4f}")

# %%
# Solution 2: the first layers move as fast as the last. The accuracy leaves 0.10, but stays near 0.2, and does so for
# 12 epochs as well, while the 7-layer network learns in that time: the images differ by less than float32 resolves.
small = uv.BetterOptimizer("Adam", 0.001, {"eps": 1e-16})
record = uv.run(uv.baseline(hidden=(WIDTH,) * 12, samples=SAMPLES).with_remedies(small), epochs=max(1, EPOCHS // 4))
print("relative steps of layers 1 to 3, ε = 1e-8: ", *(f"{x:.1e}" for x in deep.series["update_ratio"].values[-1, :3]))
print(
    "relative steps of layers 1 to 3, ε = 1e-16:", *(f"{x:.1e}" for x in record.series["update_ratio"].values[-1, :3])
)
print(f"test accuracy: {record.curve['val_acc'][-1]:.4f}")
print(f"spread at layer 12: {record.series['spread'].values[0, 11]:.1e}; float32 resolves 6e-8 around 0.5")

# %% [markdown]
# <details><summary>Solution 3</summary>
#
# One learning rate cannot fit layers whose gradients differ by 146,000. If it is right for layer 1, it is far too large
# for layer 7 and the output, and the training diverges. Adam has in effect a learning rate of its own for every weight.
# </details>
