"""Stage 2. Batches, the last step, clipping, the loop."""

from itertools import pairwise

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, numbers, randn, seeded
from dojo.testing.diffusion import SHAPES, expect_normal, knows, no_noise, recording
from katas.ddpm import p_sample, p_sample_loop, predict_x0, q_posterior, q_sample

from .helpers import ABAR, BETAS, BOTH, MANY, mean_of_step, says, schedule


@pytest.mark.parametrize("shape", [(1,), (1, 3), (1, 1, 4, 1)], ids=str)
def test_a_batch_of_one_keeps_its_axes(rng, shape):
    """A bare squeeze() takes the batch's axis with it as soon as a single image, or a grey one, is sampled."""
    betas, abar = schedule(4)
    t, hint = torch.tensor([2]), "no bare squeeze(): say which axis, or reshape"
    x, y = randn(rng, 2, *shape)
    mean, variance = q_posterior(x, y, t, betas)
    results = {
        "q_sample": q_sample(x, t, y, abar),
        "predict_x0": predict_x0(x, t, y, abar),
        "q_posterior's mean": mean,
        "x_t plus q_posterior's variance": y + variance,
        "p_sample": p_sample(no_noise, x, t, betas),
        "p_sample_loop": p_sample_loop(no_noise, shape, betas),
    }
    for what, got in results.items():
        expect_equal(list(got.shape), list(shape), what=f"the shape of {what} for one image of {shape}", hint=hint)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_element_of_a_batch_is_at_its_own_step(rng, shape):
    """Scalars, vectors, images, and batch == width, where a t that was not reshaped broadcasts along the wrong axis."""
    betas, abar = schedule(6)
    t = torch.tensor([0, 5, 3, 1, 4, 2])
    x, y = randn(rng, 2, *shape)
    functions = {
        "q_sample": lambda x, y, t: q_sample(x, t, y, abar),
        "predict_x0": lambda x, y, t: predict_x0(x, t, y, abar),
        "q_posterior's mean": lambda x, y, t: q_posterior(x, y, t, betas)[0],
        "q_posterior's variance": lambda x, y, t: q_posterior(x, y, t, betas)[1].expand(x.shape),
        "p_sample's mean": lambda x, y, t: mean_of_step(y, x, t, betas),
    }
    for what, function in functions.items():

        def on(rows, function=function):  # copies: an argument modified in place is another test's business
            return function(x[rows].clone(), y[rows].clone(), t[rows].clone())

        expect_close(
            on(slice(None)),
            torch.cat([on(slice(row, row + 1)) for row in range(6)]),
            what=f"{what} of a batch of shape {list(shape)} with t={t.tolist()}, compared with its rows one by one,",
            hint="each row has a t of its own: reshape schedule[t] to [batch, 1, ..., 1]",
        )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_predict_x0_inverts_q_sample(rng, shape):
    """At every step at once, t = [0, 1, ..., T-1]."""
    abar, t = schedule(6)[1], torch.arange(6)
    x0, noise = randn(rng, 2, *shape)
    got = predict_x0(q_sample(x0, t, noise, abar), t, noise, abar)
    expect_close(got, x0, what="predict_x0(q_sample(x0, t, noise), t, noise)", hint="solve q_sample's formula for x0")


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_step_follows_the_posterior_of_the_predicted_x0(rng, variance):
    """The mean of p(x_{t-1} | x_t) is the posterior's, with the predicted x0 for the true one, whatever the variance."""
    betas, abar = schedule(6)
    t = torch.arange(6)
    eps, x_t = randn(rng, 2, 6, 3, 2, 2)
    expect_close(
        mean_of_step(eps, x_t, t, betas, variance=variance),
        q_posterior(predict_x0(x_t, t, eps, abar), x_t, t, betas)[0],
        what=f'p_sample\'s mean with variance="{variance}"',
        hint="is abar in p_sample the cumulative product of 1 - betas?",
    )


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_no_noise_is_added_at_the_last_step_and_only_there(rng, variance):
    """t = 0 gives the picture: noise there is grain that nothing removes. Other rows of the batch keep theirs."""
    betas, abar = schedule(5)
    eps, x_t = randn(rng, 2, 5, 8)
    t = torch.tensor([1, 0, 4, 2, 3])
    first, second = (p_sample(says(eps), x_t, t, betas, variance=variance) for _ in range(2))
    expect_close(
        first[1],
        (x_t[1] - (1 - abar[0]).sqrt() * eps[1]) / abar[0].sqrt(),
        what=f'the row at t=0 of p_sample with variance="{variance}"',
        hint="at t = 0 return the mean, which is the predicted x0, without noise: beta_0 is not 0, so `beta` needs a mask",
    )
    expect_equal(
        (first != second).all(-1).tolist(),
        [True, False, True, True, True],
        what=f"whether two calls differ in every number of the rows t={t.tolist()}",
        hint="mask row by row with t > 0, not with (t > 0).all() or t > 1; draw fresh noise for every element",
    )


