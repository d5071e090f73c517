# %% [markdown]
# # A training run from end to end
#
# **The promise: at least 97 % of digits that the model has never seen are read correctly.** The report's last cell
# says whether it was kept.
#
# On the way: split, load, augment, reuse a pretrained backbone, stop in time, survive a power cut, report. Every one of
# these steps is yours. This notebook imports six of your katas (`data_pipeline`, `transfer_learning`,
# `classification_loop`, `early_stopping`, `checkpointing`, `classification_metrics`) and brings a small convolutional
# net and the digits.

# %%
import copy
import json
import tempfile
from pathlib import Path

import torch
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader

from katas.checkpointing import load_checkpoint, save_checkpoint
from katas.classification_loop import evaluate, fit, train_one_epoch
from katas.classification_metrics import accuracy, confusion_matrix, precision_recall_f1
from katas.data_pipeline import ImageDataset, channel_stats, make_loaders, random_flip, split_indices
from katas.early_stopping import EarlyStopping, warmup_cosine_lr
from katas.transfer_learning import fine_tune_groups, freeze, replace_head, trainable_parameters

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False}
)
torch.set_num_threads(1)  # layers this small are quicker on one core
PROMISE = 0.97
loss_fn = nn.CrossEntropyLoss()
folder = tempfile.TemporaryDirectory()  # for checkpoints; the last cell removes it

# %% [markdown]
# ## The data
#
# 1797 handwritten digits of 8 by 8 pixels come with scikit-learn: 60 % to train on, 20 % to decide by (when to stop), 20 %
# for the report, which nobody looks at before. Training images are shifted by up to a pixel each time they are read.
#
# The loaders' `generator` is torch's global one. `save_checkpoint` stores that one, so it is the one that everything random
# in a run should draw from: shuffling, shifts and dropout. A loader with a generator of its own would need a place of its
# own in the checkpoint.


# %%
def shift(image):
    down, right = torch.randint(3, (2,)).tolist()
    return nn.functional.pad(image, (1, 1, 1, 1))[:, down : down + 8, right : right + 8]


def split_and_load(labels, transform=None, seed=0):
    """Training, validation and test loader; one seed, one split."""
    torch.manual_seed(seed)
    dataset = ImageDataset(images, labels)
    fractions = 0.6, 0.2, 0.2
    return make_loaders(dataset, fractions, 64, generator=torch.default_generator, train_transform=transform)


digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16  # [1797, 1, 8, 8]
labels = torch.tensor(digits.target)

# %% [markdown]
# A split is easily checked: let every image carry its own number as its label, and ask the loaders who is where.

# %%
# NBVAL_CHECK_OUTPUT
numbered = split_and_load(torch.arange(len(labels)))
first_pass, parts = ([torch.cat([number for _, number in loader]) for loader in numbered] for _ in range(2))
train_part, val_part, test_part = parts
pixels = [torch.cat([batch for batch, _ in loader]) for loader in numbered]

print("percent of the digits in each part:", [round(100 * len(part) / len(labels)) for part in parts])
print("every digit is in exactly one part:", torch.cat(parts).sort()[0].equal(torch.arange(len(labels))))
print("each part has early and late digits:", all(part.min() < 100 and part.max() >= 1697 for part in parts))
print(
    "a new order in every pass (training, validation, test):",
    [not a.equal(b) for a, b in zip(first_pass, parts, strict=True)],
)
print(f"training pixels: deviation {pixels[0].std():.2f}, mean 0:", bool(pixels[0].mean().abs() < 1e-4))
print("validation pixels have mean 0:", bool(pixels[1].mean().abs() < 1e-4))


# %% [markdown]
# The last line should say False: the mean that is subtracted is that of the training images, and others fit it only nearly.
#
# Augmentation is a claim: *this change leaves the label true*. A shift keeps it. A mirrored 0 or 8 can still be read, a
# mirrored 3 or 7 is no digit at all, and a mirrored 2 looks rather like a 5. So `random_flip`, the usual choice for
# photographs, stays out of the run, and comes back at the end as a mistake.


