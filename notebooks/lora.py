# %% [markdown]
# # LoRA: new classes and a new hand, in a few kilobytes
#
# A trained network is to learn something else. Training all of it costs memory while one trains, a whole new copy
# afterwards, and what it knew before. LoRA freezes it and learns a small update beside each layer. What does that
# save, and what does one lose?
#
# Two networks are adapted: a classifier that has only ever seen the digits 0 to 4 gets 5 to 9, and the diffusion model of
# `diffusion.ipynb` gets a hand that nobody in its data writes. `LoRALinear` is yours, from `answers/lora_linear.py`, and so
# are the byte counts of `answers/lora_memory.py`. The pictures need `noise_schedules`, `diffusion_training`, `ddim`
# and `classifier_free_guidance` as well.

# %%
import copy

import torch
from material.gallery import shelf, show
from material.gallery.adapters import add_lora, leaning_back
from material.gallery.digits import Judge, load
from material.gallery.measures import Look
from material.planted import planted
from matplotlib import pyplot as plt
from safetensors.torch import save
from torch import nn

from katas.classifier_free_guidance import guided_eps
from katas.ddim import ddim_sample, ddim_timesteps
from katas.diffusion_training import ddpm_loss
from katas.lora_linear import LoRALinear
from katas.lora_memory import full_finetune_bytes, lora_finetune_bytes
from katas.noise_schedules import alphas_cumprod, cosine_betas

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
)
torch.set_num_threads(1)  # layers this small are quicker on one core

# %% [markdown]
# ## A classifier that knows half of the digits

# %%
# NBVAL_CHECK_OUTPUT
learned, judges, unseen = load()
low, high = learned[learned.labels < 5], learned[learned.labels >= 5]
low_test, high_test = unseen[unseen.labels < 5], unseen[unseen.labels >= 5]


