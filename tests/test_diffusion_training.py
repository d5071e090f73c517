"""What any right training code does. Noise and t are drawn inside the loss, so models record what they are shown."""

import copy
import math

import pytest
import torch
from torch import nn

from dojo.testing import (
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randn,
)
from katas.diffusion_training import ddpm_loss, ema_update, timestep_embedding

ABAR = torch.tensor([0.9, 0.64, 0.36, 0.1], dtype=torch.float64)
SHAPES = [(6,), (6, 6), (6, 1, 6, 6), (6, 3, 4, 5)]
HALVES = [torch.float16, torch.bfloat16]


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def data(rng, *shape, dtype=torch.float64):
    """Clean data. The global stream has the seed of `rng`: noise drawn there would equal the first draw from `rng`."""
    randn(rng, 7)
    return 3 * randn(rng, *shape, dtype=dtype)


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def no_noise(x, t):
    return torch.zeros_like(x)


def noise_in(x, t, x0):
    """The noise that made x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise."""
    a = ABAR[t].reshape(-1, *[1] * (x.dim() - 1))
    return (x - a.sqrt() * x0) / (1 - a).sqrt()


def expect_normal(draws, std, *, what, hint):
    """Mean 0 and the standard deviation, within 5.7 standard errors: a false alarm of 5e-8 at most for each."""
    draws, n = draws.double(), draws.numel()
    sentence = f"{what} should have mean 0, but have {draws.mean():.4f}"
    expect(abs(draws.mean()) <= 5.7 * std / n**0.5, sentence, hint=hint)
    sentence = f"{what} should have standard deviation {std:.4f}, but have {draws.std():.4f}"
    expect(abs(draws.std() / std - 1) <= 5.7 / (2 * n) ** 0.5, sentence, hint=hint)


class Net(nn.Module):
    """A tied weight, BatchNorm's statistics, and a buffer that is not saved."""

    def __init__(self, dtype=torch.float64):
        super().__init__()
        self.first = nn.Linear(3, 3, dtype=dtype)
        self.norm = nn.BatchNorm1d(3, dtype=dtype)
        self.last = nn.Linear(3, 3, dtype=dtype)
        self.last.weight = self.first.weight
        self.register_buffer("table", torch.zeros(2, dtype=dtype), persistent=False)

    def forward(self, x):
        return self.last(self.norm(self.first(x)))


def changed(net):
    """A copy in which every parameter and buffer is something else."""
    other = copy.deepcopy(net)
    with torch.no_grad():
        for tensor in (*other.parameters(), *other.buffers()):
            tensor += 3 if tensor.dtype == torch.int64 else torch.randn_like(tensor)
    return other


def values(net):
    return {name: tensor.detach().clone() for name, tensor in (*net.named_parameters(), *net.named_buffers())}


# Stage 1: the three pieces


