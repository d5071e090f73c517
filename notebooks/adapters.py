# %% [markdown]
# # Adapters: a frozen model learns to follow strokes and to imitate a hand
#
# The model of `diffusion.ipynb` draws the digit that it is told. Now it is frozen, for good, and two small things are
# hung on it: a ControlNet that reads a line drawing, and an IP-Adapter that reads how a digit is written.
#
# The blocks are yours. This notebook imports `controlnet_unet` and `ip_adapter`, and from earlier katas
# `noise_schedules`, `diffusion_training`, `ddim` and `classifier_free_guidance`. The weights in `material/gallery/` were
# trained with the reference, and are loaded into the classes that *you* have written: names and shapes are part of
# the specification.

# %%
import torch
from material.gallery import shelf, show
from material.gallery.adapters import Request, add_controlnet
from material.gallery.digits import Judge, load
from material.gallery.measures import Look, strokes, structure
from material.planted import planted
from matplotlib import pyplot as plt

from katas.classifier_free_guidance import drop_condition, guided_eps
from katas.controlnet_unet import MultiControlNet
from katas.ddim import ddim_sample, ddim_timesteps
from katas.diffusion_training import ddpm_loss
from katas.noise_schedules import alphas_cumprod, cosine_betas

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
)
torch.set_num_threads(1)  # layers this small are quicker on one core

# %%
# NBVAL_CHECK_OUTPUT
learned, judges, unseen = load()
judge, look_of = Judge(judges), Look(learned)
abar = alphas_cumprod(cosine_betas(1000, max_beta=0.1)).float()
timesteps = ddim_timesteps(1000, 10)
wanted = unseen[torch.cat([(unseen.labels == digit).nonzero()[:10, 0] for digit in range(10)])]
drawings = strokes(wanted.images)
painter = shelf.painter()


def paint(request, guidance=2.0, seed=1):
    return ddim_sample(
        lambda x, t: guided_eps(request, x, t, request.conditions, request.null, guidance),
        (len(request.conditions), 1, 8, 8),
        timesteps,
        abar,
        generator=torch.Generator().manual_seed(seed),
    )


plain = paint(Request(painter, wanted.labels))
print("told the digit alone, at least 95 % are it:", judge.accuracy(plain, wanted.labels) >= 0.95)
print("and their strokes lie elsewhere:", bool(structure(plain, drawings).mean() < 0.8))

# %% [markdown]
# ## ControlNet: at first, nothing
#
# A trainable copy of the encoder reads the drawing, and its outputs are added to the skips of the frozen U-Net. They pass
# through convolutions of zeros, so an untrained ControlNet leaves every picture as it was, to the last bit. How can zeros learn?
# The gradient of a weight needs an *input* that is not zero, the gradient of an input a *weight* that is not.

# %%
# NBVAL_CHECK_OUTPUT
net = add_controlnet(painter)
request = Request(painter, wanted.labels, drawing=drawings, controlnet=net)
print("untrained, it changes nothing:", bool(torch.equal(paint(request), plain)))
print(
    "the U-Net is frozen, the ControlNet is not:",
    not any(p.requires_grad for p in painter.parameters()),
    all(p.requires_grad for p in net.parameters()),
)

groups = ("zero_convs", "zero_mid", "mid", "down", "conv_in", "time", "hint.zero", "hint.read")
optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
generator = torch.Generator().manual_seed(0)


def update():
    """One step of training on 64 random digits; says in which parts of the ControlNet a gradient arrived."""
    batch = learned[torch.randint(len(learned), (64,), generator=generator)]
    asked = Request(painter, batch.labels, drawing=strokes(batch.images), controlnet=net)
    conditions = drop_condition(asked.conditions, asked.null, 0.15, generator=generator)
    optimizer.zero_grad()
    ddpm_loss(lambda x, t: asked(x, t, conditions), batch.images, abar, generator=generator).backward()
    reached = [
        any(p.grad is not None and bool(p.grad.any()) for p in net.get_submodule(group).parameters())
        for group in groups
    ]
    optimizer.step()
    return reached


reached = [update() for _ in range(3)]
for group, *at in zip(groups, *reached, strict=True):
    print(f"{group:12}", *("learns" if moved else "  -   " for moved in at))

# %% [markdown]
# The zero convolutions move first, since what comes into them is not zero. Then the copy learns, and the last layer of
# the hint, which is zero as well. The layer before that has to wait until the third step. (At exactly zero the first
# step has no gradient for anything else: that is the promise that nothing is spoiled.)
#
# Sixty updates in all, which takes seconds. This is *your* ControlNet, learning.