def test_noise_is_drawn_for_every_element_on_its_own(rng):
    """One noise for the whole batch makes all samples siblings; one number for an image only shifts its brightness."""
    t, hint = torch.ones(4, dtype=torch.int64), "noise has the shape of x_t"
    got = p_sample(no_noise, torch.zeros(4, 1000, dtype=torch.float64), t, BETAS)
    spread = got.std(-1).tolist()
    expect(min(spread) > 0.3, f"noise should vary within a row (std 0.5), but the rows' stds are {spread}", hint=hint)
    similar = torch.corrcoef(got).triu(1).abs().max().item()  # 0.25 is 8 standard errors of an uncorrelated pair
    expect(
        similar < 0.25, f"noise of different rows should be uncorrelated, but correlates at {similar:.2f}", hint=hint
    )


@pytest.mark.parametrize("variance", ["posterior", "beta"])
def test_clip_x0_clips_the_prediction_and_nothing_else(variance):
    """At t = 1 and eps = 0, x_t = 6 predicts x0 = 10, clipped to 1: the mean is 0.546875 x 1 + 0.421875 x 6 = 3.078125.
    At t = 0 the mean is the clipped prediction itself."""
    x_t = numbers(6, -6, 0.3, 6)
    expect_close(
        mean_of_step(torch.zeros_like(x_t), x_t, torch.tensor([1, 1, 1, 0]), BETAS, clip_x0=True, variance=variance),
        numbers(3.078125, -3.078125, 0.4, 1),
        what="p_sample's mean at x_t = [6, -6, 0.3, 6], t = [1, 1, 1, 0], eps = 0, clip_x0=True, variance="
        f'"{variance}"',
        hint="clamp the predicted x0 to [-1, 1] before it enters q_posterior, in every row whatever its t; leave x_t and the result alone",
    )


def test_nothing_is_clipped_unless_asked():
    """Latents reach beyond [-1, 1]: a clip that nobody asked for cuts them off."""
    x_t = numbers(6, -6, 0.3)
    expect_close(
        mean_of_step(torch.zeros_like(x_t), x_t, torch.tensor([1, 1, 1]), BETAS),
        numbers(8, -8, 0.4),
        what="p_sample's mean at x_t = [6, -6, 0.3], eps = 0, without clip_x0",
        hint="clip_x0 defaults to False",
    )


def test_loop_visits_every_step_from_the_last_down_to_0():
    """One call a step, t as int64 [batch]. Upwards, or stopping at 1, gives noise that looks like a training problem."""
    model, calls = recording(no_noise)
    got = p_sample_loop(model, (2, 3, 4), schedule(5)[0])
    expect_equal(list(got.shape), [2, 3, 4], what="the shape of p_sample_loop's result")
    expect_equal(
        [t.tolist() for _, t in calls],
        [[4, 4], [3, 3], [2, 2], [1, 1], [0, 0]],
        what="the t of eps_model's calls for 5 steps and a batch of 2",
        hint="t runs from steps - 1 down to and including 0, one entry for each element of the batch",
    )
    expect_equal({t.dtype for _, t in calls}, {torch.int64}, what="the dtype of the t that eps_model is given")


def test_loop_starts_from_standard_normal_noise(rng):
    """Not uniform, not zeros, not scaled: N(0, 1) is what q_sample leaves of any data in the end."""
    model, calls = recording(no_noise)
    p_sample_loop(model, MANY, schedule(3)[0])
    expect_normal(calls[0][0], 0.0, 1.0, what="numbers of the loop's first x", hint="start from torch.randn(shape)")


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_loop_lands_on_data_that_is_a_single_point(steps):
    """If all data are 3, the exact denoiser knows the noise, and the step at t = 0 returns 3 itself, without noise."""
    betas, abar = schedule(steps)
    expect_close(
        p_sample_loop(knows(3.0, 0.0, abar), (4, 2), betas),
        torch.full((4, 2), 3.0, dtype=torch.float64),
        what=f"samples after {steps} steps for data that are always 3",
        hint="the step at t=0 returns the predicted x0: is it reached, with the latest x, and is nothing added or clipped?",
    )


def test_loop_passes_through_the_forward_marginals(rng):
    """For data that are always 1 the posterior variance is exact, so on its way down x_t is distributed as q(x_t | x_0):
    mean sqrt(abar_t), standard deviation sqrt(1 - abar_t). Six steps, two bounds each: a false alarm of 6e-7."""
    betas = numbers(0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.99)
    abar = (1 - betas).cumprod(0)
    model, calls = recording(knows(1.0, 0.0, abar))
    p_sample_loop(model, MANY, betas)
    for x, t in calls[1:]:
        a = abar[t[0]].item()
        what = f"x at t={t[0]} for data that are always 1"
        hint = "each step starts from the previous step's result and draws with the posterior variance"
        expect_normal(x, a**0.5, (1 - a) ** 0.5, what=what, hint=hint)
    expect_equal(len(calls), 7, what="the number of model calls for 7 steps")


