# %% [markdown]
# # 7 · Train some layers at a time
#
# **Question.** Two hidden layers of lesson 1 can be trained, seven cannot. Can one train the deep network a few layers
# at a time, so that the gradient never has to cross all of it?

# %%
import math
import os

import altair as alt

import unvanish as uv

alt.renderers.enable("svg")  # charts that need no network connection; "html" makes them interactive

# None is all 60,000 training images. The project's tests set the variable to run the lesson in a short form.
EPOCHS, SAMPLES = (3, 2048) if os.environ.get("UNVANISH_LESSON_SHORT") else (36, None)
HIDDEN = 7
BATCH = 64  # the published one is 512; with 64 an epoch has 8 times as many steps, and the trainings can be shorter

# %% [markdown]
# ## The method
#
# The seven hidden layers are split into four sub-models of 2, 2, 2 and 1 layers. There are seven trainings. Each starts
# with a new output layer and a new SGD optimizer:
#
# | training | hidden layers in the network | frozen |
# | --- | --- | --- |
# | 1 | 1–2 | none |
# | 2 | 1–4 | 1–2 |
# | 3 | 1–4 | none |
# | 4 | 1–6 | 1–4 |
# | 5 | 1–6 | none |
# | 6 | 1–7 | 1–6 |
# | 7 | 1–7 | none |
#
# Trainings 1 to 6 take a third of `EPOCHS` each, the last one takes all.

# %%
recipe = uv.method("6", samples=SAMPLES, batch=BATCH, epochs=EPOCHS)
print(recipe, recipe.stage_epochs(), sep="\n")
for number, stage in enumerate(recipe.setup().stages, start=1):
    print(number, stage)

# %% [markdown]
# ## Predict
#
# 1. Training 2 starts on top of two trained layers. Its test accuracy after its first epoch, compared with the last
#    epoch of training 1: **higher**, **about the same**, or **lower**?
# 2. The deeper network of training 7, compared with training 1: does it end with a **higher** or a **lower** test
#    accuracy?

# %%
predicted_second = None  # your answer
predicted_seventh = None  # your answer

# %% [markdown]
# ## Formula
#
# The network of training $k$ is $\text{output}_k \circ f_j \circ \dots \circ f_1$ with sub-models $f_i$ (greedy
# layer-wise training: Hinton, Osindero & Teh 2006; Bengio et al. 2007, "Greedy layer-wise training of deep networks",
# section 2). While $f_1, \dots, f_{j-1}$ are frozen, the gradient crosses the new layers only. With two of them it
# loses one factor
#
# $$\rho = \sqrt{n}\,\sigma\,\sqrt{\mathbb{E}\,\varphi'(z)^2} \le \sqrt{128} \cdot 0.05/4 \approx 1/7,$$
#
# not six. Then all layers are trained. The gradient crosses the lower layers too, but these are no longer random:
# training has increased their weights, and with them their factors.
#
# ## Run

# %%
record = uv.run(recipe)
print(record)

# %% [markdown]
# ## Plot
#
# The test accuracy of all trainings in a row; a colour for each training.

# %%
rows = [
    {"epoch": number, "test accuracy": epoch.val_acc, "training": str(epoch.stage)}
    for number, epoch in enumerate(record.epochs, start=1)
]
alt.Chart(alt.Data(values=rows), width=640, height=260).mark_line(point=True).encode(
    alt.X("epoch:Q"), alt.Y("test accuracy:Q"), alt.Color("training:N")
)

# %% [markdown]
# ## Answer

# %%
by_training = {
    number: [row.val_acc for row in record.epochs if row.stage == number]
    for number in sorted({row.stage for row in record.epochs})
}
for number, accuracies in by_training.items():
    print(
        f"training {number}: test accuracy {accuracies[0]:.3f} after its first epoch, {accuracies[-1]:.3f} at its end"
    )
print(f"you predicted: {predicted_second} for the second training, {predicted_seventh} for the seventh")

# %% [markdown]
# A new sub-model has small random weights, and a new output layer knows nothing, so training 2 starts anew, at chance.
# It learns, because its gradient crosses two layers. Now look at the backward signal at the start of each training.
# Frozen layers get none (`nan`).

# %%
signal = record.series["backward_rms"]
for (training, epoch), values in zip(signal.steps, signal.values, strict=True):
    if epoch == 0:
        print(f"training {training}:", *(f"{value:8.1e}" for value in values[:HIDDEN]))

start = {training: values for (training, epoch), values in zip(signal.steps, signal.values, strict=True) if epoch == 0}
first, last = start[7][0], start[7][HIDDEN - 1]
print(f"training 7, before its first step: layer 1 / layer 7 = {first / last:.2g}; in lesson 1 it was 6.9e-06")

# %% [markdown]
# The new layers lose about 1/7 a layer; the trained ones do not. So at the start of training 7, with all seven layers
# free, layer 1 gets a useful part of the signal.
#
# Weights that have been trained have a larger factor. Compare the largest singular value of each layer's weights with
# that of random ones: $\sigma\,(\sqrt{128} + \sqrt{128}) = 1.1$ for a matrix of 128 × 128 from N(0, 0.05²).

# %%
for number in range(2, HIDDEN + 1):
    (weight,) = [value for name, value in record.weights.items() if f"hidden{number}" in name and "weight" in name]
    print(f"layer {number}: largest singular value {weight.svd().S[0]:.2f}, random: {0.05 * 2 * math.sqrt(128):.2f}")

# %% [markdown]
# ## Where it fails
#
# - **The first sub-model needs time.** If it has hardly learned, the next one is trained on nearly random features, and
#   the signal vanishes again. Below: the same method with a sixth of the epochs.
# - **It costs.** Here three times as many epochs as one training of `EPOCHS`. Other remedies need far fewer: see
#   lessons 3 and 5.
# - **The sub-models must be shallow enough to learn by themselves.** Two hidden layers of this kind are (lesson 1,
#   exercise 1).

# %%
short = uv.run(recipe.but(epochs=max(3, EPOCHS // 6)))
print("epochs of the trainings:", *short.recipe.stage_epochs())
for number in by_training:
    accuracy = [row.val_acc for row in short.epochs if row.stage == number][-1]
    print(f"training {number}: test accuracy {accuracy:.3f} at its end")

# %% [markdown]
# ## Exercises
#
# **1.** How many steps does the first training take here, and how many in the published study (batch 512, 100 epochs)?
# Which of the two numbers, epochs or steps, should one keep when the batch changes?
#
# **2.** Which layers change in training 2? Find it in `update_ratio` without looking at the table above.
#
# **3.** Why is the output layer replaced for each training? What would be needed to keep it?

# %%
# Solution 1: nearly as many steps. Keep the steps: with a small learning rate SGD moves by about lr · steps · gradient.
here = recipe.stage_epochs()[0] * math.ceil((SAMPLES or 60_000) / BATCH)
print(f"here {here:,} steps, published {100 * math.ceil(60_000 / 512):,}")

# %%
# Solution 2: layers 3 and 4, and the output. nan: frozen, or not there yet.
ratio = record.series["update_ratio"]
row = ratio.values[ratio.steps.index((2, 1))]
for name, value in zip(ratio.layers, row, strict=True):
    print(f"{name}: {value:.1e}")

# %% [markdown]
# <details><summary>Solution 3</summary>
#
# It was trained to read the features of the layer below it. After the new layers are inserted, it would read the output
# of random layers instead: the same shape, but other features. It could be kept if the new layers started as the
# identity, as residual blocks whose branch starts at 0 do (lesson 6, ReZero).
# </details>
