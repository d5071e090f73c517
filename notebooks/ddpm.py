# %% [markdown]
# # From noise to a digit
#
# How does a diffusion model turn noise into an image? It learns to take a *little* noise away, and does that many times.
# Making a picture noisy is easy: a formula does it. A small network learns the way back, one step at a time, and in the
# end it starts from noise that never was a picture.
#
# The mathematics is yours. This notebook imports `q_sample`, `predict_x0`, `q_posterior`, `p_sample` and
# `p_sample_loop` from `answers/ddpm.py`, and brings the data, the network and the training.

# %%
import math

import torch
from matplotlib import pyplot as plt
from sklearn.datasets import load_digits
from torch import nn

from katas.ddpm import p_sample, p_sample_loop, predict_x0, q_posterior, q_sample

plt.rcParams.update(
    {"figure.facecolor": "white", "figure.dpi": 110, "axes.spines.top": False, "axes.spines.right": False}
)
torch.set_num_threads(1)  # layers this small are quicker on one core
_ = torch.manual_seed(0)

# %% [markdown]
# ## The data
#
# 1797 handwritten digits of 8 by 8 pixels come with scikit-learn. Pixels are scaled to [-1, 1], so that a picture is
# about as large as the noise that will replace it. Every fifth picture is held out, to ask later whether the samples
# are new or copied.

# %%
# NBVAL_CHECK_OUTPUT
digits = load_digits()
images = torch.tensor(digits.images, dtype=torch.float32) / 8 - 1
labels = torch.tensor(digits.target)
held_out = torch.arange(len(labels)) % 5 == 0
train_images, train_labels = images[~held_out], labels[~held_out]
real_images, real_labels = images[held_out], labels[held_out]

print(f"{len(train_images)} digits to train on, {len(real_images)} held out, each {tuple(images[0].shape)}")
print(f"pixels from {images.min():.0f} to {images.max():.0f}")


# %%
def show_rows(rows, names, titles=(), size=0.58, margin=1.15):
    """Rows of pictures: `rows` holds one [columns, 8, 8] tensor for each name, `titles` one word for each column."""
    width, height = margin + size * len(rows[0]), 0.22 + size * len(rows)  # inches
    figure, axes = plt.subplots(len(rows), len(rows[0]), figsize=(width, height), squeeze=False)
    figure.subplots_adjust(margin / width, 0, 1, 1 - 0.22 / height, wspace=0.12, hspace=0.12)
    for line, row, name in zip(axes, rows, names, strict=True):
        line[0].text(-0.12, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=9)
        for axis, image in zip(line, row, strict=True):
            axis.imshow(image, cmap="gray_r", vmin=-1, vmax=1)
            axis.set_axis_off()
    for axis, title in zip(axes[0], titles, strict=False):
        axis.set_title(title, fontsize=9, pad=3)
    plt.show()


# %% [markdown]
# ## Forward: a formula
#
# Each step keeps $\sqrt{1-\beta_t}$ of the picture and adds noise of variance $\beta_t$. The paper takes 1000 steps with
# $\beta$ from 0.0001 to 0.02. Small pictures need fewer: 200 steps with five times the $\beta$ end just as noisy.
#
# Nobody walks these steps. A sum of Gaussians is a Gaussian, so `q_sample` jumps to any $t$ at once,
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1-\bar\alpha_t}\,\varepsilon ,$$
#
# and the squares of the two weights sum to 1: the noise grows by what the signal loses.

# %%
# NBVAL_CHECK_OUTPUT
steps = 200
betas = torch.linspace(0.0005, 0.1, steps)
abar = (1 - betas).cumprod(0)

print("signal left after the last step is under 1 %:", bool(abar[-1].sqrt() < 0.01))
print("first step at which noise outweighs signal:", int((abar < 0.5).nonzero()[0]))

# %%
figure, axis = plt.subplots(figsize=(8, 2.5), layout="constrained")
axis.plot(abar.sqrt(), color="tab:blue")
axis.plot((1 - abar).sqrt(), color="tab:orange")
axis.text(21, 0.85, r"signal $\sqrt{\bar\alpha_t}$", color="tab:blue", ha="right", va="top")
axis.text(80, 0.85, r"noise $\sqrt{1-\bar\alpha_t}$", color="tab:orange", va="top")
axis.set(xlabel="t", xlim=(0, steps - 1), ylim=(0, 1.03), yticks=[0, 0.5, 1])
plt.show()

