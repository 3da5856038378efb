# %% [markdown]
# # 3 · A better activation
#
# **Question.** The slope of the sigmoid is at most 1/4. That of ReLU, $\max(0, z)$, is 1 wherever the unit is active.
# Is it enough to replace the activation?

# %%
import math
import os

import altair as alt

import unvanish as uv

# None is all 60,000 training images. The project's tests set the variable to run the lesson in a short form.
EPOCHS, SAMPLES = (1, 2048) if os.environ.get("UNVANISH_LESSON_SHORT") else (15, None)
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
# The weights stay as in lesson 1, from N(0, 0.05²); only the activation changes.
#
# 1. How much of the backward signal at layer 7 arrives at layer 1: **1/6**, **1/250** or **1/100,000**?
# 2. The test accuracy after 15 epochs: **above 0.7**, or **below 0.5**?

# %%
predicted_ratio = None  # your number
predicted_accuracy = None  # your answer

# %% [markdown]
# ## Formula
#
# $$\frac{\partial L}{\partial z_l} = \frac{\partial L}{\partial h_l} \odot \varphi'(z_l), \qquad \text{sigmoid: }
# \varphi' \le \tfrac14, \qquad \text{ReLU: } \varphi'(z) = \begin{cases}1 & z > 0\\ 0 & z < 0\end{cases}$$
#
# (Glorot, Bordes & Bengio 2011, "Deep sparse rectifier neural networks".) For weights that are symmetric about 0, half
# of the units are active, so $\mathbb{E}\,\varphi'(z)^2 = 1/2$, and one layer changes the RMS of the backward signal by
#
# $$\sqrt{n}\,\sigma\,\sqrt{\mathbb{E}\,\varphi'^2} = \sqrt{n\sigma^2/2} .$$
#
# It is 1 for $\sigma^2 = 2/n$. These are the weights of He et al. (2015, "Delving deep into rectifiers", eq. 10 for the
# activations and eq. 14 for the gradient).

# %%
factor = math.sqrt(WIDTH * 0.05**2 / 2)
print(f"σ = 0.05: a factor of {factor:.2f} a layer, 1/{factor ** -(HIDDEN - 1):,.0f} over six layers")
print(f"factor 1 at σ = {math.sqrt(2 / WIDTH):.3f}")

# %% [markdown]
# ## Run
#
# The published method 2 (ReLU, weights as in the baseline), and ReLU with He's weights.

# %%
relu = uv.run(uv.method("2", samples=SAMPLES), epochs=EPOCHS)
he = uv.run(uv.baseline(samples=SAMPLES).with_remedies(uv.BetterActivation("relu"), uv.HeInit()), epochs=EPOCHS)
sigmoid = uv.run(uv.baseline(samples=512), epochs=1)  # for its signal at the start
print(relu, he, sep="\n")

# %% [markdown]
# ## Plot

# %%
runs = {"sigmoid, σ = 0.05": sigmoid, "ReLU, σ = 0.05": relu, "ReLU, He's weights": he}
signals = {name: record.series["backward_rms"].values[0, :HIDDEN] for name, record in runs.items()}
lines("hidden layer", "backward RMS before any step", signals, scale="log")

# %%
lines("epoch", "test accuracy", {name: record.curve["val_acc"] for name, record in list(runs.items())[1:]})

# %% [markdown]
# ## Answer

# %%
for name, signal in signals.items():
    print(f"{name:20} gradient ratio layer 1 / layer 7: 1/{signal[-1] / signal[0]:,.1f}")
print(f"you predicted {predicted_ratio} for ReLU with σ = 0.05")
for name, record in list(runs.items())[1:]:
    accuracy = record.curve["val_acc"]
    print(f"{name:20} test accuracy: highest {max(accuracy):.3f}, last {accuracy[-1]:.3f}")
print(f"you predicted {predicted_accuracy} for ReLU with σ = 0.05")

# %% [markdown]
# ReLU alone removes most of the factor, but not all: 0.4 a layer in place of 0.14. Within 15 epochs the network does
# not leave its plateau. It does so later: after the 300 epochs of the published study its test accuracy is 0.86. With
# weights that fit the activation, the factor is 1, and the network learns from the first epoch on. **Activation and
# initial weights have to be chosen together.**
#
# ## Where it fails
#
# - **Small weights:** the plateau that you see above.
# - **Large weights:** ReLU does not saturate, so nothing limits the signal. With $\sigma = 1$ it grows by
#   $\sqrt{128/2} = 8$ a layer, and the first step makes the loss infinite or NaN (lesson 2, exercise 3).
# - **Dead units:** a unit whose pre-activation is negative for all inputs outputs 0, and its weights get no
#   gradient. It comes back only if the layers below it change its inputs. A step that is too large produces such
#   units. `dead` is their fraction on a batch.
# - **He's weights keep the length of the signal, not the angle between two inputs:** it decreases with depth, so very
#   deep ReLU networks confuse their inputs although the gradient is kept.

# %%
dead = {name: record.series["dead"].values[-1, :HIDDEN] for name, record in list(runs.items())[1:]}
lines("hidden layer", "dead units, last epoch", dead)

# %% [markdown]
# ## Exercises
#
# **1.** Train ReLU with He's weights for one epoch by Adam with the learning rates 0.001, 0.01 and 0.1. How many units
# are dead at its end, and which of the three networks learn? Predict first.
#
# **2.** LeakyReLU has the slope $a = 0.01$ below 0 in place of 0. Derive the weight variance that keeps the signal.
#
# **3.** Does the gradient reach layer 1 of a ReLU network with 30 hidden layers and He's weights? Measure it before the
# first step (`samples=512, epochs=1`). Compare with $\sigma = 0.05$.

# %%
# Solution 1: the larger the steps, the more units die. A network learns with the rest, until too few are left.
for lr in (0.001, 0.01, 0.1):
    recipe = uv.baseline(samples=SAMPLES, optimizer=uv.Optimizer("Adam", lr))
    record = uv.run(recipe.with_remedies(uv.BetterActivation("relu"), uv.HeInit()), epochs=1)
    dead_units = " ".join(f"{value:4.0%}" for value in record.series["dead"].values[-1, :HIDDEN])
    print(f"learning rate {lr:<5g}  dead, by layer: {dead_units}   test accuracy {record.curve['val_acc'][-1]:.3f}")

# %% [markdown]
# <details><summary>Solution 2</summary>
#
# $\mathbb{E}\,\varphi'^2 = (1 + a^2)/2$, so $n\sigma^2 (1 + a^2)/2 = 1$ gives $\sigma^2 = \dfrac{2}{(1 + a^2)\,n}$ (He
# et al. 2015, eq. 15). For $a = 0.01$ that is almost $2/n$; for $a = 1$, a linear network, it is $1/n$.
# </details>

# %%
# Solution 3: with He's weights it does, up to a factor that chance makes at width 128. With σ = 0.05, it does not.
for remedies in ((uv.BetterActivation("relu"), uv.HeInit()), (uv.BetterActivation("relu"),)):
    record = uv.run(uv.baseline(hidden=(WIDTH,) * 30, samples=512).with_remedies(*remedies), epochs=1)
    signal = record.series["backward_rms"].values[0]
    print(f"{' + '.join(map(str, remedies))}: layer 1 / layer 30 = {signal[0] / signal[29]:.2g}")