# %%
# NBVAL_CHECK_OUTPUT
followed = {0: structure(plain, drawings).mean().item()}
done = 3
for milestone in (20, 40, 60):
    while done < milestone:
        update()
        done += 1
    painted = paint(request)
    followed[milestone] = structure(painted, drawings).mean().item()
print("after 60 updates the strokes are followed better than at the start:", followed[60] > followed[0] + 0.05)
print("and the digit is still right, at least 9 times in 10:", judge.accuracy(painted, wanted.labels) >= 0.9)

# %%
print(*(f"{updates:4} updates: {value:.2f}" for updates, value in followed.items()), sep="\n")

# %% [markdown]
# ## Trained, and turned down
#
# After 300 updates it is done. The **scale** multiplies what is added, without training again.

# %%
net = shelf.controlnet(painter)
scales = [0.0, 0.25, 0.5, 1.0, 1.5]
controlled = {
    scale: paint(Request(painter, wanted.labels, drawing=drawings, controlnet=net, control_scale=scale))
    for scale in scales
}
shown = torch.tensor([3, 12, 24, 35, 46, 53, 68, 71, 87, 94])
_ = show.rows(
    [wanted.images[shown], drawings[shown], *(controlled[scale][shown] for scale in (0.0, 0.25, 0.5, 1.0, 1.5))],
    ["never seen", "its strokes", *(f"scale {scale:g}" for scale in (0.0, 0.25, 0.5, 1.0, 1.5))],
    [f'"{digit}"' for digit in wanted.labels[shown].tolist()],
)

# %%
# NBVAL_CHECK_OUTPUT
kept = [structure(images, drawings).mean().item() for images in controlled.values()]
right = [judge.accuracy(images, wanted.labels) for images in controlled.values()]
print("scale 0 is the model alone:", bool(torch.allclose(controlled[0.0], plain, atol=1e-4)))
print("scale 0.5 follows 85 % of the strokes, 1 follows 95 %:", kept[2] > 0.85, kept[3] > 0.95)
print("at least 95 % show the right digit, up to scale 1:", all(share >= 0.95 for share in right[:4]))

both = MultiControlNet([net, net])
t = torch.full((10,), 400)
x = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    halves, half_mid = both(x, t, [drawings[:10], drawings[:10]], [0.5, 0.5])
    whole, whole_mid = net(x, t, drawings[:10])
same = [torch.allclose(a, b, atol=1e-4) for a, b in zip([*halves, half_mid], [*whole, whole_mid], strict=True)]
print("two ControlNets at scale 0.5 are one at scale 1:", all(same))

# %% [markdown]
# ## IP-Adapter: a look
#
# A reference picture becomes an embedding, here four numbers: ink, slant, width and softness, counted from what is usual
# for its digit. A linear layer makes two tokens of it, and each attention of the model reads them by keys and values of
# their own, beside the prompt. Only these layers train: 4 288 parameters, one in 27 of the model.
#
# Every digit is asked in the look of a reference that shows, nearly always, *another* digit.

# %%
# NBVAL_CHECK_OUTPUT
order = torch.randperm(len(wanted), generator=torch.Generator().manual_seed(4))
references = wanted[order]
looks = look_of(references.images, references.labels)
imitator = shelf.painter()  # its attentions will be yours
adapter = shelf.look_adapter(imitator)
asked = Request(imitator, wanted.labels, look=looks, adapter=adapter)


def correlations(images):
    """Of the look of each picture with that of its reference, for each of the four measures."""
    got = look_of(images, wanted.labels)
    return torch.stack([torch.corrcoef(pair)[0, 1] for pair in torch.stack([got.T, looks.T], 1)])


imitated = {}
for scale in (0.0, 0.5, 1.0, 1.5, 2.0):
    adapter.scale(scale)
    imitated[scale] = paint(asked)
agreement = {scale: correlations(images) for scale, images in imitated.items()}
adapter.scale(1.0)

print("scale 0 is the model alone:", bool(torch.allclose(imitated[0.0], plain, atol=1e-3)))
print("without the adapter looks agree by chance only:", bool(agreement[0.0].mean().abs() < 0.25))
print("with it, by more than 0.5:", bool(agreement[1.0].mean() > 0.5))
print("the digit is still right, at least 95 times in 100:", judge.accuracy(imitated[1.0], wanted.labels) >= 0.95)

# %%
print(f"{'scale':8}right     ink   slant   width   softness")
for scale, images in imitated.items():
    print(
        f"{scale:<6g}{judge.accuracy(images, wanted.labels):7.0%}",
        *(f"{value:7.2f}" for value in agreement[scale].tolist()),
    )
