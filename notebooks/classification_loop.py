# %% [markdown]
# # A classifier from start to finish
#
# Data, model, loss, optimizer, loop, and a look at what went wrong: that is the whole of a classification task in
# PyTorch. The loop is yours. This notebook imports `fit` and `evaluate` from `answers/classification_loop.py`, so every
# curve below is drawn by the code that you wrote.

# %%
import torch
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from katas.classification_loop import evaluate, fit

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False}
)
torch.set_num_threads(1)  # layers this small are quicker on one core
_ = torch.manual_seed(0)

# %% [markdown]
# ## The data
#
# 1797 handwritten digits of 8 by 8 pixels come with scikit-learn. Pixels are scaled to [0, 1]: layers are initialised
# for inputs of about that size. Every fifth image is held out. The model is never trained on it, and the choice of the
# best epoch is made by it.

# %%
# NBVAL_CHECK_OUTPUT
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32) / 16
labels = torch.tensor(digits.target)
held_out = torch.arange(len(labels)) % 5 == 0

train_set = TensorDataset(images[~held_out], labels[~held_out])
val_set = TensorDataset(images[held_out], labels[held_out])
print(f"{len(train_set)} images to train on, {len(val_set)} held out, each {tuple(images[0].shape)}")


# %%
def show(axis, image, title="", colour="black"):
    axis.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    axis.set_title(title, fontsize=9, color=colour, pad=3)
    axis.set_axis_off()


figure, axes = plt.subplots(2, 10, figsize=(8, 2.1), layout="constrained")
for digit in range(10):
    examples = images[labels == digit]
    show(axes[0, digit], examples[0], str(digit))
    show(axes[1, digit], examples[60])
plt.show()

# %% [markdown]
# ## Loaders, model, loss
#
# Training batches are shuffled anew in every epoch. Validation is not shuffled: the order cannot matter there.
#
# The model ends in 10 *logits*, not in probabilities. `nn.CrossEntropyLoss` applies log-softmax itself, in a form that
# cannot overflow. A softmax of your own in front of it would squeeze the logits into [0, 1] and slow the training down
# without an error.
#
# An untrained model knows nothing, and a good check of everything so far is that its loss says so: ten classes, guessed
# evenly, cost $\ln 10 \approx 2.3$ per sample.

# %%
# NBVAL_CHECK_OUTPUT
train_loader = DataLoader(train_set, batch_size=64, shuffle=True)
val_loader = DataLoader(val_set, batch_size=256)

model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 10))
loss_fn = nn.CrossEntropyLoss()

untrained = evaluate(model, val_loader, loss_fn, "cpu")
print(f"loss before training {untrained.loss:.1f}, ln 10 = {torch.tensor(10.0).log():.1f}")

# %% [markdown]
# ## Training
#
# `fit` alternates training and validation. The scheduler lowers the learning rate along half a cosine, one step per
# epoch: large steps first, small ones to settle. At the end the weights of the best epoch are back in the model, so
# evaluating it once more gives exactly the lowest validation loss of the history.

# %%
# NBVAL_CHECK_OUTPUT
epochs = 30
optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
history = fit(model, train_loader, val_loader, loss_fn, optimizer, epochs=epochs, scheduler=scheduler)

best = min(history, key=lambda entry: entry["val_loss"])
restored = evaluate(model, val_loader, loss_fn, "cpu")
print("epochs recorded:", len(history))
print("learning rate in the first epoch:", history[0]["lr"])
print("the best epoch's weights are back:", abs(restored.loss - best["val_loss"]) < 1e-6)
print("more than 95 % of the held-out digits are right:", restored.accuracy > 0.95)

# %%
steps = [entry["epoch"] for entry in history]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained")
for name, colour, label in (("train", "tab:blue", "training"), ("val", "tab:orange", "validation")):
    left.plot(steps, [entry[f"{name}_loss"] for entry in history], color=colour, label=label)
    right.plot(steps, [100 * entry[f"{name}_accuracy"] for entry in history], color=colour, label=label)
left.axvline(best["epoch"], color="gray", linestyle=":", label="best epoch")
right.axvline(best["epoch"], color="gray", linestyle=":")
left.set(title="loss per sample", xlabel="epoch", yscale="log")
right.set(title="accuracy in %", xlabel="epoch", ylim=(85, 100.5), yticks=[85, 90, 95, 100])
left.legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# How to read it:
#
# - In the first epochs the training curve is the *worse* one. It is measured while the weights still move, and with
#   dropout on; validation comes after the epoch, in eval mode. Forget `model.eval()`, and the orange curve gets the
#   same handicap.
# - When the training loss goes on falling and the validation loss does not, the model is learning its images by heart.
#   That is why the best epoch is kept rather than the last.
# - Both losses are means per sample. Had they been means of batch means, the short last batch would count too much and
#   two runs with different batch sizes could not be compared.
#
# ## Where it errs
#
# A confusion matrix counts, for every true digit (row), what was answered (column). Off the diagonal are the mistakes.

# %%
model.eval()
with torch.no_grad():
    probabilities = model(images[held_out]).softmax(1)
confidence, answers = probabilities.max(1)
truth = labels[held_out]
confusion = torch.bincount(10 * truth + answers, minlength=100).reshape(10, 10)

figure, axis = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
axis.imshow(confusion, cmap="Blues", vmax=12)  # dark from 12 on: the interesting counts are the small ones
for row in range(10):
    for column in range(10):
        if count := int(confusion[row, column]):
            axis.text(column, row, count, ha="center", va="center", color="white" if count > 6 else "black", fontsize=9)
axis.set(xlabel="answer", ylabel="truth", xticks=range(10), yticks=range(10))
plt.show()

# %% [markdown]
# The mistakes worth looking at first are those that the model was *sure* of. Often the label is debatable, or the
# image is; sometimes a preprocessing bug shows itself. Here are the wrong answers with the highest probability.

# %%
wrong = (answers != truth).nonzero().flatten()
wrong = wrong[confidence[wrong].argsort(descending=True)][:8]
figure, axes = plt.subplots(1, 8, figsize=(8, 1.5), layout="constrained")
for axis in axes:
    axis.set_axis_off()
for axis, index in zip(axes, wrong.tolist(), strict=False):
    title = f"said {answers[index]}, {100 * confidence[index]:.0f} %\ntruth {truth[index]}"
    show(axis, images[held_out][index], title)
plt.show()

# %% [markdown]
# ## Try it
#
# Take `model.train()` out of your `train_one_epoch`, or `.eval()` out of `evaluate`, or the deep copy out of `fit`, and
# run this again. The pictures will still look convincing. Which line or curve gives it away, and which of the three does
# not show at all? Then run `pytest tests/classification_loop`, which needs no eye for curves.