@pytest.mark.stage(1)
def test_embedding_of_a_worked_example():
    """dim 4 and max_period 100: frequencies 1 and 0.1. Cosines first, then sines (Transformers interleave them)."""
    got = timestep_embedding(torch.tensor([0, 2]), 4, max_period=100)
    want = [[1, 1, 0, 0], [math.cos(2), math.cos(0.2), math.sin(2), math.sin(0.2)]]
    expect_close(
        got,
        torch.tensor(want),
        what="timestep_embedding([0, 2], dim=4, max_period=100)",
        hint="[cos, sin] side by side, not interleaved; frequencies max_period ** (-i / half) with half = dim // 2",
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.stage(1)
def test_frequencies_fall_geometrically_from_1():
    """With 8 dimensions and the default period of 10000 they are 1, 0.1, 0.01, 0.001: the slowest is not 1 / 10000. For
    t = 1 the angles are the frequencies."""
    got = timestep_embedding(torch.tensor([1]), 8)[0]
    told = timestep_embedding(torch.tensor([1]), 8, max_period=10000)[0]
    expect_equal(got, told, what="timestep_embedding([1], dim=8), beside max_period=10000,")
    expect_close(
        torch.atan2(got[4:], got[:4]),
        torch.tensor([1, 0.1, 0.01, 0.001]),
        what="the angles in timestep_embedding([1], dim=8)",
        hint="divide i by half, not by half - 1 and not by dim; max_period is 10000 unless told",
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.stage(1)
def test_model_is_shown_the_noised_data_and_trained_on_that_noise(rng):
    """With x0 known, the noise in what the model was shown is known; a model that names it has no loss at all."""
    x0 = data(rng, 6, 5)
    loss = ddpm_loss(lambda x, t: noise_in(x, t, x0), x0, ABAR)
    hint = "x_t = sqrt(abar_t) x0 + sqrt(1 - abar_t) noise; the model gets this t, the loss compares with this noise"
    expect_close(loss, torch.zeros_like(loss), what="the loss of a model that knows the noise", hint=hint)
    model, calls = recording(no_noise)
    loss = ddpm_loss(model, x0, ABAR)
    (x, t), *_ = calls
    what = "the loss of a model that predicts no noise, beside the mean square of the noise that it was shown,"
    expect_close(loss, noise_in(x, t, x0).square().mean(), what=what, hint=hint)


@pytest.mark.stage(1)
def test_loss_is_the_mean_square_over_all_elements(rng):
    """A sum over pixels, or over the batch, makes the learning rate depend on the image's size. An error of `wrong` in
    each element costs the mean of its square: no weights, no absolute value, no factor of 1/2."""
    x0, wrong = data(rng, 2, 6, 3, 2, 2)
    expect_close(
        ddpm_loss(lambda x, t: noise_in(x, t, x0) + wrong, x0, ABAR),
        wrong.square().mean(),
        what="the loss of a model that is off by known errors",
        hint="the mean over batch, channels and pixels of the squared error, every t weighted alike",
    )


@pytest.mark.stage(1)
def test_t_is_uniform_over_all_steps_for_each_element(rng):
    """The first and the last step as well, and one t for each element: 4000 draws, chi-square, false alarm 1e-6."""
    model, calls = recording(no_noise)
    ddpm_loss(model, torch.zeros(4000, 1, dtype=torch.float64), ABAR)
    t = calls[0][1]
    expect_equal([t.dtype, list(t.shape)], [torch.int64, [4000]], what="dtype and shape of t for a batch of 4000")
    hint = "torch.randint(steps, (batch,)): the end is exclusive already, and 0 is a step"
    expect_distribution(t, torch.full((4,), 0.25), what="the t that the model is shown, of 4 steps,", hint=hint)


@pytest.mark.stage(1)
def test_noise_is_standard_normal(rng):
    """Fresh for every number: one noise for the batch, or for an image, is a much easier task. 0.25 is 8 standard
    errors of an uncorrelated pair."""
    model, calls = recording(no_noise)
    x0 = torch.zeros(4, 1000, dtype=torch.float64)
    for _ in range(2):
        ddpm_loss(model, x0, ABAR)
    noise = torch.cat([noise_in(x, t, x0) for x, t in calls])
    hint = "torch.randn of the shape of x0, anew in every call"
    expect_normal(noise, 1.0, what="the noise in what the model is shown", hint=hint)
    expect(noise.std(-1).min() > 0.5, "noise should vary within an element, but hardly does", hint=hint)
    similar = torch.corrcoef(noise).triu(1).abs().max().item()
    sentence = f"noise of different elements and calls should be uncorrelated, but correlates at {similar:.2f}"
    expect(similar < 0.25, sentence, hint=hint)


@pytest.mark.stage(1)
@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_ema_approaches_the_model_by_one_minus_decay(decay):
    """From 2 towards 4: with decay 0.9 a tenth of the way, with 0 at once, with 1 never. And again from there."""
    ema, model = (nn.Linear(2, 1, dtype=torch.float64) for _ in range(2))
    for net, value in ((ema, 2.0), (model, 4.0)):
        for parameter in net.parameters():
            nn.init.constant_(parameter, value)
    for updates in (1, 2):
        ema_update(ema, model, decay)
        expect_close(
            torch.cat([ema.weight.flatten(), ema.bias]),
            torch.full((3,), 4 - 2 * decay**updates, dtype=torch.float64),
            what=f"averages that began at 2, after {updates} updates towards 4 with decay {decay}",
            hint="decay * average + (1 - decay) * parameter, written into ema's own tensors",
        )


@pytest.mark.stage(1)
def test_ema_copies_buffers(rng):
    """BatchNorm's statistics are averages already; averaging again makes them lag, and its counter is an integer."""
    ema = Net()
    model = changed(ema)
    ema_update(ema, model, 0.9)
    for name, buffer in model.named_buffers():
        expect_equal(
            dict(ema.named_buffers())[name],
            buffer,
            what=f"the buffer {name} of ema, beside model's,",
            hint="copy every buffer: float ones too, and those that state_dict leaves out (persistent=False)",
        )


# Stage 2: odd sizes, any shape, tied weights


@pytest.mark.stage(2)
@pytest.mark.parametrize("dim", [2, 3, 7, 128, 129])
def test_odd_dimensions_end_in_a_zero(dim):
    """Every width gives [batch, dim]; the extra column of an odd one holds zeros, and the others are as without it."""
    t = torch.tensor([0, 3, 40])
    got, even = timestep_embedding(t, dim), timestep_embedding(t, dim - dim % 2)
    what = f"timestep_embedding([0, 3, 40], dim={dim}), beside dim={dim - dim % 2} and a zero if odd,"
    want = torch.cat([even, torch.zeros(3, dim % 2)], 1)
    expect_close(got, want, what=what, hint="half = dim // 2; pad at the end")
    expect_close(
        (got**2).sum(1),
        torch.full((3,), float(dim // 2)),
        what=f"the squared length of embeddings of dim {dim}, a 1 for each pair of cosine and sine,",
        hint="each angle has a cosine and a sine",
    )


@pytest.mark.stage(2)
def test_embedding_of_late_steps():
    """At t = 999 a fast angle has turned 159 times. Absolute 1e-3: the angle of float32 arithmetic is known to 1e-4."""
    got = timestep_embedding(torch.tensor([999, 500]), 4, max_period=100)
    want = [[f(t * w) for f in (math.cos, math.sin) for w in (1, 0.1)] for t in (999, 500)]
    what = "timestep_embedding([999, 500], dim=4, max_period=100)"
    expect_close(got, torch.tensor(want), what=what, hint="t as it is: not scaled to [0, 1]", rtol=0.0, atol=1e-3)


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_element_is_noised_by_its_own_t(rng, shape):
    """Scalars, vectors, images, and batch == width, where a t that was not reshaped broadcasts along the wrong axis."""
    x0 = data(rng, *shape)
    model, calls = recording(lambda x, t: noise_in(x, t, x0))
    loss = ddpm_loss(model, x0, ABAR)
    expect_equal(list(calls[0][0].shape), list(shape), what="the shape of the x_t that the model is shown")
    what = f"the loss of a model that knows the noise, for a batch of shape {list(shape)},"
    hint = "reshape alphas_cumprod[t] to [batch, 1, ..., 1]"
    expect_close(loss, torch.zeros_like(loss), what=what, hint=hint)


@pytest.mark.stage(2)
def test_ema_averages_every_parameter_once():
    """A weight that two layers share is one parameter under two names: average both, and it moves twice."""
    ema = Net()
    model = changed(ema)
    before, target = values(ema), values(model)
    ema_update(ema, model, 0.9)
    for name, parameter in ema.named_parameters():
        want = 0.9 * before[name] + 0.1 * target[name]
        hint = "go through parameters(), which lists a shared weight once"
        expect_close(parameter, want, what=f"ema's {name} after an update with decay 0.9", hint=hint)


@pytest.mark.stage(2)
def test_frozen_parameters_are_averaged_like_the_others():
    """The averages themselves are usually frozen; and the model's layer that is frozen now was trained, or will be."""
    ema, model = (nn.Linear(2, 1, dtype=torch.float64) for _ in range(2))
    for net, value in ((ema, 2.0), (model, 4.0)):
        for parameter in net.parameters():
            nn.init.constant_(parameter, value)
    ema.requires_grad_(False)
    model.bias.requires_grad_(False)
    ema_update(ema, model, 0.9)
    expect_close(
        torch.cat([ema.weight.flatten(), ema.bias]),
        torch.full((3,), 2.2, dtype=torch.float64),
        what="frozen averages that began at 2, after an update towards 4 with decay 0.9",
        hint="do not ask for requires_grad: every parameter is averaged",
    )


@pytest.mark.stage(2)
def test_an_update_changes_values_and_nothing_else():
    """It runs in the middle of training: a model that is switched to eval there trains on without dropout."""
    ema = Net().eval().requires_grad_(False)
    model = changed(ema).train().requires_grad_(True)
    ema_update(ema, model, 0.9)
    expect_equal([ema.training, model.training], [False, True], what="whether ema and model are in training mode")
    for name, net, flag in (("ema", ema, False), ("model", model, True)):
        flags = {parameter.requires_grad for parameter in net.parameters()}
        expect_equal(flags, {flag}, what=f"the requires_grad of {name}'s parameters", hint="leave it as it is")


@pytest.mark.stage(2)
def test_parameters_of_integers_are_copied():
    """Quantised weights or lookup indices: there is nothing between two integers to average to."""
    ema, model = nn.Module(), nn.Module()
    for net, codes in ((ema, [1, 2]), (model, [5, 7])):
        net.codes = nn.Parameter(torch.tensor(codes), requires_grad=False)
    ema_update(ema, model, 0.9)
    hint = "average what is_floating_point(), copy the rest"
    expect_equal(
        ema.codes.detach(), torch.tensor([5, 7]), what="integers [1, 2] after an update towards [5, 7]", hint=hint
    )


@pytest.mark.stage(2)
def test_ema_is_updated_in_place_and_shares_nothing(rng):
    """What holds ema's tensors (a sampler, a captured graph) sees the update; training on changes only the model."""
    ema = Net()
    model = changed(ema)
    tensors = (*ema.parameters(), *ema.buffers())
    held = [tensor.detach() for tensor in tensors]  # detach() shares the memory
    with expect_unchanged(*model.parameters(), *model.buffers(), what="the model"):
        ema_update(ema, model, 0.5)
    same = all(a is b for a, b in zip((*ema.parameters(), *ema.buffers()), tensors, strict=True))
    expect(same, "ema should keep its parameters and buffers, but holds other objects", hint="lerp_, mul_, copy_")
    for now, then in zip(tensors, held, strict=True):
        hint = "write into the tensor (mul_, lerp_, copy_): assigning to .data puts another one in its place"
        expect_equal(then, now.detach(), what="a tensor that was taken from ema before the update", hint=hint)
    hint = "copy_ the values; do not let ema refer to the model's tensors"
    with expect_unchanged(*held, what="ema, while the model trains on,", hint=hint), torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor += 1
    expect_equal(ema.last.weight is ema.first.weight, True, what="whether ema's shared weight is still shared")


@pytest.mark.stage(2)
@pytest.mark.parametrize("dim", [1, 0, -2])
def test_a_dim_without_room_for_a_pair_is_an_error(dim):
    with expect_raises(ValueError, what=f"timestep_embedding(dim={dim})", hint="dim must be at least 2"):
        timestep_embedding(torch.tensor([0, 1]), dim)


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(), (3, 1), (1, 3)], ids=str)
def test_a_t_that_is_not_a_batch_is_an_error(shape):
    with expect_raises(ValueError, what=f"timestep_embedding of t with shape {list(shape)}", hint="t is [batch]"):
        timestep_embedding(torch.ones(shape, dtype=torch.int64), 4)


@pytest.mark.stage(2)
@pytest.mark.parametrize("decay", [-0.1, 1.1, 999.0, math.nan])
def test_a_decay_out_of_range_is_an_error(decay):
    ema = nn.Linear(2, 2)
    hint = "raise unless 0 <= decay <= 1: `decay < 0 or decay > 1` lets NaN through"
    with expect_raises(ValueError, what=f"ema_update(decay={decay})", hint=hint):
        ema_update(ema, copy.deepcopy(ema), decay)


@pytest.mark.stage(2)
@pytest.mark.parametrize("more", ["parameters", "buffers"])
def test_modules_of_different_make_are_an_error(more):
    """zip stops at the shorter one without a word: the rest of the model would never be averaged."""
    small, large = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2))
    if more == "parameters":
        large.append(nn.Linear(2, 2))
    else:
        large.register_buffer("table", torch.zeros(2))
    for ema, model in ((small, large), (large, small)):
        with expect_raises(ValueError, what=f"ema_update with more {more} on one side", hint="zip(..., strict=True)"):
            ema_update(ema, model, 0.9)


