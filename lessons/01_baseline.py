# %% [markdown]
# # 1 · The baseline, and why it does not learn
#
# **Question.** A network of 7 hidden layers with 128 sigmoid units each is trained on FashionMNIST. Its weights are
# drawn from N(0, 0.05²), its optimizer is SGD with learning rate 0.01. It does not learn. Why?
#
# You need: the chain rule, and what a training loop in PyTorch does. All lessons together are about *vanishing
# gradients*; this one measures them, lessons 2 to 8 each try one remedy.
#
# The first run downloads FashionMNIST (30 MB) if it is not on this computer.

# %%
import math
import os

import altair as alt

import unvanish as uv
from unvanish.theory import MeanField, activation

# None is all 60,000 training images. The project's tests set the variable to run the lesson in a short form.
EPOCHS, SAMPLES = (1, 2048) if os.environ.get("UNVANISH_LESSON_SHORT") else (10, None)
HIDDEN = 7  # layers

alt.renderers.enable("svg")  # charts that need no network connection; "html" makes them interactive
recipe = uv.baseline(samples=SAMPLES)
print(recipe.setup().model)

# %% [markdown]
# ## Predict
#
# Write your answers down before you run the cells below.
#
# 1. The test accuracy after 10 epochs: **0.80**, **0.50** or **0.10**? There are 10 classes, each with as many images.
# 2. The gradient is computed from the output to the input. Of the gradient that arrives at hidden layer 7, how much
#    arrives at hidden layer 1: **1/10**, **1/1,000** or **1/100,000**?

# %%
predicted_accuracy = None  # your number
predicted_ratio = None  # your number

# %% [markdown]
# ## Formula
#
# Layer $l$ computes $z_l = W_l h_{l-1} + b_l$ and $h_l = \varphi(z_l)$. Let $\delta_l = \partial L/\partial z_l$ be the
# *backward signal* at layer $l$. By the chain rule
#
# $$\delta_l = \varphi'(z_l) \odot W_{l+1}^\top \delta_{l+1}, \qquad \frac{\partial L}{\partial W_l} = \delta_l\,
# h_{l-1}^\top .$$
#
# So each layer multiplies the backward signal by a matrix and by a slope. For independent weights of variance
# $\sigma^2$ and $n$ units a layer, the root mean square (RMS) changes by
#
# $$\frac{\mathrm{rms}(\delta_l)}{\mathrm{rms}(\delta_{l+1})} \approx \sqrt{n}\,\sigma\,\sqrt{\mathbb{E}\,\varphi'(z)^2}
# \;\le\; \sqrt{n}\,\sigma \cdot \tfrac14 \quad\text{for the sigmoid.}$$
#
# The bound is that of the slope: $\varphi' = \varphi(1-\varphi) \le 1/4$. If the factor is below 1, the signal
# decreases exponentially with the number of layers. Hochreiter (1991) and Bengio, Simard & Frasconi (1994, "Learning
# long-term dependencies with gradient descent is difficult") described this for recurrent networks, Glorot & Bengio
# (2010, "Understanding the difficulty of training deep feedforward neural networks") for deep ones.

# %%
factor = math.sqrt(128) * 0.05 / 4
print(f"factor of one layer: at most {factor:.3f}")
print(f"from layer 7 to layer 1, six factors: at most 1/{1 / factor ** (HIDDEN - 1):,.0f}")

# %% [markdown]
# ## Run
#
# `uv.run` trains the recipe and measures every layer while it trains. Nothing is written to your disk: the record lives
# in this notebook only.

# %%
record = uv.run(recipe, epochs=EPOCHS)
record

# %% [markdown]
# ## Plot
#
# The backward signal over depth, on a logarithmic axis; one line for the start (before any step) and one for each
# epoch. The last layer is the output layer.

# %%
signal = record.series["backward_rms"]
print(signal.definition)
signal.plot()

# %% [markdown]
# ## Answer

# %%
start = signal.values[0, :HIDDEN]  # row 0: before the first step
print(f"test accuracy after {EPOCHS} epochs: {record.curve['val_acc'][-1]:.4f}; you predicted {predicted_accuracy}")
print(f"gradient ratio layer 1 / layer 7: 1/{start[-1] / start[0]:,.0f}; you predicted {predicted_ratio}")
print(f"training loss: {record.curve['train_loss'][-1]:.4f}; of equal probabilities for 10 classes: {math.log(10):.4f}")

ratio = record.series["update_ratio"].values[-1]  # ‖ΔW‖/‖W‖ of one step, mean over the last epoch
print(f"one step changes the weights of layer 1 by a relative {ratio[0]:.1e}, those of the output by {ratio[-1]:.1e}")