# %%
times = torch.tensor([0, 10, 20, 30, 45, 60, 80, 110, 150, 199])
three = real_images[real_labels == 3][:1]
noise = torch.randn(1, 8, 8)
noisy_threes = q_sample(three.expand(10, 8, 8), times, noise.expand(10, 8, 8), abar)
show_rows([noisy_threes], ["$x_t$"], [f"t = {t}" for t in times])

# %% [markdown]
# ## A denoiser
#
# The network sees $x_t$ and $t$ and says which noise is in there. Three things are worth knowing about it:
#
# - It must know $t$: the same grey smudge is a soft stroke at t = 10 and a piece of luck at t = 150. The step comes in
#   as sines and cosines of many frequencies, which a linear layer can read far better than one number.
# - It is told which digit it is looking at. `p_sample` knows nothing of labels and need not: `asked_for` binds them, and
#   what is left is a function of `(x, t)`.
# - Its last layer starts at zero. So the first guess is "no noise at all", and since the noise has variance 1, the
#   first loss must be 1. If yours is not, look at the data before you look at the network.


# %%
def time_embedding(t, features=32):
    frequencies = torch.exp(-math.log(1000) * torch.arange(features // 2) / (features // 2))
    angles = t[:, None] * frequencies  # [batch] -> [batch, features / 2]
    return torch.cat([angles.sin(), angles.cos()], 1)


class Denoiser(nn.Module):
    def __init__(self, width=144, depth=3, features=128):
        super().__init__()
        self.time = nn.Sequential(nn.Linear(32, features), nn.SiLU(), nn.Linear(features, features))
        self.digit = nn.Embedding(10, features)
        self.pixels = nn.Linear(64, width)
        self.norm = nn.LayerNorm(width)
        self.enter, self.modulate, self.leave = (
            nn.ModuleList(nn.Linear(*sizes) for _ in range(depth))
            for sizes in ((width, width), (features, 2 * width), (width, width))
        )
        self.noise = nn.Linear(width, 64)
        nn.init.zeros_(self.noise.weight)
        nn.init.zeros_(self.noise.bias)

    def forward(self, x, t, digit):
        condition = nn.functional.silu(self.time(time_embedding(t)) + self.digit(digit))  # [batch, features]
        hidden = self.pixels(x.flatten(1))  # [batch, 8, 8] -> [batch, width]
        for enter, modulate, leave in zip(self.enter, self.modulate, self.leave, strict=True):
            scale, shift = modulate(condition).chunk(2, 1)
            hidden = hidden + leave(nn.functional.silu(enter(self.norm(hidden)) * (1 + scale) + shift))
        return self.noise(hidden).view_as(x)


denoiser = Denoiser()


def asked_for(digit):
    return lambda x, t: denoiser(x, t, digit)


# %% [markdown]
# ## Training
#
# No step of the reverse process is ever run here. Each picture of a batch gets a random $t$ and random noise, `q_sample`
# mixes them, and the loss is the squared error of the guessed noise.

# %%
# NBVAL_CHECK_OUTPUT
updates, batch = 1200, 128
optimizer = torch.optim.AdamW(denoiser.parameters(), lr=2e-3, fused=True)
scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, updates)
losses = []
for _ in range(updates):
    chosen = torch.randint(len(train_images), (batch,))
    t = torch.randint(steps, (batch,))
    noise = torch.randn(batch, 8, 8)
    x_t = q_sample(train_images[chosen], t, noise, abar)
    loss = (denoiser(x_t, t, train_labels[chosen]) - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    losses.append(loss.item())

losses = torch.tensor(losses)
print(f"first loss {losses[0]:.1f}")
print("the last hundred average less than 0.13:", bool(losses[-100:].mean() < 0.13))

# %%
with torch.no_grad():  # how good is the guess at each t, on digits that the network has not seen?
    noise = torch.randn_like(real_images)
    guess_errors = []
    for step in range(steps):
        t = torch.full((len(real_images),), step)
        guess = denoiser(q_sample(real_images, t, noise, abar), t, real_labels)
        guess_errors.append((guess - noise).square().mean())

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9), layout="constrained")
left.plot(losses, color="tab:blue", alpha=0.25, linewidth=0.8)
left.plot(range(24, updates - 25), losses.unfold(0, 50, 1).mean(1), color="tab:blue")
left.set(title="loss while training", xlabel="update", yscale="log", yticks=[0.1, 0.2, 0.5, 1])
left.set_yticks([], minor=True)
left.set_yticklabels(["0.1", "0.2", "0.5", "1"])
right.plot(guess_errors, color="tab:orange")
right.set(
    title="loss of held-out digits at each t", xlabel="t", ylim=(0, 1.03), yticks=[0, 0.5, 1], xlim=(0, steps - 1)
)
plt.show()