# %%
def show_rows(rows, names, titles=(), size=0.62, margin=0.85, top=0.25):
    """Rows of pictures: `rows` holds one list of images for each name, `titles` one text for each column."""
    width, height = margin + size * len(rows[0]), top + size * len(rows)  # inches
    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=(width, height), squeeze=False)
    figure.subplots_adjust(margin / width, 0, 1, 1 - top / height, wspace=0.12, hspace=0.12)
    for line, row, name in zip(axes, rows, names, strict=True):
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
        for axis, image in zip(line, row, strict=True):
            show(axis, image)
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=9, pad=3)
    plt.show()


def show(axis, image):
    axis.imshow(image[0], cmap="gray_r", vmin=0, vmax=1)
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set(visible=True, color="lightgray")


examples = [images[labels == digit][3] for digit in range(10)]
torch.manual_seed(5)
mirrored = [random_flip(image, 1.0, generator=torch.default_generator) for image in examples]
shifted = [[shift(image) for image in examples] for _ in range(2)]
show_rows([examples, *shifted, mirrored], ["stored", "shifted", "again", "mirrored"], range(10))

# %% [markdown]
# ## With few labels: transfer
#
# Suppose there are many labels for the digits 0 to 6, and hardly any for 7, 8 and 9. Does a backbone that was trained on
# the seven help with the three? To make it worth asking, each digit lies anywhere on a sheet of 12 by 12 pixels, and
# the new ones are tried in two ways: lying anywhere, or all in the middle.


# %%
def digit_net(classes, side=8):
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),  # [batch, 32, side / 2, side / 2] -> [batch, 8 * side * side]
        nn.Dropout(0.3),
        nn.Linear(8 * side * side, 64),
        nn.ReLU(),
        nn.Linear(64, classes),
    )


def in_the_middle(image):
    return nn.functional.pad(image, (2, 2, 2, 2))


def anywhere(image):
    down, right = torch.randint(5, (2,)).tolist()
    return nn.functional.pad(image, (right, 4 - right, down, 4 - down))


# %%
# NBVAL_CHECK_OUTPUT
torch.manual_seed(0)
seven = train_part[labels[train_part] < 7]
to_train, to_validate = split_indices(len(seven), (0.8, 0.2), generator=torch.default_generator)
to_train, to_validate = seven[to_train], seven[to_validate]
pretraining = DataLoader(ImageDataset(images[to_train], labels[to_train], anywhere), 64, shuffle=True)
placed_once = torch.stack([anywhere(image) for image in images[to_validate]])  # or no two epochs could be compared
pretraining_val = DataLoader(ImageDataset(placed_once, labels[to_validate]), 64)
pretrained = digit_net(7, side=12)
optimizer = torch.optim.AdamW(pretrained.parameters(), lr=3e-3, weight_decay=0.01)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 20)
history = fit(pretrained, pretraining, pretraining_val, loss_fn, optimizer, epochs=20, scheduler=scheduler)
best = min(history, key=lambda entry: entry["val_loss"])
restored = evaluate(pretrained, pretraining_val, loss_fn, "cpu")
print("0 to 6, anywhere: more than 95 % of the validation digits are read:", restored.accuracy > 0.95)
print("the best weights are in the model:", abs(restored.loss - best["val_loss"]) < 1e-6)

# %% [markdown]
# Three ways to learn 7, 8 and 9 from the same few labels: from scratch; a new head on the frozen backbone; a new head, and
# the backbone trained along at a tenth of the head's rate. Nobody with four labels has a validation set, so each runs for
# 40 steps on all its labels at once, and the last weights count.


# %%
def scratch():
    model = digit_net(3, side=12)
    return model, torch.optim.AdamW(model.parameters(), lr=3e-3)