def train(model, digits, updates=300, rate=3e-3, seed=0):
    """Trains what requires a gradient, and nothing else."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    for _ in range(updates):
        chosen = torch.randint(len(digits), (64,), generator=generator)
        loss = nn.functional.cross_entropy(model(digits.images[chosen].flatten(1)), digits.labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def accuracy(model, digits):
    with torch.no_grad():
        return (model(digits.images.flatten(1)).argmax(1) == digits.labels).double().mean().item()


torch.manual_seed(0)
width = 256
base = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
train(base, low)
print("digits 0 to 4, at least 97 % right:", accuracy(base, low_test) >= 0.97)
print(f"digits 5 to 9: {accuracy(base, high_test):.0%}, as it has never seen one")

# %% [markdown]
# ## Beside the frozen layers
#
# Wrapped in your `LoRALinear`, the network answers as before: B is zero. Then it learns 5 to 9, from 500 pictures that show
# nothing else. Rivals: all weights, and the last layer alone. LoRA gets ten times the learning rate of all weights, and more updates: its
# update starts at zero and has few numbers to move, and what is right for the one is slow for the other.

# %%
# NBVAL_CHECK_OUTPUT


def with_lora(rank, alpha=None, linear=LoRALinear):
    model = copy.deepcopy(base)
    torch.manual_seed(1)
    for number in (0, 2, 4):
        model[number] = linear(model[number], rank, alpha or 2 * rank)
    return model


def trainable(model):
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def file_size(model):
    """Bytes of a safetensors file with what was trained, in half precision."""
    return len(save({name: parameter.detach().half().contiguous() for name, parameter in trainable(model).items()}))


pixels = unseen.images.flatten(1)
with torch.no_grad():
    print(
        "before training it answers as its base:", bool(torch.allclose(with_lora(4)(pixels), base(pixels), atol=1e-5))
    )
    print("and so does the base inside:", bool(torch.equal(with_lora(4)[2].base.weight, base[2].weight)))

last_layer = copy.deepcopy(base).requires_grad_(False)
last_layer[4].requires_grad_(True)
rivals = {
    "all weights": train(copy.deepcopy(base), high, rate=1e-3),
    "the last layer": train(last_layer, high, 600, rate=1e-2),
}
rivals |= {f"LoRA, rank {rank}": train(with_lora(rank), high, 600, rate=1e-2) for rank in (1, 2, 4, 16)}
sizes = {name: file_size(model) for name, model in rivals.items()}
new = {name: accuracy(model, high_test) for name, model in rivals.items()}

print("all weights learn the new digits, at least 95 %:", new["all weights"] >= 0.95)
print("LoRA of rank 4 does too, at least 88 %:", new["LoRA, rank 4"] >= 0.88)


def count(model):
    return sum(parameter.numel() for parameter in trainable(model).values())


print(
    "rank 4 takes less than a tenth of the parameters:",
    10 * count(rivals["LoRA, rank 4"]) < count(rivals["all weights"]),
)
print(
    "no LoRA has touched its base:",
    all(torch.equal(rivals[f"LoRA, rank {r}"][n].base.weight, base[n].weight) for r in (1, 4, 16) for n in (0, 2, 4)),
)

# %%
print(f"{'trained':18}parameters    bytes   5 to 9   0 to 4")
for name, model in rivals.items():
    print(f"{name:18}{count(model):10}{sizes[name]:9}{new[name]:9.0%}{accuracy(model, low_test):9.0%}")

figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
for name in rivals:
    is_lora = name.startswith("LoRA")
    axis.plot(sizes[name] / 1000, 100 * new[name], "o", color="tab:blue" if is_lora else "tab:orange")
    place = (sizes[name] / 1000, 100 * new[name])
    lower = -14 if is_lora else 7
    axis.annotate(name.removeprefix("LoRA, "), place, (0, lower), textcoords="offset points", ha="center", fontsize=9)
axis.set(xscale="log", xlabel="kB to keep for each task", ylabel="5 to 9 right, %")
axis.margins(x=0.12, y=0.3)
plt.show()

# %% [markdown]
# - A rank of 2 to 4 comes within a few per cent of everything, with about a twentieth of the bytes (LoRA and the last layer were
#   given more steps than all weights were, at rates that suit each: an illustration, no contest). Rank 1 trails, and
#   so does the last layer alone, which can only choose anew among features that were made for 0 to 4.
# - Everyone has forgotten 0 to 4, as nobody was shown one. LoRA is no cure for forgetting. But the base is still there:
#   the adapter is taken off, and 0 to 4 is back, to the last bit. Ten tasks are one base and ten small files.
#
# ## Merge, unmerge

# %%
# NBVAL_CHECK_OUTPUT
adapted = rivals["LoRA, rank 4"]
wrapped = [adapted[number] for number in (0, 2, 4)]
with torch.no_grad():
    apart = adapted(pixels)
    for layer in wrapped:
        layer.merge()
    merged = adapted(pixels)
    for layer in wrapped:
        layer.unmerge()
    again = adapted(pixels)
    silenced = copy.deepcopy(adapted)
    for number in (0, 2, 4):
        silenced[number].lora_B.zero_()
print("merged, the same answers:", bool(torch.allclose(merged, apart, atol=1e-3)))
print("unmerged, still the same:", bool(torch.allclose(again, apart, atol=1e-3)))
print("without the adapter 0 to 4 is back:", abs(accuracy(silenced, low_test) - accuracy(base, low_test)) < 0.01)

# %% [markdown]
# ## Bytes while training
#
# Your `lora_memory`, for the middle layer, at a batch of 64, and for a layer of a language model. What LoRA saves is gradients
# and optimizer states. The weights are still there, and so are most of the activations.

# %%
for label, features, batch in (("this classifier", width, 64), ("a language model", 4096, 4096)):
    full = full_finetune_bytes(features, features, batch)
    small = lora_finetune_bytes(features, features, batch, 4)
    for name, budget in (("all weights", full), ("LoRA, rank 4", small)):
        parts = ", ".join(
            f"{part} {getattr(budget, part) / 1e6:.2f}" for part in ("weights", "gradients", "optimizer", "activations")
        )
        print(f"{label}, {name}: {budget.total / 1e6:.2f} MB ({parts})")

# %%
# NBVAL_CHECK_OUTPUT
full, small = full_finetune_bytes(4096, 4096, 4096), lora_finetune_bytes(4096, 4096, 4096, 4)
print("LoRA keeps less than 1 % of the gradients:", small.gradients < 0.01 * full.gradients)
print("but all of the weights:", small.weights > full.weights)

# %% [markdown]
# ## A hand that nobody writes
#
# Forty drawings, four of each digit, that lean back. LoRA of rank 4 on the attentions of the diffusion model and on the
# layers through which its blocks hear the time: 3 888 parameters beside 117 293. It learns here, in seconds.

# %%
# NBVAL_CHECK_OUTPUT
style = leaning_back(learned)
forty = style[torch.cat([(style.labels == digit).nonzero()[:4, 0] for digit in range(10)])]
judge, judge_of_style, look_of = Judge(judges), Judge(leaning_back(judges)), Look(learned)
abar = alphas_cumprod(cosine_betas(1000, max_beta=0.1)).float()
asked = torch.arange(10).repeat_interleave(5)


def paint(painter):
    return ddim_sample(
        lambda x, t: guided_eps(painter, x, t, asked, torch.tensor(10), 2.0),
        (len(asked), 1, 8, 8),
        ddim_timesteps(1000, 10),
        abar,
        generator=torch.Generator().manual_seed(1),
    )


def slant(images):
    """Pixels to the right for each pixel up."""
    return look_of.raw(images)[:, 1].mean().item()


plain = paint(shelf.painter())
painter = shelf.painter()
torch.manual_seed(0)
layers = add_lora(painter)
unchanged = bool(torch.allclose(paint(painter), plain, atol=1e-3))
optimizer = torch.optim.AdamW([p for p in layers.parameters() if p.requires_grad], lr=5e-3)
generator = torch.Generator().manual_seed(0)
learning = {0: plain}
for update in range(1, 151):
    loss = ddpm_loss(lambda x, t: painter(x, t, forty.labels), forty.images, abar, generator=generator)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if update in (50, 100, 150):
        learning[update] = paint(painter)

print("untrained, it changes nothing:", unchanged)
print(
    "after 150 updates it has gone more than half of the way:",
    slant(learning[150]) < 0.5 * (slant(plain) + slant(style.images)),
)
print(
    "at least 85 % are the right digit, says a judge of the style:",
    judge_of_style.accuracy(learning[150], asked) >= 0.85,
)

# %%
shown = torch.arange(10) * 5 + 2
_ = show.rows(
    [forty.images[::4], *(images[shown] for images in learning.values())],
    ["some of the forty", *(f"{updates} updates" for updates in learning)],
    [f'"{digit}"' for digit in range(10)],
)
for updates, images in learning.items():
    print(f"{updates:4} updates: slant {slant(images):+.2f}, right {judge_of_style.accuracy(images, asked):.0%}")
print(f"  the style: slant {slant(style.images):+.2f}")

# %% [markdown]
# ### Turned up and down
#
# The update is linear in B: half of B is half of the style, and minus B leans the other way. Nothing is trained for it.

# %%
# NBVAL_CHECK_OUTPUT
dial = {}
for strength in (-0.5, 0.0, 0.5, 1.0, 1.3):
    model = shelf.painter()
    for layer in shelf.leaning_lora(model).values():
        with torch.no_grad():
            layer.lora_B.mul_(strength)
    dial[strength] = paint(model)
slants = [slant(images) for images in dial.values()]
print("the more of it, the farther back:", slants == sorted(slants, reverse=True))
print("at 1, at least 90 % are right:", judge_of_style.accuracy(dial[1.0], asked) >= 0.9)

# %%
_ = show.rows([images[shown] for images in dial.values()], [f"strength {strength:g}" for strength in dial])

# %% [markdown]
# ## What a mistake looks like
#
# Four named mistakes of `lora_linear`, planted in the reference: two before any training, two with the trained weights.

# %%


def leaning(mistake, trained=True):
    kata, says = planted("lora_linear", mistake)
    model = shelf.painter()
    torch.manual_seed(0)
    if trained:
        shelf.leaning_lora(model, kata=kata)
    else:
        add_lora(model, kata=kata)
    with torch.no_grad():
        return paint(model), says


mistakes = {
    "both random,\nuntrained": leaning("both random", trained=False),
    "update missing": leaning("update missing"),
    "no scaling": leaning("no scaling"),
    "scales by alpha": leaning("scales by alpha"),
}
_ = show.rows(
    [plain[shown], dial[1.0][shown], *(images[shown] for images, _ in mistakes.values())],
    ["model alone", "right", *mistakes],
    [f'"{digit}"' for digit in range(10)],
)
for name, (images, says) in mistakes.items():
    title = name.replace("\n", " ")
    print(
        f"{title}: slant {slant(images):+.2f}, right {judge_of_style.accuracy(images, asked):.0%}. {says[0].upper()}{says[1:]}."
    )

# %%
# NBVAL_CHECK_OUTPUT
print(
    "both random: fewer than half are right before it has learned anything:",
    judge_of_style.accuracy(mistakes["both random,\nuntrained"][0], asked) < 0.5,
)
print("without the update nothing leans:", abs(slant(mistakes["update missing"][0]) - slant(plain)) < 0.02)