# %% [markdown]
# How to read it:
#
# - The left curve is rough because every batch draws its own steps, and steps differ: see the right curve. Do not tune
#   anything by a single value of this loss.
# - At large $t$ the picture *is* noise, so the guess is nearly free. At small $t$ there is hardly any noise to see.
# - A low loss does not prove good samples. Training never runs `p_sample`, so a wrong sampler leaves no trace here.
#
# ## What the model believes
#
# Whoever knows the noise knows the picture: `predict_x0` solves the equation above for $x_0$. With the true noise it
# gives the picture back. With the guessed noise it gives the model's opinion, which is an average over all pictures
# that could be hidden in there. An average is blurred.
#
# Below is one digit of the held-out set. In the last row the network is told the wrong digit. As long as the picture can
# be seen, it believes its eyes; further right it believes what it is told.

# %%
# NBVAL_CHECK_OUTPUT
truth = three.expand(10, 8, 8)
noise = torch.randn(10, 8, 8)
noisy = q_sample(truth, times, noise, abar)
solved = predict_x0(noisy, times, noise, abar)
print("with the true noise the picture comes back:", bool((solved - truth).abs().max() < 0.01))

with torch.no_grad():
    told_3 = predict_x0(noisy, times, asked_for(torch.full((10,), 3))(noisy, times), abar)
    told_6 = predict_x0(noisy, times, asked_for(torch.full((10,), 6))(noisy, times), abar)

errors = (torch.stack(guess_errors) * (1 - abar) / abar).sqrt()  # of the belief: the guess's, as predict_x0 scales it
print("the belief is at least twice as wrong at t = 100 as at t = 10:", bool(errors[100] > 2 * errors[10]))

# %%
show_rows(
    [truth, noisy, told_3, told_6],
    ["truth", "$x_t$", 'belief, told "3"', 'belief, told "6"'],
    [f"t = {t}" for t in times],
)

# %% [markdown]
# At the far right the belief goes wild. `predict_x0` divides by $\sqrt{\bar\alpha_t}$, which is 0.0055 at the last step:
# the smallest error of the guess comes out 180 times as large.
#
# ## Reverse: many small steps
#
# Jumping to the belief would give a blur, or worse. The reverse process goes only a little way towards it: `q_posterior`
# says where $x_{t-1}$ lies if the belief is right. Then the model looks again. The weight that the belief gets is tiny
# at first, which is why wild beliefs do no harm, and 1 in the last step.

# %%
# NBVAL_CHECK_OUTPUT
some = torch.tensor([199, 50, 10, 1, 0])
belief_weight, _ = q_posterior(torch.ones(5, 1, 1), torch.zeros(5, 1, 1), some, betas)
for t, weight in zip(some.tolist(), belief_weight.flatten().tolist(), strict=True):
    print(f"t = {t:3}: weight of the belief {weight:.3f}")

# %% [markdown]
# `p_sample_loop` calls the network once for each step, so a wrapper round the network sees the whole film.


# %%
def film_of(digit, seed):
    """Every x_t that p_sample_loop shows to the model, and what the model then believes."""
    seen, beliefs = [], []
    model = asked_for(torch.full((1,), digit))

    def watched(x, t):
        noise = model(x, t)
        seen.append(x[0].clone())
        beliefs.append(predict_x0(x, t, noise, abar)[0])
        return noise

    result = p_sample_loop(watched, (1, 8, 8), betas, generator=torch.Generator().manual_seed(seed))
    return torch.stack([*seen, result[0]]), torch.stack([*beliefs, result[0]])


rows, names = [], []
frames = [0, 60, 100, 125, 145, 160, 175, 190, 199, 200]
for digit in (2, 5):
    seen, beliefs = film_of(digit, seed=digit)
    rows += [seen[frames], beliefs[frames]]
    names += ["$x_t$", "belief"]
show_rows(rows, names, [f"t = {steps - 1 - frame}" for frame in frames[:-1]] + ["done"])