def test_every_step_of_the_loop_draws_its_own_noise():
    """Also with a generator: one that is made or seeded anew for each step gives the same noise every time. From
    x_{t-1} = x_t / sqrt(alpha_t) + noise, for eps = 0; correlations stay within 5.7 / sqrt(4000): false alarms 1e-7."""
    betas = schedule(4, 0.2, 0.4)[0]
    model, calls = recording(no_noise)
    p_sample_loop(model, MANY, betas, generator=seeded(1))
    xs = [x for x, _ in calls]  # at t = 3, 2, 1, 0
    noises = [xs[0], *(after - before / (1 - betas[3 - i]).sqrt() for i, (before, after) in enumerate(pairwise(xs)))]
    similar = torch.corrcoef(torch.stack([n.flatten() for n in noises])).triu(1).abs().max().item()
    sentence = f"the noises of the start and of the steps should be uncorrelated, but correlate at {similar:.2f}"
    expect(similar < 0.09, sentence, hint="draw all of them from the one generator, and never seed it in the loop")


def test_progress_wraps_the_timesteps():
    """tqdm fits: it is handed the iterable of timesteps, and the loop runs over what comes back, step by step."""
    model, calls = recording(no_noise)
    seen, made = [], []

    def progress(steps):
        made.append(steps)
        for step in steps:
            seen.append((int(step), len(calls)))
            yield step

    p_sample_loop(model, (2,), schedule(4)[0], progress=progress)
    hint = "call progress(timesteps) once, before the loop: each call is a bar of its own"
    expect_equal(len(made), 1, what="how often the loop calls progress", hint=hint)
    expect_equal(
        seen,
        [(3, 0), (2, 1), (1, 2), (0, 3)],
        what="(timestep, model calls so far) as the progress bar sees them",
        hint="for step in progress(timesteps): one model call each; do not turn the iterable into a list first",
    )


def test_loop_reproduces_gaussian_data(rng):
    """The proof of the whole: for data from N(mean, std^2) the exact denoiser is known, so the samples must have that
    mean and std. 200 steps bias the std by -3 % at most (beta-tilde is exact only for a point; more steps, less bias)
    and the mean by 0.001; beyond that, 6 standard errors of 4000 samples: a false alarm of 1e-7 or less."""
    betas, abar = schedule(200, 1e-3, 0.1)
    mean, std = numbers(3.0, -1.0), numbers(1.0, 2.0)
    samples = p_sample_loop(knows(mean, std, abar), (*MANY, 2), betas).flatten(0, 1)
    got_mean, got_std = samples.mean(0), samples.std(0)
    hint = (
        "does every step work alone (see the tests above)? then look at the order of the steps and at what is handed on"
    )
    sentence = f"samples of data with mean {mean.tolist()} should have that mean, but have {got_mean.tolist()}"
    expect(((got_mean - mean).abs() <= 0.001 + 6 * std / 4000**0.5).all(), sentence, hint=hint)
    sentence = f"samples of data with std {std.tolist()} should have that (-3 % to 0), but have {got_std.tolist()}"
    expect(((got_std / std - 0.985).abs() <= 0.015 + 6 / 8000**0.5).all(), sentence, hint=hint)


@pytest.mark.parametrize("variance", ["fixed_small", "Beta", "", None])
def test_unknown_variance_is_an_error(variance):
    """A misspelt option that falls through to a default costs a day."""
    x = torch.zeros(2, 3, dtype=torch.float64)
    with expect_raises(ValueError, what=f"p_sample(variance={variance!r})", hint='only "posterior" and "beta"'):
        p_sample(no_noise, x, BOTH, BETAS, variance=variance)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 3)], ids=str)
def test_t_of_another_shape_than_batch_is_an_error(shape):
    """A t of shape [1] or [] broadcasts silently: the whole batch would be trained at one step."""
    x, t = torch.zeros(3, 2, dtype=torch.float64), torch.zeros(shape, dtype=torch.int64)
    calls = {
        "q_sample": lambda: q_sample(x, t, x, ABAR),
        "predict_x0": lambda: predict_x0(x, t, x, ABAR),
        "q_posterior": lambda: q_posterior(x, x, t, BETAS),
        "p_sample": lambda: p_sample(no_noise, x, t, BETAS),
    }
    for name, call in calls.items():
        what = f"{name} with t of shape {list(shape)} for a batch of 3"
        with expect_raises(ValueError, what=what, hint="compare t.shape with [batch]"):
            call()
