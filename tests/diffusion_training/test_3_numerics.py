"""Stage 3. Dtypes, gradients, generators."""

import pytest
import torch
from torch import nn

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect,
    expect_close,
    expect_equal,
    expect_seeded,
    expect_unchanged,
    numbers,
)
from dojo.testing.diffusion import expect_normal, no_noise, recording
from katas.diffusion_training import ddpm_loss, ema_update, timestep_embedding

from .helpers import ABAR, Net, changed, data, noise_in


def test_embedding_is_float32():
    """Whatever the integers: what goes into the first linear layer is float32, and t itself is still needed."""
    t = torch.arange(0, 20, 2)[::2]
    with expect_unchanged(t, what="t"):
        got = timestep_embedding(t, 6)
    expect_equal([got.dtype, list(got.shape)], [torch.float32, [5, 6]], what="dtype and shape of 5 embeddings of dim 6")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_loss_and_x_t_have_the_dtype_of_x0(rng, dtype, schedule_dtype):
    """A float64 schedule promotes float32 images without a word, and the model then fails or crawls."""
    model, calls = recording(no_noise)
    loss = ddpm_loss(model, data(rng, 4, 3, dtype=dtype), ABAR.to(schedule_dtype))
    got = {"x_t": calls[0][0].dtype, "loss": loss.dtype, "dimensions of the loss": loss.dim()}
    what = f"what comes of {dtype} images and a {schedule_dtype} schedule"
    expect_equal(got, {"x_t": dtype, "loss": dtype, "dimensions of the loss": 0}, what=what, hint="cast to x0.dtype")


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_first_steps_survive_half_precision(rng, dtype):
    """abar_0 = 0.9999 rounds to 1 in half precision: cast the schedule first, and the first steps have no noise."""
    model, calls = recording(no_noise)
    ddpm_loss(model, torch.zeros(40, 100, dtype=dtype), numbers(0.9999))
    what = f"numbers of x_t for x0 = 0 and abar = 0.9999 in {dtype}"
    expect_normal(
        calls[0][0], 0.0, 0.01, what=what, hint="take 1 - abar in the schedule's dtype, cast the finished weight"
    )


def test_gradient_reaches_the_model(rng):
    """A model that is off by its parameter w everywhere has loss w^2 and gradient 2w; after a detach it has none."""
    x0, w = data(rng, 6, 5), nn.Parameter(numbers(3.0))
    loss = ddpm_loss(lambda x, t: noise_in(x, t, x0) + w, x0, ABAR)
    backward(loss, what="the loss")
    expect_close(w.grad, numbers(6.0), what="the gradient of a model that is off by w = 3 everywhere")


def test_loss_modifies_nothing_and_takes_any_strides(rng):
    """The next epoch needs x0 as it was. Channels-last images, every second entry of a schedule."""
    x0 = data(rng, 6, 3, 5, 5).to(memory_format=torch.channels_last)
    abar = ABAR.repeat_interleave(2)[::2]
    with expect_unchanged(x0, abar, what="every argument"):
        loss = ddpm_loss(lambda x, t: noise_in(x, t, x0), x0, abar)
    expect_close(
        loss, torch.zeros_like(loss), what="the loss of a model that knows the noise", hint="reshape, not view"
    )


def test_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal t and equal noise; the global stream stays where it was."""
    x0 = data(rng, 40, 3)

    def shown(generator):
        model, calls = recording(no_noise)
        ddpm_loss(model, x0, ABAR, generator=generator)
        return dict(zip(("x_t", "t"), calls[0], strict=True))

    expect_seeded(shown, what="ddpm_loss", hint="pass `generator` to randint and to randn")


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


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_ema_works_in_half_precision(dtype):
    ema = Net(dtype)
    model = changed(ema)
    before, target = ema.first.bias.double(), model.first.bias.double()
    ema_update(ema, model, 0.5)
    expect_equal(ema.first.bias.dtype, dtype, what="the dtype of an average")
    what = f"{dtype} averages after an update with decay 0.5"
    expect_close(ema.first.bias.double(), (before + target) / 2, what=what, rtol=1e-2, atol=1e-2)  # 8 bits
