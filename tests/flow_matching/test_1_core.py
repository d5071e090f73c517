"""Stage 1. The line and its slope, the loss, the Euler sampler."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_distribution, expect_equal, numbers, randn
from dojo.testing.diffusion import expect_normal, recording
from katas.flow_matching import flow_loss, sample, sample_times, velocity_to_noise, velocity_to_x0

from .helpers import DIRECTION, expect_times, flow_of, line, noise_in, zeros

LOSS = "x_t and the velocity are those of one x0, one noise and one t; the model is asked for noise - x0"
STEP = "x + (t_next - t) v(x, t): the velocity at the beginning of the step, and a negative difference of times"


def test_a_quarter_of_the_way():
    """From the data 2 to the noise 6, a quarter of the way is 3, and the slope is 4."""
    x_t, velocity = line(numbers(2), numbers(6), numbers(0.25))
    expect_close(x_t, numbers(3), what="x_t of interpolate(x0=2, noise=6, t=0.25)", hint=DIRECTION)
    expect_close(velocity, numbers(4), what="the velocity of interpolate(x0=2, noise=6, t=0.25)", hint=DIRECTION)


def test_the_line_begins_at_the_data_and_ends_at_the_noise(rng):
    x0, noise = randn(rng, 2, 4)
    for time, end, name in ((0.0, x0, "x0"), (1.0, noise, "the noise")):
        x_t, _ = line(x0, noise, torch.full((4,), time).double())
        expect_close(x_t, end, what=f"x_t at t = {time:g}, which is {name},", hint=DIRECTION)


def test_the_velocity_is_the_slope_of_the_line(rng):
    """Between any two times x_t moves by their difference times the velocity, which is the same all along."""
    x0, noise = randn(rng, 2, 4)
    early, late = numbers(0.1, 0.2, 0.6, 0.0), numbers(0.9, 0.3, 1.0, 0.5)
    (start, velocity), (end, same) = line(x0, noise, early), line(x0, noise, late)
    what = "the velocity, beside the difference of two x_t divided by that of their times,"
    expect_close(velocity, (end - start) / (late - early), what=what, hint=DIRECTION)
    expect_close(same, velocity, what="the velocity at another time", hint="it does not depend on t")


def test_the_ends_of_a_line_with_a_known_slope():
    """Through 3 at t = 0.25 with slope 4: a quarter back is 2, three quarters on is 6."""
    given, what = (numbers(3), numbers(4), numbers(0.25)), "(x_t=3, v=4, t=0.25)"
    expect_close(velocity_to_x0(*given), numbers(2), what=f"velocity_to_x0{what}", hint="go back by t times the slope")
    hint = "what is left of the way to t = 1, times the slope"
    expect_close(velocity_to_noise(*given), numbers(6), what=f"velocity_to_noise{what}", hint=hint)


def test_the_ends_are_recovered_from_the_velocity(rng):
    """At every time, the very ends included: nothing is divided by t or by 1 - t."""
    x0, noise = randn(rng, 2, 5)
    t = numbers(0.0, 0.3, 0.5, 0.9, 1.0)
    x_t, velocity = line(x0, noise, t)
    what = f"of the x_t and the velocity that interpolate gave at t = {t.tolist()}"
    expect_close(velocity_to_x0(x_t, velocity, t), x0, what=f"velocity_to_x0 {what}", hint="x_t minus t times v")
    hint = "x_t plus (1 - t) times v"
    expect_close(velocity_to_noise(x_t, velocity, t), noise, what=f"velocity_to_noise {what}", hint=hint)


def test_uniform_times():
    """4000 draws in 8 equal parts of [0, 1], chi-square, false alarm 1e-6. Uniform unless told otherwise."""
    for given in ({}, {"density": "uniform"}):
        t, what = sample_times(4000, **given), f"sample_times(4000{', density=uniform' if given else ''})"
        expect_equal([*t.shape, t.dtype], [4000, torch.float32], what=f"the shape and the dtype of {what}")
        eighths = (8 * t).floor().where(t < 1, 7 * t).long()
        hint = "torch.rand, one number for each element of the batch"
        expect_distribution(eighths, torch.full((8,), 0.125), what=f"the eighths of {what}", hint=hint)
        different = len(t.unique())
        expect(different > 3000, f"{what} should hardly repeat a number, but has {different} different ones", hint=hint)


def test_the_model_is_asked_for_the_velocity_of_what_it_is_shown(rng):
    """With x0 known, the noise in what the model is shown is known; a model that names noise - x0 has no loss at all."""
    x0 = 3 * randn(rng, 6, 5)
    loss = flow_loss(lambda x, t: noise_in(x, t, x0) - x0, x0)
    expect_close(loss, torch.zeros_like(loss), what="the loss of a model that knows the velocity", hint=LOSS)
    model, calls = recording(zeros)
    loss = flow_loss(model, x0)
    (x, t), *_ = calls
    expect_equal(list(t.shape), [6], what="the shape of the t that the model is given, for a batch of 6")
    what = "the loss of a model that predicts 0, beside the mean square of the velocity in what it was shown,"
    expect_close(loss, (noise_in(x, t, x0) - x0).square().mean(), what=what, hint=LOSS)


def test_the_loss_is_the_mean_square_over_all_elements(rng):
    """A sum over pixels, or over the batch, makes the learning rate depend on the size of the images."""
    x0, wrong = randn(rng, 2, 4, 3, 2, 2)
    expect_close(
        flow_loss(lambda x, t: noise_in(x, t, x0) - x0 + wrong, x0),
        wrong.square().mean(),
        what="the loss of a model that is off by known errors",
        hint="the mean over batch, channels and pixels of the squared error, every t weighted alike",
    )


def test_every_element_has_a_time_of_its_own():
    """Uniform for a batch of 4000, as in sample_times: what the model is given, in 8 equal parts."""
    model, calls = recording(zeros)
    flow_loss(model, torch.zeros(4000, 1).double())
    t = calls[0][1]
    expect(t.is_floating_point(), f"the t that the model is given should be a float in [0, 1], but is {t.dtype}")
    hint = "sample_times(len(x0), density=density, ...), handed to the model as it is: not times 1000"
    eighths = (8 * t).floor().where(t != 1, 7).long()
    expect_distribution(
        eighths, torch.full((8,), 0.125), what="the eighths of the t that the model is given", hint=hint
    )


def test_the_noise_is_standard_normal():
    """Fresh for every number: one noise for the batch, or for an image, is a much easier task. 0.25 is 8 standard
    errors of an uncorrelated pair. The data are 0, so that x_t is t times the noise."""
    model, calls = recording(zeros)
    x0 = torch.zeros(4, 1000).double()
    for _ in range(2):
        flow_loss(model, x0)
    noise, hint = torch.cat([x / t[:, None] for x, t in calls]), "torch.randn of the shape of x0, anew in every call"
    expect_normal(noise, 0.0, 1.0, what="the noise in what the model is shown", hint=hint)
    expect(noise.std(-1).min() > 0.5, "noise should vary within an element, but hardly does", hint=hint)
    similar = torch.corrcoef(noise).triu(1).abs().max().item()
    sentence = f"noise of different elements and calls should be uncorrelated, but correlates at {similar:.2f}"
    expect(similar < 0.25, sentence, hint=hint)


def test_euler_asks_once_a_step_from_t_1_on(rng):
    """4 steps begin at 1, 0.75, 0.5 and 0.25. Nobody asks at 0, where the last one ends."""
    model, calls = recording(zeros)
    noise = randn(rng, 3, 2)
    sample(model, noise, 4)
    hint = "linspace(1, 0, steps + 1) has steps + 1 times and steps intervals; t is not scaled"
    expect_times(calls, [1, 0.75, 0.5, 0.25], what="sample with steps=4", hint=hint)
    expect_close(calls[0][0], noise, what="the x of the model's first call", hint="begin at the noise that is given")


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_constant_velocity_is_followed_from_1_to_0(rng, steps):
    """All the way is a time of -1, however many steps it is cut into: the end is noise - v."""
    noise, v = randn(rng, 2, 3, 2)
    model, calls = recording(lambda x, t: v)
    got = sample(model, noise, steps)
    hint = "dt = t_next - t is negative, and the last step ends at 0"
    expect_close(got, noise - v, what=f"the end of {steps} steps with the constant velocity v", hint=hint)
    shown, done = torch.stack([x for x, _ in calls]), torch.arange(len(calls))[:, None, None] / steps
    expect_close(shown, noise - done * v, what="the x of the model's calls, for a constant velocity", hint=hint)


def test_a_step_takes_the_velocity_at_its_beginning(rng):
    """With v = x each of n steps multiplies by 1 - 1 / n. With v = t they add up to -(n + 1) / 2n."""
    noise = randn(rng, 3, 2)
    for steps in (1, 3, 4):
        got = sample(lambda x, t: x, noise, steps)
        expect_close(got, noise * (1 - 1 / steps) ** steps, what=f"the end of {steps} steps with v = x", hint=STEP)
        got = sample(lambda x, t: t[:, None].expand_as(x), noise, steps)
        want = noise - (steps + 1) / (2 * steps)
        expect_close(got, want, what=f"the end of {steps} steps with v = t", hint=STEP, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 4])
def test_data_that_are_one_picture_need_one_step(rng, steps):
    """All paths lead straight to it, so one Euler step is exact. Where data are many, only the crossing paths bend."""
    picture, noise = randn(rng, 2, 1, 5)
    got = sample(flow_of(picture, 0.0), noise.expand(4, 5), steps)
    expect_close(got, picture.expand(4, 5), what=f"samples of data that are one picture, in {steps} steps", hint=STEP)