# Stage 3: dtypes, gradients, generators


@pytest.mark.stage(3)
def test_embedding_is_float32():
    """Whatever the integers: what goes into the first linear layer is float32, and t itself is still needed."""
    t = torch.arange(0, 20, 2)[::2]
    with expect_unchanged(t, what="t"):
        got = timestep_embedding(t, 6)
    expect_equal([got.dtype, list(got.shape)], [torch.float32, [5, 6]], what="dtype and shape of 5 embeddings of dim 6")


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_loss_and_x_t_have_the_dtype_of_x0(rng, dtype, schedule_dtype):
    """A float64 schedule promotes float32 images without a word, and the model then fails or crawls."""
    model, calls = recording(no_noise)
    loss = ddpm_loss(model, data(rng, 4, 3, dtype=dtype), ABAR.to(schedule_dtype))
    got = {"x_t": calls[0][0].dtype, "loss": loss.dtype, "dimensions of the loss": loss.dim()}
    what = f"what comes of {dtype} images and a {schedule_dtype} schedule"
    expect_equal(got, {"x_t": dtype, "loss": dtype, "dimensions of the loss": 0}, what=what, hint="cast to x0.dtype")


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_first_steps_survive_half_precision(rng, dtype):
    """abar_0 = 0.9999 rounds to 1 in half precision: cast the schedule first, and the first steps have no noise."""
    model, calls = recording(no_noise)
    ddpm_loss(model, torch.zeros(40, 100, dtype=dtype), numbers(0.9999))
    what = f"numbers of x_t for x0 = 0 and abar = 0.9999 in {dtype}"
    expect_normal(calls[0][0], 0.01, what=what, hint="take 1 - abar in the schedule's dtype, cast the finished weight")


