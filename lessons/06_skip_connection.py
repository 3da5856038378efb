# %% [markdown]
# # 6 · Skip connections
#
# **Question.** All remedies so far change what a layer does to the signal. A skip connection leaves the layers as they
# are, and gives the signal a path around them. How much gradient does it save, and which layers get it?

# %%
import math
import os

import altair as alt

import unvanish as uv

# None is all 60,000 training images. The project's tests set the variable to run the lesson in a short form.
EPOCHS, SAMPLES = (1, 2048) if os.environ.get("UNVANISH_LESSON_SHORT") else (30, None)
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
# The network of lesson 1, with two skips: the output of hidden layer 1 is added to that of layer 3, and that of layer 4
# to that of layer 7. (Method 5 of the published study.)
#
# 1. How much of the backward signal at layer 7 arrives at layer 1: **all**, **1/7**, **1/50** or **1/146,000**?
# 2. Which hidden layer gets the least?

# %%
predicted_ratio = None  # your answer
predicted_least = None  # your number, 1 to 7

# %% [markdown]
# ## Formula
#
# With a skip from layer $a$ to layer $b$ the output of $b$ is $h_b = f(h_a) + h_a$, where $f$ are the layers between
# them. So
#
# $$\frac{\partial L}{\partial h_a} = \Big(I + \frac{\partial f}{\partial h_a}\Big)^{\!\top} \frac{\partial L}{\partial
# h_b} .$$
#
# The identity $I$ passes the gradient on, however small the Jacobian of $f$ is (He et al. 2016, "Identity mappings in
# deep residual networks", eq. 5). In total the gradient is a sum over all paths from the output to a layer. The path
# that crosses the fewest layers dominates, since each crossing costs a factor $\rho = \sqrt{n}\,\sigma/4 \approx 1/7$.

# %%
rho = math.sqrt(WIDTH) * 0.05 / 4
print(f"ρ = {rho:.3f} = 1/{1 / rho:.1f}; without skips, six crossings: 1/{rho**-6:,.0f}")

# %% [markdown]
# Follow it from layer 7 to layer 1. The skip 4→7 brings the gradient to the output of layer 4 without loss. From there
# to the output of layer 3 it has to cross the weights and the sigmoid of layer 4: a factor $\rho$. The skip 1→3 brings
# it to the output of layer 1 without loss. So one $\rho$ remains.
#
# ## Run

# %%
skips = uv.run(uv.method("5", samples=SAMPLES), epochs=EPOCHS)
plain = uv.run(uv.baseline(samples=512), epochs=1)  # for its signal at the start
print(skips)

# %% [markdown]
# ## Plot

# %%
signals = {
    "no skips": plain.series["backward_rms"].values[0, :HIDDEN],
    "skips 1→3, 4→7": skips.series["backward_rms"].values[0, :HIDDEN],
}
lines("hidden layer", "backward RMS before any step", signals, scale="log")

# %%
lines("epoch", "test accuracy", {"skips 1→3, 4→7": skips.curve["val_acc"]})

# %% [markdown]
# ## Answer

# %%
signal = signals["skips 1→3, 4→7"]
for number, value in enumerate(signal, start=1):
    print(f"layer {number}: 1/{signal[-1] / value:,.1f} of the signal at layer 7")
least = min(range(HIDDEN), key=lambda index: signal[index]) + 1
print(f"least: layer {least}; you predicted {predicted_least}, and {predicted_ratio} for layer 1")
print(f"test accuracy after {EPOCHS} epochs: {skips.curve['val_acc'][-1]:.3f}")

# %% [markdown]
# Layer 1 gets about 1/7, as predicted. The signal does not decrease evenly: layers 1, 4 and 7, at the ends of skips,
# get much. The layers *inside* a skip get less than the layer below them: the gradient of layer 2 has to cross layers 4
# and 3, that of layer 5 layers 7 and 6, so both get about $\rho^2 = 1/50$. That is little, but far more than 1/146,000,
# and the network learns. After the 300 epochs of the published study its test accuracy is 0.80.
#
# ## Where it fails
#
# - **What no skip spans still shrinks the gradient.** Every path crosses layer 4, between the two skips. With a stack
#   of many such blocks, the factors multiply again.
# - **The layers inside a skip may contribute little.** Their outputs are nearly the same for all images at the start.
# - **Sums grow with depth.** If each $f$ keeps the second moment of its input, each skip doubles it where $h$ and
#   $f(h)$ are uncorrelated. ReLU outputs are never negative, so their cross term adds to that. Below: 20 ReLU layers
#   with He's weights and a skip around each. Normalise the branches, or let them start at 0 (`uv.ReZero`).

# %%
deep = uv.baseline(hidden=(WIDTH,) * 20, samples=512).with_remedies(uv.BetterActivation("relu"), uv.HeInit())
growth = {
    "a skip around each layer": uv.run(deep.with_remedies(uv.SkipEveryBlock()), epochs=1),
    "ReZero": uv.run(deep.with_remedies(uv.ReZero()), epochs=1),
}
rms = {name: record.series["activation_rms"].values[0, :20] for name, record in growth.items()}
for name, row in rms.items():
    print(f"{name}: activation RMS of layer 20 over layer 2: {row[19] / row[1]:,.3g}")
lines("hidden layer", "activation RMS before any step", rms, scale="log")

# %% [markdown]
# ## Exercises
#
# **1.** Use one skip only, from layer 1 to layer 7. Predict the ratio of layer 1 to layer 7. Train it for a third of
# the epochs. Does it learn faster or more slowly than the published skips?
#
# **2.** Predict the ratio of layer 1 to layer 7 for the skips 1→4 and 4→7, and check it (`samples=512, epochs=1`).
#
# **3.** In exercise 1, which layers do the learning? Look at `update_ratio`, the relative change of the weights in one
# step.

# %%
# Solution 1: about 1, since no layer has to be crossed. It learns faster: it is nearly a network of one hidden layer.
third = max(1, EPOCHS // 3)
one = uv.run(uv.baseline(samples=SAMPLES).with_remedies(uv.SkipConnection([(1, 7)])), epochs=third)
signal = one.series["backward_rms"].values[0]
print(f"layer 1 / layer 7 = {signal[0] / signal[6]:.2f}")
print(
    f"test accuracy after {third} epochs: {one.curve['val_acc'][-1]:.3f}; "
    f"with the published skips: {skips.curve['val_acc'][third - 1]:.3f}"
)

# %%
# Solution 2: no layer is left to be crossed, so about 1.
both = uv.run(uv.baseline(samples=512).with_remedies(uv.SkipConnection([(1, 4), (4, 7)])), epochs=1)
signal = both.series["backward_rms"].values[0]
print(f"layer 1 / layer 7 = {signal[0] / signal[6]:.2f}")

# %%
# Solution 3: layer 1, layer 7 and the output. Below layer 7 the steps decrease by about 1/7 a layer, as in lesson 1.
for name, value in zip(one.series["update_ratio"].layers, one.series["update_ratio"].values[-1], strict=True):
    print(f"{name}: {value:.1e}")