def new_head():
    model = copy.deepcopy(pretrained)
    freeze(model)
    replace_head(model, 3)
    return model, torch.optim.AdamW(trainable_parameters(model), lr=1e-2)


def fine_tuned():
    model = copy.deepcopy(pretrained)
    replace_head(model, 3)
    return model, torch.optim.AdamW(fine_tune_groups(model, backbone_lr=1e-3, head_lr=1e-2))


def learn_the_three(way, sheets, classes, per_class, seed):
    """The model, and its accuracy on the digits that it got no label of."""
    torch.manual_seed(seed)
    order = torch.randperm(len(classes))
    labelled = torch.cat([order[classes[order] == c][:per_class] for c in range(3)])
    unseen = torch.ones(len(classes), dtype=torch.bool).index_fill(0, labelled, False)
    model, optimizer = way()
    for _ in range(40):
        train_one_epoch(model, [(sheets[labelled], classes[labelled])], loss_fn, optimizer, "cpu")
    return model, evaluate(model, [(sheets[unseen], classes[unseen])], loss_fn, "cpu").accuracy


torch.manual_seed(0)
three = torch.cat([train_part, val_part])
three = three[labels[three] >= 7]
sheets = {place: torch.stack([place(images[i]) for i in three]) for place in (in_the_middle, anywhere)}

counts, seeds = (1, 2, 4, 8, 16), range(3)
scores = {  # percent, [counts]: the mean over the seeds
    (place, way): torch.tensor(
        [[100 * learn_the_three(way, sheets[place], labels[three] - 7, n, seed)[1] for seed in seeds] for n in counts]
    ).mean(1)
    for place in sheets
    for way in (scratch, new_head, fine_tuned)
}

# %%
# NBVAL_CHECK_OUTPUT
model, _ = learn_the_three(new_head, sheets[anywhere], labels[three] - 7, 4, 0)
before, after = pretrained.state_dict(), model.state_dict()
frozen = [after[name].equal(before[name]) for name in list(before)[:-2]]
print("numbers that train on a frozen backbone:", sum(p.numel() for p in trainable_parameters(model)))
print("of the frozen ones, BatchNorm's statistics among them, none has changed:", all(frozen))
groups = fine_tuned()[1].param_groups
print("fine-tuning, rates and numbers:", [(g["lr"], sum(p.numel() for p in g["params"])) for g in groups])
means = {case: curve.mean() for case, curve in scores.items()}  # over the counts
print("anywhere, transfer wins by 4 points or more:", bool(means[anywhere, fine_tuned] > means[anywhere, scratch] + 4))
print("in the middle it gains nothing:", bool(means[in_the_middle, fine_tuned] < means[in_the_middle, scratch] + 2))

# %%
figure, axes = plt.subplot_mosaic(
    [[f"middle {i}" for i in range(6)] + [f"anywhere {i}" for i in range(6)], ["left"] * 6 + ["right"] * 6],
    figsize=(8, 3.8),
    height_ratios=[1, 4.2],
    layout="constrained",
)
for name, place in (("middle", in_the_middle), ("anywhere", anywhere)):
    for i in range(6):
        show(axes[f"{name} {i}"], sheets[place][i])
for axis, place, title in (
    (axes["left"], in_the_middle, "7, 8 and 9 in the middle"),
    (axes["right"], anywhere, "7, 8 and 9 anywhere"),
):
    for way, colour, label in (
        (fine_tuned, "tab:blue", "fine-tuned"),
        (new_head, "tab:green", "frozen, new head"),
        (scratch, "tab:orange", "from scratch"),
    ):
        axis.plot(counts, scores[place, way], color=colour, marker="o", markersize=4, label=label)
    axis.set_xscale("log", base=2)
    axis.set(xlabel="labels per class", xticks=counts, xticklabels=counts, ylim=(30, 101), title=title)
axes["left"].set_ylabel("accuracy in %")
axes["right"].legend(frameon=False, fontsize=9)
plt.show()

