"""Stage 1. The three pieces."""

import math

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_close, expect_distribution, expect_equal
from dojo.testing.diffusion import expect_normal, no_noise, recording
from katas.diffusion_training import ddpm_loss, ema_update, timestep_embedding

from .helpers import ABAR, Net, changed, data, noise_in


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


def test_t_is_uniform_over_all_steps_for_each_element(rng):
    """The first and the last step as well, and one t for each element: 4000 draws, chi-square, false alarm 1e-6."""
    model, calls = recording(no_noise)
    ddpm_loss(model, torch.zeros(4000, 1, dtype=torch.float64), ABAR)
    t = calls[0][1]
    expect_equal([t.dtype, list(t.shape)], [torch.int64, [4000]], what="dtype and shape of t for a batch of 4000")
    hint = "torch.randint(steps, (batch,)): the end is exclusive already, and 0 is a step"
    expect_distribution(t, torch.full((4,), 0.25), what="the t that the model is shown, of 4 steps,", hint=hint)


def test_noise_is_standard_normal(rng):
    """Fresh for every number: one noise for the batch, or for an image, is a much easier task. 0.25 is 8 standard
    errors of an uncorrelated pair."""
    model, calls = recording(no_noise)
    x0 = torch.zeros(4, 1000, dtype=torch.float64)
    for _ in range(2):
        ddpm_loss(model, x0, ABAR)
    noise = torch.cat([noise_in(x, t, x0) for x, t in calls])
    hint = "torch.randn of the shape of x0, anew in every call"
    expect_normal(noise, 0.0, 1.0, what="the noise in what the model is shown", hint=hint)
    expect(noise.std(-1).min() > 0.5, "noise should vary within an element, but hardly does", hint=hint)
    similar = torch.corrcoef(noise).triu(1).abs().max().item()
    sentence = f"noise of different elements and calls should be uncorrelated, but correlates at {similar:.2f}"
    expect(similar < 0.25, sentence, hint=hint)


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