# %% [markdown]
# The belief is a digit long before $x_t$ is. The early steps settle the layout, the late ones sharpen the strokes.
#
# ## Samples
#
# Fifty samples of every digit, ten of which are shown. No two start from the same noise. A few pixels leave [-1, 1],
# and the picture clips them.

# %%
# NBVAL_CHECK_OUTPUT
asked = torch.arange(10).repeat_interleave(50)
shape = (len(asked), 8, 8)
samples = p_sample_loop(asked_for(asked), shape, betas, generator=torch.Generator().manual_seed(1))

outside = (samples.abs() > 1.5).float().mean()
print(tuple(samples.shape), samples.dtype)
print("less than 1 % of the pixels are far outside [-1, 1]:", bool(outside < 0.01))

# %%
show_rows(samples.view(10, 50, 8, 8)[:, :10].transpose(0, 1), [""] * 10, [f'"{digit}"' for digit in range(10)])

# %% [markdown]
# ## Two choices of the sampler
#
# How much noise does a step put back? "posterior", $\tilde\beta_t$, is right if the data were a single picture; "beta",
# $\beta_t$, if they were pure noise. The truth lies between, and the paper found no difference. The plot says why: over
# 200 steps the two are one curve, and only the last few steps tell them apart.
#
# And a belief outside [-1, 1] cannot be a picture: `clip_x0` cuts it off. Here it changes little, because a wild belief
# has no weight. With fewer steps, or a bolder schedule, it can save a sample.


# %%
def sample(step, seed=1):
    """The loop again, with any function of (x, t, generator) for a step."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator)
    with torch.no_grad():
        for time in reversed(range(steps)):
            x = step(x, torch.full(shape[:1], time), generator)
    return x


model = asked_for(asked)
beta_samples = sample(lambda x, t, generator: p_sample(model, x, t, betas, variance="beta", generator=generator))
clipped_samples = sample(lambda x, t, generator: p_sample(model, x, t, betas, clip_x0=True, generator=generator))

ones = torch.ones(steps, 1, 1)
_, variance = q_posterior(ones, ones, torch.arange(steps), betas)
figure, axes = plt.subplots(1, 2, figsize=(8, 2.7), layout="constrained")
for axis, last, marker in ((axes[0], steps, ""), (axes[1], 13, "o")):
    axis.plot(betas[:last].sqrt(), color="tab:orange", marker=marker, markersize=4, label=r'"beta", $\sqrt{\beta_t}$')
    axis.plot(
        variance.flatten()[:last].sqrt(),
        color="tab:blue",
        marker=marker,
        markersize=4,
        label=r'"posterior", $\sqrt{\tilde\beta_t}$',
    )
    axis.set(xlabel="t", ylim=(0, None))
axes[0].set_title("standard deviation of a step's noise", fontsize=11)
axes[1].set_title("the same, close to the end", fontsize=11)
axes[0].legend(frameon=False, fontsize=9)
plt.show()

# %%
show_rows(
    [samples[::50], beta_samples[::50], clipped_samples[::50]],
    ['"posterior"', '"beta"', "clip_x0"],
    [f'"{digit}"' for digit in range(10)],
)

# %% [markdown]
# ## Are they any good?
#
# Numbers, each of which can be fooled alone:
#
# - **recognised**: the five nearest training digits are *all* the digit that was asked for. Of real digits about nine
#   in ten pass. A model that draws one perfect digit for ever would win.
# - **nearest**: the median distance to the nearest training digit. Held-out digits set the standard: much more is not a
#   digit, much less is a copy.
# - **closest**: the same distance for the most familiar 1 %. A median can hide a few copies.
# - **spread**: the mean distance between two pictures of the same digit. Less than the real spread, and the model
#   repeats itself.


# %%
def judge(pictures, digit):
    """recognised, nearest, closest and spread of pictures that should show these digits."""
    pictures = pictures.clamp(-1, 1).flatten(1)
    distances, neighbours = torch.cdist(pictures, train_images.flatten(1)).topk(5, largest=False)
    recognised = (train_labels[neighbours] == digit[:, None]).all(1).float().mean()
    spread = torch.stack([torch.pdist(pictures[digit == d]).mean() for d in range(10)]).mean()
    return [recognised.item(), distances[:, 0].median().item(), distances[:, 0].quantile(0.01).item(), spread.item()]


def report(verdicts):
    print(f"{'':30}recognised   nearest   closest   spread")
    for name, (recognised, nearest, closest, spread) in verdicts.items():
        print(f"{name:30}{100 * recognised:8.0f} %{nearest:10.1f}{closest:10.1f}{spread:9.1f}")


verdicts = {
    "real digits, held out": judge(real_images, real_labels),
    '"posterior"': judge(samples, asked),
    '"beta"': judge(beta_samples, asked),
    '"posterior", clip_x0': judge(clipped_samples, asked),
    "noise": judge(torch.randn(shape), asked),
}
report(verdicts)

# %%
# NBVAL_CHECK_OUTPUT
real, *sampled, noise_verdict = verdicts.values()
print("more than 80 % are recognised:", all(recognised > 0.8 for recognised, *_ in sampled))
print("nearer to digits than to noise:", all(nearest < (real[1] + noise_verdict[1]) / 2 for _, nearest, *_ in sampled))
print("no nearer to a training digit than real digits are:", all(closest > 0.7 * real[2] for *_, closest, _ in sampled))
print("the spread is between 60 % and 110 % of the real one:", all(0.6 < v[3] / real[3] < 1.1 for v in sampled))

# %% [markdown]
# The samples are digits, are new, and are a little tame: their spread is about a quarter below that of real handwriting.
# Small and briefly trained as it is, the model draws the usual hand and rarely the odd one. No look at a grid of good
# digits would have told.
#
# Are these really no copies? Below are the samples that lie nearest to a training digit, with the distance. They are
# the same digit in much the same hand, but no pixel-for-pixel twins.

# %%
distances, twins = torch.cdist(samples.clamp(-1, 1).flatten(1), train_images.flatten(1)).min(1)
closest = distances.argsort()[:10]
show_rows(
    [samples[closest], train_images[twins[closest]]],
    ["sample", "nearest\ntraining digit"],
    [f"{distance:.1f}" for distance in distances[closest]],
)

# %% [markdown]
# ## What a mistake looks like
#
# Four wrong samplers, with the same network.


# %%
def normal_like(x, generator):
    return torch.randn(x.shape, generator=generator)


def without_noise(x, t, generator):
    """The mean of the posterior, and no noise."""
    mean, _ = q_posterior(predict_x0(x, t, model(x, t), abar), x, t, betas)
    return mean


def without_root(x, t, generator):
    """The variance, where the standard deviation belongs."""
    mean, variance = q_posterior(predict_x0(x, t, model(x, t), abar), x, t, betas)
    return mean + variance * normal_like(x, generator)


def wrong_coefficient(x, t, generator):
    """The paper's form of the mean, but the guess is divided by 1 - abar, not by its square root."""
    beta, bar = betas[t][:, None, None], abar[t][:, None, None]
    mean = (x - beta / (1 - bar) * model(x, t)) / (1 - beta).sqrt()
    return mean + (t > 0)[:, None, None] * beta.sqrt() * normal_like(x, generator)