# %% [markdown]
# How to read it:
#
# - Anywhere on the sheet the same digit looks different every time, and from scratch four labels bring little more than
#   the 33 % of guessing. The backbone has learned from *other* digits that the place does not matter. This transfers.
# - In the middle there is nothing of the kind to know. From scratch is as good, and the frozen features, made to tell
#   0 to 6 apart, stand in the way. Always draw the orange curve: a pretrained backbone need not be a present.
# - With very few labels it is safest to train little. The more labels, the more it pays to train everything.
#
# ## With all labels: a run that can die
#
# One epoch is `train_one_epoch` and `evaluate`, the rate is `warmup_cosine_lr`, the end is decided by `EarlyStopping`. What
# is new is that the run lives in a folder: `best.pt` for the weights with the lowest validation loss, `last.pt` to go on
# from, `log.json` for the losses. Started in a folder with a `last.pt`, `train` goes on from there. The stopper needs no
# place in the checkpoint: shown the losses of the log again, it stands where it stood.


# %%
def warmup_cosine(epochs_done):
    """The factor of the next epoch's rate. The kata's step 0 has rate 0, and an epoch with that would be wasted."""
    return warmup_cosine_lr(epochs_done + 1, base_lr=1.0, warmup_steps=3, total_steps=24, min_lr=0.05)


def train(train_loader, val_loader, folder, patience=6, epochs=60):
    """The model with the best weights, and one entry for each epoch of the run."""
    folder.mkdir(exist_ok=True)
    best_path, last_path, log_path = folder / "best.pt", folder / "last.pt", folder / "log.json"
    model = digit_net(10)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_cosine)
    stopper, log, stop = EarlyStopping(patience), [], False
    if last_path.exists():
        done = load_checkpoint(last_path, model=model, optimizer=optimizer, scheduler=scheduler)
        log = json.loads(log_path.read_text())[:done]
        for entry in log:
            stop = stopper.step(entry["val_loss"])
    while not stop and len(log) < epochs:
        rate = optimizer.param_groups[0]["lr"]
        result = train_one_epoch(model, train_loader, loss_fn, optimizer, "cpu")
        val = evaluate(model, val_loader, loss_fn, "cpu")
        scheduler.step()
        stop = stopper.step(val.loss)
        if val.loss < min((entry["val_loss"] for entry in log), default=float("inf")):
            save_checkpoint(best_path, model=model, epoch=len(log) + 1)
        log.append({"rate": rate, "train_loss": result.loss, "val_loss": val.loss, "val_accuracy": val.accuracy})
        log_path.write_text(json.dumps(log))  # before last.pt: a log that is too long is cut when it is read
        save_checkpoint(last_path, model=model, optimizer=optimizer, scheduler=scheduler, epoch=len(log))
    load_checkpoint(best_path, model=model)
    return model, log


# %%
# NBVAL_CHECK_OUTPUT
runs = Path(folder.name)
train_loader, val_loader, test_loader = split_and_load(labels, shift)
model, log = train(train_loader, val_loader, runs / "straight")

val_losses = [entry["val_loss"] for entry in log]
best_epoch = val_losses.index(min(val_losses)) + 1
print("stopped before epoch 60:", len(log) < 60)
print("epochs after the best one:", len(log) - best_epoch)
print("the best weights are back:", abs(evaluate(model, val_loader, loss_fn, "cpu").loss - min(val_losses)) < 1e-6)
print("rates of the first four epochs:", [round(entry["rate"], 6) for entry in log[:4]])

