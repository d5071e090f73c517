"""Stage 2. Mixed batches, the shift, densities, Heun, wrong arguments."""

import math

import pytest
import torch

from dojo.testing import (
    expect,
    expect_close,
    expect_distribution,
    expect_equal,
    expect_raises,
    expect_unchanged,
    numbers,
    randn,
)
from dojo.testing.diffusion import SHAPES, recording
from katas.flow_matching import (
    flow_loss,
    interpolate,
    sample,
    sample_times,
    shift_times,
    velocity_to_noise,
    velocity_to_x0,
)

from .helpers import T, expect_times, flow_of, line, noise_in, zeros
from .probe import WRONG_SHAPES, WRONG_SHIFTS, WRONG_TIMES

OWN = "each element has a t of its own: reshape it to [batch, 1, ..., 1]"
SHIFT = "shift t / (1 + (shift - 1) t)"
SECOND = "the second slope is taken where the Euler step ends, at t_next; the step takes the mean of both"
ENDS = (velocity_to_x0, velocity_to_noise)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_element_has_its_own_place_on_its_line(rng, shape):
    """Scalars, vectors and images, and batch == width, where a t that is not reshaped goes along the wrong axis."""
    a, b = randn(rng, 2, *shape)
    whole = [*line(a, b, T), *(end(a, b, T) for end in ENDS)]
    rows = [slice(row, row + 1) for row in range(6)]
    parts = [[*line(a[row], b[row], T[row]), *(end(a[row], b[row], T[row]) for end in ENDS)] for row in rows]
    names = ("x_t", "the velocity", "velocity_to_x0", "velocity_to_noise")
    for name, got, *single in zip(names, whole, *parts, strict=True):
        what = f"{name} of a batch of shape {list(shape)} and mixed t, compared with its rows one by one,"
        expect_close(got, torch.cat(single), what=what, hint=OWN)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_loss_of_any_shape(rng, shape):
    """A model that knows the velocity has no loss, whatever the shape of the data."""
    x0 = 3 * randn(rng, *shape)
    model, calls = recording(lambda x, t: noise_in(x, t, x0) - x0)
    loss = flow_loss(model, x0)
    expect_equal(list(calls[0][0].shape), list(shape), what="the shape of the x_t that the model is shown")
    what = f"the loss of a model that knows the velocity, for a batch of shape {list(shape)},"
    expect_close(loss, torch.zeros_like(loss), what=what, hint=OWN)


def test_the_shift_of_worked_times():
    """With shift 3, halfway becomes three quarters: 3 x 0.5 / (1 + 2 x 0.5). With 1/3 it becomes one quarter."""
    t = numbers(0, 0.25, 0.5, 0.8, 1)
    for shift, want in ((3.0, (0, 0.5, 0.75, 12 / 13, 1)), (1 / 3, (0, 0.1, 0.25, 4 / 7, 1)), (1.0, t.tolist())):
        what = f"shift_times of {t.tolist()} with shift={shift:.3g}"
        expect_close(shift_times(t, shift), numbers(*want), what=what, hint=SHIFT)


def test_the_shift_multiplies_the_odds_of_t(rng):
    """t / (1 - t) is the ratio of noise to data. So two shifts are one by their product, and 1 / shift undoes it."""
    t = torch.rand(7, generator=rng, dtype=torch.float64)
    got = shift_times(t, 2.5)
    expect_close(got / (1 - got), 2.5 * t / (1 - t), what="the odds of times shifted by 2.5", hint=SHIFT)
    expect_close(shift_times(got, 1.2), shift_times(t, 3.0), what="shifts by 2.5 and 1.2, beside one by 3", hint=SHIFT)
    expect_close(shift_times(got, 0.4), t, what="a shift by 2.5 and then by 0.4", hint=SHIFT)


def test_the_shift_of_any_shape(rng):
    t = torch.rand(2, 3, generator=rng, dtype=torch.float64)
    got = shift_times(t, 3.0)
    expect_equal(list(got.shape), [2, 3], what="the shape of shift_times of times [2, 3]")
    alone = shift_times(t[1, 2], 3.0)
    expect_close(alone, got[1, 2], what="shift_times of one time without a dimension", hint="work elementwise")


@pytest.mark.parametrize(("shift", "times"), [(3.0, [1, 0.9, 0.75, 0.5]), (1 / 3, [1, 0.5, 0.25, 0.1])])
def test_the_sampler_shifts_its_times(rng, shift, times):
    """Shift 3 takes small steps near the noise and large ones near the data. The ends stay, so does the whole way."""
    noise, v = randn(rng, 2, 3, 2)
    model, calls = recording(lambda x, t: v)
    got = sample(model, noise, 4, shift=shift)
    hint = "shift_times(linspace(1, 0, steps + 1), shift), and dt is the difference of two shifted times"
    expect_times(calls, times, what=f"sample with steps=4 and shift={shift:.3g}", hint=hint)
    expect_close(
        got, noise - v, what="the end with a constant velocity and shifted times", hint=hint, rtol=0.0, atol=1e-6
    )
    shown, done = torch.stack([x for x, _ in calls]), 1 - numbers(*times)[:, None, None]
    what = "the x of the model's calls, for a constant velocity and shifted times"
    expect_close(shown, noise - done * v, what=what, hint=hint, rtol=0.0, atol=1e-6)