mistakes = {
    "no noise": sample(without_noise),
    "variance as\nstandard deviation": sample(without_root),
    "coefficient\nwithout its root": sample(wrong_coefficient),
    "noise at t = 0": samples + betas[0].sqrt() * torch.randn(shape),
}
show_rows([samples[::50], *(wrong[::50] for wrong in mistakes.values())], ["right", *mistakes])

# %%
wrong_verdicts = {name.replace("\n", " "): judge(wrong, asked) for name, wrong in mistakes.items()}
report({"right": verdicts['"posterior"']} | wrong_verdicts)

# %%
# NBVAL_CHECK_OUTPUT
print("without noise all is recognised:", wrong_verdicts["no noise"][0] > 0.9)
print("and the spread is less than half the right one:", wrong_verdicts["no noise"][3] < verdicts['"posterior"'][3] / 2)

# %% [markdown]
# - **No noise**: every "0" is *the* 0. It scores best of all, better than real digits, until one looks at the spread.
# - **The variance as standard deviation** is the same illness, a little milder. Recognition likes it, too.
# - **The coefficient without its root** takes off too much noise in the late steps. That ruins the calm pixels at the
#   edge, where the guess is surest. Nearly all digits are still recognised, and all are much farther from the real ones.
# - **Noise at t = 0**, the classic one, shows neither in the picture nor in the table: $\sqrt{\beta_0}$ is 0.02, on pixels
#   from -1 to 1. With a schedule that begins more boldly it would be grain on every picture.
#
# ## Try it
#
# Make the wrong turn in your own `p_sample`, and look for it here. Which of them would you have noticed without the
# right row above? Then run `pytest tests/ddpm`, which needs no eye for handwriting.