_ = show.rows(
    [references.images[shown], imitated[0.0][shown], imitated[0.5][shown], imitated[1.0][shown], imitated[1.5][shown]],
    ["reference", "scale 0", "scale 0.5", "scale 1", "scale 1.5"],
    [f'"{digit}"' for digit in wanted.labels[shown].tolist()],
)

# %% [markdown]
# The embedding need not come from a picture. One number after the other, from two standard deviations below what is usual to two above,
# with the same noise:

# %%
sweep = torch.linspace(-2, 2, 9)
rows, names = [], []
for number, (name, digit) in enumerate(zip(("ink", "slant", "width", "softness"), (3, 7, 0, 2), strict=True)):
    look = torch.zeros(9, 4)
    look[:, number] = sweep
    one_noise = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(6))
    swept = Request(imitator, torch.full((9,), digit), look=look, adapter=adapter)
    x = one_noise.repeat(9, 1, 1, 1)
    with torch.no_grad():
        for t, t_prev in zip(timesteps, [*timesteps[1:], -1], strict=True):
            eps = guided_eps(swept, x, torch.full((9,), t), swept.conditions, swept.null, 2.0)
            after = abar[t_prev] if t_prev >= 0 else torch.tensor(1.0)
            x = after.sqrt() * (x - (1 - abar[t]).sqrt() * eps) / abar[t].sqrt() + (1 - after).sqrt() * eps
    rows.append(x)
    names.append(name)
_ = show.rows(rows, names, [f"{value:+.1f}" for value in sweep.tolist()])

# %%
# NBVAL_CHECK_OUTPUT
spans = [
    look_of(x, torch.full((9,), digit))[:, number]
    for number, (x, digit) in enumerate(zip(rows, (3, 7, 0, 2), strict=True))
]
for name, span in zip(names, spans, strict=True):
    print(f"{name} asked from -2 to +2 grows by more than 1:", bool(span[-1] - span[0] > 1))

# %% [markdown]
# ## Both
#
# They meet in different places, so they add up: strokes of one digit, look of another.

# %%
# NBVAL_CHECK_OUTPUT
net_for_imitator = shelf.controlnet(imitator)
together = paint(
    Request(imitator, wanted.labels, drawing=drawings, controlnet=net_for_imitator, look=looks, adapter=adapter)
)
print("strokes followed:", bool(structure(together, drawings).mean() > 0.85))
print("and the look, by more than 0.3:", bool(correlations(together).mean() > 0.3))

# %%
_ = show.rows(
    [drawings[shown], references.images[shown], together[shown]], ["strokes", "reference", "both"], margin=1.1
)

# %% [markdown]
# ## What a mistake looks like
#
# Four named mistakes of the two katas, planted in the reference. The first is seen before any training, the others with the
# trained weights loaded into them.


# %%
def with_controlnet(mistake, trained=True):
    kata, says = planted("controlnet_unet", mistake)
    model = shelf.painter()
    torch.manual_seed(0)
    wrong = shelf.controlnet(model, kata=kata) if trained else add_controlnet(model, kata)
    return paint(Request(model, wanted.labels, drawing=drawings, controlnet=wrong)), says


def with_adapter(mistake):
    kata, says = planted("ip_adapter", mistake)
    model = shelf.painter()
    wrong = shelf.look_adapter(model, kata=kata)
    return paint(Request(model, wanted.labels, look=looks, adapter=wrong)), says


mistakes = {
    "untrained,\nweight not zero": with_controlnet("the weight is not zeroed", trained=False),
    "hint in the\nfirst skip only": with_controlnet("hint in the first skip only"),
    "one joint\nsoftmax": with_adapter("one joint softmax"),
    "keys of\nthe text": with_adapter("keys of the text"),
}
_ = show.rows(
    [plain[shown], controlled[1.0][shown], imitated[1.0][shown], *(images[shown] for images, _ in mistakes.values())],
    ["model alone", "right\nControlNet", "right\nIP-Adapter", *mistakes],
    [f'"{digit}"' for digit in wanted.labels[shown].tolist()],
)
for name, (images, says) in mistakes.items():
    figures = f"right {judge.accuracy(images, wanted.labels):.0%}, strokes {structure(images, drawings).mean():.2f}, look {correlations(images).mean():.2f}"
    print(f"{name.replace(chr(10), ' ')}: {figures}. {says[0].upper()}{says[1:]}.")

# %%
# NBVAL_CHECK_OUTPUT
wrong = {name.replace("\n", " "): images for name, (images, _) in mistakes.items()}
print(
    "a hint in the first skip alone follows the strokes worse:",
    bool(structure(wrong["hint in the first skip only"], drawings).mean() < kept[3] - 0.02),
)
print("one joint softmax loses look:", bool(correlations(wrong["one joint softmax"]).mean() < agreement[1.0].mean()))
