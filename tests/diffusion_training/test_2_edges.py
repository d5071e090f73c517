"""Stage 2. Odd sizes, any shape, tied weights."""

import copy
import math

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged
from dojo.testing.diffusion import SHAPES, recording
from katas.diffusion_training import ddpm_loss, ema_update, timestep_embedding

from .helpers import ABAR, Net, changed, data, noise_in, values


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


def test_embedding_of_late_steps():
    """At t = 999 a fast angle has turned 159 times. Absolute 1e-3: the angle of float32 arithmetic is known to 1e-4."""
    got = timestep_embedding(torch.tensor([999, 500]), 4, max_period=100)
    want = [[f(t * w) for f in (math.cos, math.sin) for w in (1, 0.1)] for t in (999, 500)]
    what = "timestep_embedding([999, 500], dim=4, max_period=100)"
    expect_close(got, torch.tensor(want), what=what, hint="t as it is: not scaled to [0, 1]", rtol=0.0, atol=1e-3)


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


def test_an_update_changes_values_and_nothing_else():
    """It runs in the middle of training: a model that is switched to eval there trains on without dropout."""
    ema = Net().eval().requires_grad_(False)
    model = changed(ema).train().requires_grad_(True)
    ema_update(ema, model, 0.9)
    expect_equal([ema.training, model.training], [False, True], what="whether ema and model are in training mode")
    for name, net, flag in (("ema", ema, False), ("model", model, True)):
        flags = {parameter.requires_grad for parameter in net.parameters()}
        expect_equal(flags, {flag}, what=f"the requires_grad of {name}'s parameters", hint="leave it as it is")


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


@pytest.mark.parametrize("dim", [1, 0, -2])
def test_a_dim_without_room_for_a_pair_is_an_error(dim):
    with expect_raises(ValueError, what=f"timestep_embedding(dim={dim})", hint="dim must be at least 2"):
        timestep_embedding(torch.tensor([0, 1]), dim)


@pytest.mark.parametrize("shape", [(), (3, 1), (1, 3)], ids=str)
def test_a_t_that_is_not_a_batch_is_an_error(shape):
    with expect_raises(ValueError, what=f"timestep_embedding of t with shape {list(shape)}", hint="t is [batch]"):
        timestep_embedding(torch.ones(shape, dtype=torch.int64), 4)


@pytest.mark.parametrize("decay", [-0.1, 1.1, 999.0, math.nan])
def test_a_decay_out_of_range_is_an_error(decay):
    ema = nn.Linear(2, 2)
    hint = "raise unless 0 <= decay <= 1: `decay < 0 or decay > 1` lets NaN through"
    with expect_raises(ValueError, what=f"ema_update(decay={decay})", hint=hint):
        ema_update(ema, copy.deepcopy(ema), decay)


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