# %%
steps = range(1, len(log) + 1)
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9), width_ratios=[5, 3], layout="constrained")
left.plot(steps, [entry["train_loss"] for entry in log], color="tab:blue", label="training")
left.plot(steps, val_losses, color="tab:orange", label="validation")
left.plot(best_epoch, min(val_losses), "o", color="tab:orange", markersize=7, label=f"best: epoch {best_epoch}")
left.axvline(len(log), color="gray", linestyle=":", label=f"stopped: epoch {len(log)}")
left.set(title="loss per sample", xlabel="epoch", yscale="log", yticks=[0.03, 0.1, 0.3, 1])
left.set_yticks([], minor=True)
left.set_yticklabels(["0.03", "0.1", "0.3", "1"])
left.legend(frameon=False, fontsize=9)
right.plot(steps, [1000 * entry["rate"] for entry in log], color="tab:green", marker="o", markersize=3)
right.set(title="learning rate in thousandths", xlabel="epoch", ylim=(0, 3.2))
plt.show()

# %% [markdown]
# The training loss is the higher one, and that is no mistake: it is measured with dropout, on shifted digits, while the
# weights still move. The validation loss does not rise in the end, it lies flat; here patience saves time more than
# accuracy.
#
# ## The power cut
#
# The same run again, but in the middle of an epoch the power fails. Everything in memory is lost, half an epoch included;
# what is left is the folder. A second start finds it and goes on. The result is not nearly the same, it is the same: every
# loss and every weight, to the last bit.


# %%
class PowerCut(Exception):
    pass


class Dying:
    """A loader that gives so many batches, over all epochs, and then fails."""

    def __init__(self, loader, batches):
        self.loader, self.batches = loader, batches

    def __iter__(self):
        for batch in self.loader:
            if self.batches == 0:
                raise PowerCut
            self.batches -= 1
            yield batch


# %%
# NBVAL_CHECK_OUTPUT
train_loader, val_loader, _ = split_and_load(labels, shift)
try:
    train(Dying(train_loader, batches=160), val_loader, runs / "cut")
except PowerCut:
    print("the power fails; epochs on record:", len(json.loads((runs / "cut" / "log.json").read_text())))
print("in the folder:", sorted(path.name for path in (runs / "cut").iterdir()))

train_loader, val_loader, _ = split_and_load(labels, shift)  # as a new process would
resumed, resumed_log = train(train_loader, val_loader, runs / "cut")
weights, resumed_weights = model.state_dict(), resumed.state_dict()
print("every loss of every epoch is the same:", resumed_log == log)
print("every weight is the same:", all(weights[name].equal(resumed_weights[name]) for name in weights))

# %% [markdown]
# This needs all of it: weights, BatchNorm's statistics, Adam's moments, the schedule's position, the random state. Leave one
# out, and the resumed run is a *different* run, most often as good, so that no accuracy would tell. And seeding anew
# is not the same as restoring: the tenth epoch would see the shuffles of the first.
#
# ## The report
#
# Now, once, the test digits. Everything was decided without them.

# %%
# NBVAL_CHECK_OUTPUT
model.eval()
with torch.no_grad():
    probabilities = torch.cat([model(batch).softmax(1) for batch, _ in test_loader])
answers = probabilities.argmax(1)
truth = labels[test_part]
matrix = confusion_matrix(truth, answers, 10)
precision, recall, f1 = precision_recall_f1(matrix, "none")
right = accuracy(matrix)

hits = answers == truth
print("the rows sum to how often each digit occurs:", matrix.sum(1).equal(truth.bincount(minlength=10)))
found = torch.stack([hits[truth == digit].double().mean() for digit in range(10)])
kept = torch.stack([hits[answers == digit].double().mean() for digit in range(10)])
print("recall is the share of a digit's images that were found:", recall.allclose(found))
print("precision is the share of a digit's answers that were right:", precision.allclose(kept))
print("`evaluate` counts the same accuracy:", abs(evaluate(model, test_loader, loss_fn, "cpu").accuracy - right) < 1e-9)

# %%
print("digit  precision  recall     F1   images")
for digit in range(10):
    print(f"{digit:5}{precision[digit]:11.3f}{recall[digit]:8.3f}{f1[digit]:7.3f}{matrix[digit].sum():9}")