def expect_logit_normal(t, what):
    """In 8 parts of equal probability: the logit of t is standard normal. Chi-square, false alarm 1e-6."""
    parts = (8 * torch.special.ndtr(t.double().logit())).floor().clamp(0, 7).long()
    hint = "the sigmoid of torch.randn: most times lie in the middle, none outside [0, 1]"
    expect_distribution(parts, torch.full((8,), 0.125), what=f"the eighths of {what}", hint=hint)


def test_logit_normal_times():
    t = sample_times(4000, density="logit_normal")
    expect_equal([*t.shape, t.dtype], [4000, torch.float32], what="the shape and the dtype of sample_times")
    expect_logit_normal(t, "sample_times with density=logit_normal")


@pytest.mark.parametrize("density", ["uniform", "logit_normal"])
def test_times_do_not_depend_on_each_other(density):
    """Of 256 parts of equal probability 256 independent times leave about 94 empty, and 36 or fewer once in 10^20 runs."""
    t = sample_times(256, density=density).double()
    level = torch.special.ndtr(t.logit()) if density == "logit_normal" else t
    parts, what = len((256 * level).floor().unique()), f"sample_times(256, density={density!r})"
    hint = "draw each time by itself: not one in each part of [0, 1], which is stratified sampling"
    expect(parts < 220, f"{what} should leave about 94 of 256 equal parts empty, but leaves {256 - parts}", hint=hint)
    mirrored = (level.sort().values + level.sort(descending=True).values - 1).abs().max().item()
    hint = "draw each time by itself: not half of them, and 1 - t for the other half"
    expect(mirrored > 1e-3, f"{what} should not consist of pairs of t and 1 - t", hint=hint)


def test_the_loss_takes_the_density():
    model, calls = recording(zeros)
    flow_loss(model, torch.zeros(4000, 1).double(), density="logit_normal")
    expect_logit_normal(calls[0][1], "the t that the model is given, with density=logit_normal,")


def test_heun_asks_twice_a_step(rng):
    """At the beginning of each step and at its end, the last one at t = 0 included. The grid is Euler's."""
    model, calls = recording(zeros)
    sample(model, randn(rng, 3, 2), 2, method="heun")
    expect_times(calls, [1, 0.5, 0.5, 0], what="sample with steps=2 and method=heun", hint=SECOND)
    model, calls = recording(zeros)
    sample(model, randn(rng, 3, 2), 2, method="heun", shift=3.0)
    expect_times(calls, [1, 0.75, 0.75, 0], what="sample with steps=2, method=heun and shift=3", hint=SECOND)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_a_heun_step_takes_the_mean_of_two_slopes(rng, steps):
    """With v = x a step multiplies by 1 - h + h^2 / 2. With v = t the trapezium rule is exact: -1/2. With v = t x both."""
    noise, h = randn(rng, 3, 2), 1 / steps
    got = sample(lambda x, t: x, noise, steps, method="heun")
    what, want = f"the end of {steps} Heun steps with v =", noise * (1 - h + h**2 / 2) ** steps
    expect_close(got, want, what=f"{what} x", hint=SECOND)
    got = sample(lambda x, t: t[:, None].expand_as(x), noise, steps, method="heun")
    expect_close(got, noise - 0.5, what=f"{what} t", hint=SECOND, rtol=0.0, atol=1e-6)
    got = sample(lambda x, t: t[:, None] * x, noise, steps, method="heun")
    times = [(1 - i * h, 1 - (i + 1) * h) for i in range(steps)]
    factor = math.prod(1 - h / 2 * (t + later * (1 - h * t)) for t, later in times)
    expect_close(got, noise * factor, what=f"{what} t x", hint=SECOND, rtol=0.0, atol=1e-6)


@pytest.mark.parametrize(("method", "least", "most"), [("euler", 1.8, 2.2), ("heun", 3.2, 4.8)])
def test_the_order_of_the_method(rng, method, least, most):
    """For data from N(1, 0.5^2) the velocity is known, and noise z ends at 1 + z / 2. Twice as many steps leave half of
    Euler's error, and a quarter of Heun's: .0290 and .0145 at 20 and 40 steps, .00041 and .00011 for noise of size 1."""
    noise = randn(rng, 6)
    errors = [(sample(flow_of(1.0, 0.5), noise, n, method=method) - 1 - noise / 2).abs().mean() for n in (20, 40)]
    size = errors[0].item()
    limit = {"euler": 0.1, "heun": 0.003}[method]
    sentence = f"{method} should be off by less than {limit} after 20 steps, but is by {size:.2g}"
    expect(size < limit, sentence, hint=SECOND if method == "heun" else "dt = t_next - t")
    ratio = size / errors[1].item()
    sentence = f"twice as many steps should divide {method}'s error by {(least + most) / 2:g}"
    expect(least < ratio < most, f"{sentence}, but divide it by {ratio:.2f}", hint=SECOND)