# %% [markdown]
# The factor is about 1/7 per layer, as the formula says, so the ratio is below 1/100,000.
# Its weights stay where they were drawn.
#
# That is one half of the answer. The output layer does get a gradient, so why does it not learn to separate the classes
# from the random features below it? Because the *forward* signal vanishes, too. The measured `spread` is the RMS of
# what distinguishes one image from another in the activations of a layer, $\sqrt{\mathbb{E}\,(h - \bar h)^2}$, where
# $\bar h$ is the mean over the batch. For small weights it decreases by almost the same factor, since $h_{l}(x) -
# h_{l}(x') \approx \varphi' \cdot W_l\,(h_{l-1}(x) - h_{l-1}(x'))$.

# %%
spread = record.series["spread"]
for name, value in zip(spread.layers[:HIDDEN], spread.values[0, :HIDDEN], strict=True):
    print(f"{name}  {value:.1e}")
spread.plot()

# %% [markdown]
# At layer 7 all images look the same to about six digits. The output layer can learn one thing only: how frequent each
# class is. All are equally frequent, so the loss stays at $\ln 10$.
#
# Theory predicts both before training. `chi_1` is $\chi_1 = \sigma_w^2\,\mathbb{E}\,\varphi'(z)^2$ with $\sigma_w^2 =
# n\sigma^2$, the factor of one layer on the *squared* backward signal (Schoenholz et al. 2017, "Deep information
# propagation", eq. 5). Gradients vanish where $\chi_1 < 1$.

# %%
field = MeanField(activation("sigmoid"), weight_var=128 * 0.05**2)
print(f"χ₁ = {field.chi_1:.4f}, so a factor of {math.sqrt(field.chi_1):.3f} a layer: {field.phase} phase")
print(f"six layers: 1/{field.chi_1 ** (-(HIDDEN - 1) / 2):,.0f}; measured: 1/{start[-1] / start[0]:,.0f}")
print(
    f"depth up to which such networks train, by the rule of Schoenholz et al.: about {field.trainable_depth:.1f} layers"
)

# %% [markdown]
# ## Where it fails
#
# What this lesson does **not** show:
#
# - An accuracy of 0.10 has other causes as well: a learning rate that is too large, labels that do not belong to the
#   images, layers that the optimizer does not hold. One must measure to tell them apart. `uv.diagnose_run` does it for
#   a record, and `uv.check` for any `torch.nn.Module`.
# - A small gradient alone does not stop an optimizer that divides by its size: see lesson 4.
# - The formula is a mean over random weights. At width 128 a single network deviates by some percent in each layer.
#   After training has begun, the weights are no longer independent of the signals, and the formula no longer holds
#   exactly.

# %%
print(uv.diagnose_run(record))

# %% [markdown]
# ## Exercises
#
# **1.** With 2 hidden layers in place of 7, what does the formula give for layer 1 over layer 2? Measure it with
# `uv.baseline(hidden=(128,) * 2, samples=SAMPLES)`. Does this network learn?
#
# **2.** For which $\sigma$ is the bound $\sqrt{n}\,\sigma/4$ equal to 1? Draw the weights with it (`init_std=`) and
# measure the ratio before the first step. `samples=512, epochs=1` is enough. Is the ratio 1? Why not?
#
# **3.** How many epochs would layer 1 need to change its weights by 1 % of their norm, if all steps went in the same
# direction?

# %%
# Solution 1: one factor of about 1/7. The network learns, if slowly.
shallow = uv.run(uv.baseline(hidden=(128,) * 2, samples=SAMPLES), epochs=EPOCHS)
of_shallow = shallow.series["backward_rms"].values[0]
print(f"formula: at most {factor:.3f}, measured: {of_shallow[0] / of_shallow[1]:.3f}")
print(f"test accuracy after {EPOCHS} epochs: {shallow.curve['val_acc'][-1]:.4f}")

# %%
# Solution 2: 4/√128 = 0.354. The ratio is far below 1: larger weights drive the units away from 0, where the slope is
# below its maximum of 1/4. The bound takes the maximum. The mean slope, not the largest one, decides: see lesson 2.
std = 4 / math.sqrt(128)
larger = uv.run(uv.baseline(init_std=std, samples=512), epochs=1)
of_larger = larger.series["backward_rms"].values[0]
print(f"σ = {std:.3f}: gradient ratio layer 1 / layer 7: 1/{of_larger[6] / of_larger[0]:,.0f}")
print(f"theory: a factor of {math.sqrt(MeanField(activation('sigmoid'), 16.0).chi_1):.2f} a layer in place of 1")

# %%
# Solution 3: the relative change of one step times the steps of an epoch. Real steps do not all agree, so it is more.
steps = math.ceil((SAMPLES or 60_000) / recipe.batch)
print(f"at least {0.01 / (ratio[0] * steps):,.0f} epochs of {steps} steps")