print("macro{:11.3f}{:8.3f}{:7.3f}{:9}".format(*precision_recall_f1(matrix, "macro"), len(truth)))
margin = 100 * (right * (1 - right) / len(truth)) ** 0.5
print(f"\naccuracy {100 * right:.1f} %, {(~hits).sum()} of {len(truth)} wrong; standard error {margin:.1f} points")

# %%
figure, axis = plt.subplots(figsize=(4.2, 4.2), layout="constrained")
errors = matrix.clone().fill_diagonal_(0)
axis.imshow(errors.double().where(errors > 0, torch.nan), cmap="Oranges", vmin=0, vmax=4)
axis.spines[:].set(visible=True, color="lightgray")
for row in range(10):
    for column in range(10):
        if count := int(matrix[row, column]):
            colour = "gray" if row == column else "black"
            axis.text(column, row, count, ha="center", va="center", color=colour, fontsize=9)
axis.set(xlabel="answer", ylabel="truth", xticks=range(10), yticks=range(10))
plt.show()

# %% [markdown]
# Coloured is what is wrong. Below are the ten digits whose true class got the least probability, mistakes among them: what
# was said, and what is true. A score gives all mistakes the same weight; your eye need not.

# %%
true_probability = probabilities.gather(1, truth[:, None]).flatten()
hardest = true_probability.argsort()[:10].tolist()
show_rows(
    [[images[test_part[i]] for i in hardest]],
    [""],
    [f"said {answers[i]}\nis {truth[i]}: {100 * true_probability[i]:.0f} %" for i in hardest],
    size=0.8,
    margin=0.05,
    top=0.42,
)

# %%
# NBVAL_CHECK_OUTPUT
print(f"promise kept, at least {100 * PROMISE:.0f} % of the test digits:", right >= PROMISE)

# %% [markdown]
# Was seed 0 lucky? Over thirty seeds, each with a split, first weights and shuffles of its own, this recipe read 98.9 % on
# average and 97.2 % at worst: the promise is one that it keeps, and not much less than it can keep. Without `shift`, over
# twelve seeds, it was 99.0 %. The test digits lie where the training digits lie, so augmentation has nothing to add
# here. Measure such things; habit is no reason.
#
# ## Four ways to a wrong number
#
# Nothing below raises an error.
#
# **Copies before the split.** 60 digits are few, so make 16 shifted copies of each, then split. Nearly every validation
# image now has siblings in training, and the model is asked what it was told. The 1737 digits that had no part in it
# tell the truth.


# %%
# NBVAL_CHECK_OUTPUT
def normaliser(dataset):
    mean, std = (value.float()[:, None, None] for value in channel_stats(dataset))
    return lambda image: (image - mean) / std


torch.manual_seed(0)
few, rest = torch.randperm(len(labels)).split([60, 1737])
copied = torch.stack([shift(image) for image in images[few] for _ in range(16)])
copies = ImageDataset(copied, labels[few].repeat_interleave(16))
leaky_train, leaky_val, _ = make_loaders(copies, (0.8, 0.2, 0.0), 64, generator=torch.default_generator)
leaky_model = digit_net(10)
fit(leaky_model, leaky_train, leaky_val, loss_fn, torch.optim.AdamW(leaky_model.parameters(), lr=3e-3), epochs=12)

claimed = evaluate(leaky_model, leaky_val, loss_fn, "cpu").accuracy
true = evaluate(leaky_model, [(normaliser(copies)(images[rest]), labels[rest])], loss_fn, "cpu").accuracy
pitfalls = {"copies made before the split": (claimed, true)}
print("validation flatters the model by more than 3 points:", claimed - true > 0.03)

# %% [markdown]
# **The same people on both sides.** The 1797 digits were written by 13 people, one after the other. A random split puts
# each of them into training *and* test, as ours did. If the model is to read strangers, split by person; here it is enough
# to split in order. The promise above is about the next digits of these 13. For strangers the same recipe gives:

# %%
in_order = torch.arange(len(labels)).split([1078, 359, 360])
normalise = normaliser(ImageDataset(images[in_order[0]], labels[in_order[0]]))
known, unknown_val, unknown = (
    DataLoader(ImageDataset(images[part], labels[part], transform), 64, shuffle=part is in_order[0])
    for part, transform in zip(in_order, [lambda image: normalise(shift(image)), normalise, normalise], strict=True)
)
torch.manual_seed(0)
by_person, _ = train(known, unknown_val, runs / "by person")
true = evaluate(by_person, unknown, loss_fn, "cpu").accuracy
pitfalls["the same people on both sides"] = right, true
print(f"digits of the 13 people {100 * right:.1f} %, of strangers {100 * true:.1f} %")

# %% [markdown]
# **No `eval()`.** Dropout goes on dropping, and BatchNorm normalises by the batch at hand. Then the answer to one image
# depends on its neighbours. Shuffled batches hide it quite well; read the test digits folder by folder, first all 0s,
# then all 1s, 16 at a time, and the batch no longer looks like the data. Worse, BatchNorm *learns* from what it is
# shown: evaluating has changed the model.

# %%
# NBVAL_CHECK_OUTPUT
test_images = torch.cat([batch for batch, _ in test_loader])
by_class = truth.argsort(stable=True)
forgetful = copy.deepcopy(model).train()
torch.manual_seed(0)
with torch.no_grad():
    said = torch.cat([forgetful(test_images[batch]).argmax(1) for batch in by_class.split(16)])
without_eval = accuracy(confusion_matrix(truth[by_class], said, 10))
pitfalls["no eval(), class by class"] = without_eval, right
print("more than 5 points lost:", without_eval < right - 0.05)
print("the model is still the same:", all(weights[name].equal(value) for name, value in forgetful.state_dict().items()))

# %% [markdown]
# **A label that is no longer true.** Half of the training images are mirrored, and keep their labels.

# %%
train_loader, val_loader, _ = split_and_load(
    labels, lambda image: random_flip(shift(image), 0.5, generator=torch.default_generator)
)
mirrored_model, _ = train(train_loader, val_loader, runs / "mirrored")
with_mirror = evaluate(mirrored_model, test_loader, loss_fn, "cpu").accuracy
pitfalls["mirrored digits in training"] = with_mirror, right
print(f"without mirroring {100 * right:.1f} %, with it {100 * with_mirror:.1f} %")

# %%
figure, axis = plt.subplots(figsize=(8, 2.3), layout="constrained")
rows = range(len(pitfalls), 0, -1)
wrongly, rightly = (100 * torch.tensor(values) for values in zip(*pitfalls.values(), strict=True))
axis.hlines(rows, torch.minimum(wrongly, rightly), torch.maximum(wrongly, rightly), color="lightgray", linewidth=3)
axis.plot(wrongly, rows, "o", color="tab:orange", markersize=8, label="with the mistake")
axis.plot(rightly, rows, "o", color="tab:blue", markersize=8, label="without")
axis.set(yticks=rows, yticklabels=pitfalls, ylim=(0.5, len(pitfalls) + 0.5), xlabel="accuracy in %")
figure.legend(frameon=False, fontsize=9, loc="outside upper center", ncols=2)
plt.show()

# %% [markdown]
# Two mistakes flatter. They are the expensive ones, since nobody looks for the reason of a good number. Two cost accuracy,
# and sooner or later somebody wonders. Each row is one run; over twelve seeds strangers came to 97.9 % and mirroring to
# 97.4 % on average, where the run as it should be has 98.9 %.
#
# ## Try it
#
# - Take `model.eval()` out of your `evaluate`. Which lines above change, and which of them would you have believed?
# - Leave the random state out of your `load_checkpoint`. Does the resumed run get any worse?
# - Give `split_and_load` another seed: the promise should stand. Which of the four mistakes still show?

# %%
folder.cleanup()