def test_euler_is_the_method_unless_told(rng):
    noise = randn(rng, 3, 2)
    got, want = sample(lambda x, t: x, noise, 3), sample(lambda x, t: x, noise, 3, method="euler", shift=1.0)
    expect_close(got, want, what="sample without a method, beside euler and shift=1,")


def test_no_argument_is_modified(rng):
    """The same noise is used again, to compare two samplers; x += dt * v would overwrite it."""
    a, b = randn(rng, 2, 6, 3)
    t = T.clone()
    with expect_unchanged(a, b, t, what="an argument of interpolate"):
        interpolate(a, b, t)
    for end in ENDS:
        with expect_unchanged(a, b, t, what=f"an argument of {end.__name__}"):
            end(a, b, t)
    with expect_unchanged(t, what="the times of shift_times"):
        shift_times(t, 3.0)
    with expect_unchanged(a, what="the x0 of flow_loss"):
        flow_loss(zeros, a)
    for method in ("euler", "heun"):
        for noise in (a, a.float()):
            with expect_unchanged(noise, what=f"the noise of sample with method={method}"):
                sample(lambda x, t: x + 1, noise, 2, method=method)


def test_other_memory_layouts_give_the_same(rng):
    """Images in channels-last order, times that are a column of a matrix: views are no obstacle."""
    a, b = randn(rng, 2, 6, 3, 4, 5)
    views = [each.to(memory_format=torch.channels_last) for each in (a, b)] + [torch.stack([T, T], 1)[:, 0]]
    for function in (lambda *given: interpolate(*given)[0], lambda *given: interpolate(*given)[1], *ENDS):
        expect_close(
            function(*views), function(a, b, T), what="the result for strided inputs", hint="reshape, not view"
        )
    expect_close(shift_times(views[2], 3.0), shift_times(T, 3.0), what="shift_times of a strided vector")
    got, want = (sample(lambda x, t: x, noise, 2, method="heun") for noise in (views[0], a))
    expect_close(got, want, what="sample from noise in channels-last order")
    loss = flow_loss(lambda x, t: noise_in(x, t, a) - a, views[0])
    expect_close(loss, torch.zeros_like(loss), what="the loss of a model that knows the velocity, of strided data")


@pytest.mark.parametrize("shape", WRONG_TIMES, ids=str)
def test_times_of_another_shape_than_batch_are_errors(shape):
    """A t of shape [1] or [] broadcasts silently: one time for the whole batch."""
    x, t = torch.zeros(3, 2), torch.full(shape, 0.5)
    for function in (interpolate, *ENDS):
        what = f"{function.__name__} with t of shape {list(shape)} for a batch of 3"
        with expect_raises(ValueError, what=what, hint="compare t.shape with [batch]"):
            function(x, x, t)


@pytest.mark.parametrize("shape", WRONG_SHAPES, ids=str)
def test_ends_of_different_shapes_are_errors(shape):
    """Noise of shape [1, ...] is one noise for the whole batch, and [batch, 1] beside [batch] makes a matrix."""
    for function in (interpolate, *ENDS):
        what = f"{function.__name__} of tensors of shapes [3, 2] and {list(shape)}"
        with expect_raises(ValueError, what=what, hint="compare the two shapes"):
            function(torch.zeros(3, 2), torch.zeros(shape), torch.full((3,), 0.5))


def test_unknown_densities_and_methods_are_errors():
    for density in ("normal", "", None):
        with expect_raises(ValueError, what=f"sample_times with density={density!r}", hint="two names are known"):
            sample_times(3, density=density)
        with expect_raises(ValueError, what=f"flow_loss with density={density!r}", hint="two names are known"):
            flow_loss(zeros, torch.zeros(3, 2), density=density)
    for method in ("Heun", "midpoint", ""):
        with expect_raises(ValueError, what=f"sample with method={method!r}", hint="two names are known"):
            sample(zeros, torch.zeros(3, 2), 2, method=method)


@pytest.mark.parametrize("steps", [0, -1])
def test_less_than_one_step_is_an_error(steps):
    with expect_raises(ValueError, what=f"sample with steps={steps}", hint="noise would be returned as a sample"):
        sample(zeros, torch.zeros(3, 2), steps)


@pytest.mark.parametrize("shift", WRONG_SHIFTS, ids=str)
def test_a_shift_that_is_not_positive_and_finite_is_an_error(shift):
    """At 0 all times are 0, and below it the denominator changes its sign. NaN compares as False either way."""
    with expect_raises(ValueError, what=f"shift_times with shift={shift}", hint="raise unless 0 < shift < inf"):
        shift_times(numbers(0.5), shift)
    with expect_raises(ValueError, what=f"sample with shift={shift}", hint="raise unless 0 < shift < inf"):
        sample(zeros, torch.zeros(3, 2), 2, shift=shift)