@pytest.mark.stage(3)
def test_gradient_reaches_the_model(rng):
    """A model that is off by its parameter w everywhere has loss w^2 and gradient 2w; after a detach it has none."""
    x0, w = data(rng, 6, 5), nn.Parameter(numbers(3.0))
    loss = ddpm_loss(lambda x, t: noise_in(x, t, x0) + w, x0, ABAR)
    expect(loss.requires_grad, "the loss should be differentiable, but has no graph", hint="no detach, no no_grad")
    loss.backward()
    expect_close(w.grad, numbers(6.0), what="the gradient of a model that is off by w = 3 everywhere")


@pytest.mark.stage(3)
def test_loss_modifies_nothing_and_takes_any_strides(rng):
    """The next epoch needs x0 as it was. Channels-last images, every second entry of a schedule."""
    x0 = data(rng, 6, 3, 5, 5).to(memory_format=torch.channels_last)
    abar = ABAR.repeat_interleave(2)[::2]
    with expect_unchanged(x0, abar, what="every argument"):
        loss = ddpm_loss(lambda x, t: noise_in(x, t, x0), x0, abar)
    expect_close(
        loss, torch.zeros_like(loss), what="the loss of a model that knows the noise", hint="reshape, not view"
    )


@pytest.mark.stage(3)
def test_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal t and equal noise; the global stream stays where it was."""
    x0 = data(rng, 40, 3)

    def shown(generator):
        model, calls = recording(no_noise)
        ddpm_loss(model, x0, ABAR, generator=generator)
        return calls[0]

    with expect_rng_untouched(what="ddpm_loss with a generator"):
        first, again = shown(seeded(1)), shown(seeded(1))
    for what, one, other in zip(("x_t", "t"), first, again, strict=True):
        what += " with an equally seeded generator"
        expect_equal(other, one, what=what, hint="pass `generator` to randint and to randn")
    generator = seeded(1)
    shown(generator)
    draws = {"another seed": (first, shown(seeded(2))), "the next call": (first, shown(generator))}
    draws["no generator, called twice,"] = (shown(None), shown(None))
    for how, ((x, t), (y, u)) in draws.items():
        expect((x != y).any() and (t != u).any(), f"x_t and t with {how} should differ, but one of them is the same")


@pytest.mark.stage(3)
@pytest.mark.parametrize("decay", [0.9, 0.0])
def test_ema_builds_no_graph(decay):
    """A graph would grow with every step of training; and an average must neither collect a gradient nor stop being a
    parameter that one can train on."""
    ema = Net()
    model = changed(ema)
    flags = {name: parameter.requires_grad for name, parameter in ema.named_parameters()}
    ema_update(ema, model, decay)
    got = {name: parameter.requires_grad for name, parameter in ema.named_parameters()}
    expect_equal(
        got, flags, what="requires_grad of ema's parameters", hint="torch.no_grad(), not requires_grad_(False)"
    )
    clean = all(p.is_leaf and p.grad is None for net in (ema, model) for p in net.parameters())
    expect(clean, "no parameter should have a gradient or a history, but one has", hint="with torch.no_grad()")
    expect(torch.is_grad_enabled(), "gradients should be enabled again afterwards, but are off", hint="use `with`")


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32], ids=str)
def test_averages_are_kept_in_the_dtype_of_ema(dtype):
    """With decay 0.9999 a bfloat16 average never moves: its steps are below half a unit in the last place. So the
    average is float64 here while the model is narrower, and its small steps must arrive."""
    ema, model = nn.Linear(2, 2, dtype=torch.float64), nn.Linear(2, 2, dtype=dtype)
    nn.init.constant_(ema.weight, 1.0)
    nn.init.constant_(model.weight, 2.0)
    for _ in range(2):
        ema_update(ema, model, 0.9999)
    what = f"a float64 average that began at 1, after two updates towards 2 ({dtype}) with decay 0.9999"
    hint = "bring the model's parameter to the average's dtype, then average"
    expect_close(ema.weight.detach(), torch.full((2, 2), 2 - 0.9999**2).double(), what=what, hint=hint)


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_ema_works_in_half_precision(dtype):
    ema = Net(dtype)
    model = changed(ema)
    before, target = ema.first.bias.double(), model.first.bias.double()
    ema_update(ema, model, 0.5)
    expect_equal(ema.first.bias.dtype, dtype, what="the dtype of an average")
    what = f"{dtype} averages after an update with decay 0.5"
    expect_close(ema.first.bias.double(), (before + target) / 2, what=what, rtol=1e-2, atol=1e-2)  # 8 bits


# Stage 4: cost


@pytest.mark.stage(4)
def test_loss_calls_the_model_once_and_does_little_beside(rng, cost):
    """The model is all of the cost. The reference's own work moves 15x the bytes of x0; detours through float64, or row
    by row, stay under 40x; noising for all 1000 steps, of which one is picked, does not."""
    x0 = data(rng, 4, 3, 64, 64, dtype=torch.float32)
    abar = torch.linspace(0.99, 0.01, 1000)
    calls = []
    zeros = torch.zeros_like(x0)
    with cost() as spent:
        ddpm_loss(lambda x, t: calls.append(x.shape) or zeros, x0, abar)
    expect_equal([list(shape) for shape in calls], [[4, 3, 64, 64]], what="the shapes of x, call by call of the model")
    ratio = spent.bytes / x0.nbytes
    expect(ratio >= 1, f"torch operators should do the work, but they saw only {ratio:.2f}x the bytes of x0")
    sentence = (
        f"ddpm_loss should move at most 40x the bytes of x0, but moved {ratio:.0f}x: {spent.calls.most_common(5)}"
    )
    expect(ratio <= 40, sentence, hint="pick the coefficients of each element's own t first, then touch x0 once")


@pytest.mark.stage(4)
def test_update_costs_a_few_passes_over_the_parameters(cost):
    """It runs after every optimizer step, over all weights: lerp_ moves 3x their bytes, copies on the way add some."""
    ema = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])
    model = copy.deepcopy(ema)
    with cost() as spent:
        ema_update(ema, model, 0.99)
    ratio = spent.bytes / sum(parameter.nbytes for parameter in ema.parameters())
    expect(ratio >= 1, f"torch operators should do the work, but they saw only {ratio:.2f}x the parameters' bytes")
    sentence = f"ema_update should move at most 20x the bytes of the parameters, but moved {ratio:.0f}x"
    expect(ratio <= 20, sentence, hint="touch every parameter once, in place")
