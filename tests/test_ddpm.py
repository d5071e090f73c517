"""What any right DDPM does. Noise is never compared under a fixed seed, except to cancel it: see `mean_of_step`."""

from itertools import pairwise

import pytest
import torch
from torch.distributions import Normal

from dojo.testing import (
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randint,
    randn,
)
from katas.ddpm import p_sample, p_sample_loop, predict_x0, q_posterior, q_sample

# Two steps with round numbers: abar = [0.64, 0.36], so sqrt(abar) = [0.8, 0.6] and sqrt(1 - abar) = [0.6, 0.8].
BETAS = torch.tensor([0.36, 0.4375], dtype=torch.float64)
ABAR = torch.tensor([0.64, 0.36], dtype=torch.float64)
BOTH = torch.tensor([0, 1])
SHAPES = [(6,), (6, 2), (6, 6), (6, 1, 6, 6), (6, 3, 4, 5)]
MANY = (40, 100)  # for statistics


@pytest.fixture(autouse=True)
def grad_mode():
    """A loop that leaves gradients switched off must not spoil the tests after it."""
    with torch.enable_grad():
        yield


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def schedule(steps, start=0.01, end=0.4, dtype=torch.float64):
    betas = torch.linspace(start, end, steps, dtype=torch.float64)
    return betas.to(dtype), (1 - betas).cumprod(0).to(dtype)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def says(eps):
    """A model that predicts `eps` whatever it is shown."""
    return lambda x, t: eps


def no_noise(x, t):
    return torch.zeros_like(x)


def knows(mean, std, abar):
    """The exact noise prediction for data from N(mean, std^2): E[eps | x_t]."""

    def model(x, t):
        a = abar[t].reshape(-1, *[1] * (x.dim() - 1))
        return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * std**2 + 1 - a)

    return model


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def mean_of_step(eps, x_t, t, betas, **options):
    """p_sample without its noise: the mean is linear, so a step from zeros with the same seed is the noise alone."""

    def step(eps, x_t):
        torch.manual_seed(7)
        return p_sample(says(eps), x_t, t, betas, generator=seeded(7), **options)

    return step(eps, x_t) - step(torch.zeros_like(eps), torch.zeros_like(x_t))


def expect_normal(draws, mean, std, *, what, hint):
    """Mean and standard deviation lie within 5.7 standard errors of theirs: a false alarm of 5e-8 at most for each."""
    got_mean, got_std, n = draws.mean().item(), draws.std().item(), draws.numel()
    sentence = f"{what} should have mean {mean:.4f}, but have {got_mean:.4f}"
    expect(abs(got_mean - mean) <= 5.7 * std / n**0.5, sentence, hint=hint)
    sentence = f"{what} should have standard deviation {std:.4f}, but have {got_std:.4f}"
    expect(abs(got_std / std - 1) <= 5.7 / (2 * n) ** 0.5, sentence, hint=hint)


# Stage 1: the forward process, its posterior, one reverse step


@pytest.mark.stage(1)
def test_q_sample_weighs_signal_and_noise_by_square_roots():
    """A worked example: 0.8 x 2 + 0.6 x (-1) = 1 after one step and 0.6 x 2 + 0.8 x (-1) = 0.4 after two."""
    expect_close(
        q_sample(numbers(2, 2), BOTH, numbers(-1, -1), ABAR),
        numbers(1.0, 0.4),
        what="q_sample(2, t=[0, 1], noise=-1, abar=[0.64, 0.36])",
        hint="sqrt(abar_t) x0 + sqrt(1 - abar_t) noise, at each row's own t: both weights are roots, and abar is already a product",
    )


@pytest.mark.stage(1)
def test_q_sample_uses_the_noise_it_is_given(rng):
    """Training compares the prediction with this very noise: drawing anew inside makes the target unlearnable."""
    noise = randn(rng, 2, 50)
    with expect_rng_untouched(what="q_sample", hint="use the `noise` argument; draw nothing"):
        got = q_sample(torch.zeros_like(noise), BOTH, noise, ABAR)
    expect_close(
        got,
        noise * numbers(0.6, 0.8)[:, None],
        what="q_sample of x0 = 0",
        hint="without signal, what is left is sqrt(1 - abar_t) times the given noise",
    )


@pytest.mark.stage(1)
def test_predict_x0_solves_q_sample_for_the_clean_data():
    """The worked example backwards: x_t = [1, 0.4] with noise -1 came from 2. This is what clipping looks at."""
    expect_close(
        predict_x0(numbers(1.0, 0.4), BOTH, numbers(-1, -1), ABAR),
        numbers(2, 2),
        what="predict_x0([1, 0.4], t=[0, 1], eps=-1, abar=[0.64, 0.36])",
        hint="(x_t - sqrt(1 - abar_t) eps) / sqrt(abar_t): divide the whole difference, by the root; and do not clip",
    )


@pytest.mark.stage(1)
def test_posterior_of_the_worked_example():
    """At t = 1: c_0 = 0.8 x 0.4375 / 0.64, c_t = 0.75 x 0.36 / 0.64, variance 0.4375 x 0.36 / 0.64."""
    mean, variance = q_posterior(numbers(1, 0), numbers(0, 1), torch.tensor([1, 1]), BETAS)
    expect_close(
        mean,
        numbers(0.546875, 0.421875),
        what="q_posterior's weights of (x0, x_t) at t=1 for betas=[0.36, 0.4375]",
        hint="x0 gets sqrt(abar_{t-1}) beta_t, x_t gets sqrt(alpha_t) (1 - abar_{t-1}), both over (1 - abar_t)",
    )
    expect_close(
        variance.expand(2),
        numbers(0.24609375, 0.24609375),
        what="q_posterior's variance at t=1 for betas=[0.36, 0.4375]",
        hint="beta-tilde = beta_t (1 - abar_{t-1}) / (1 - abar_t): a variance, so no root and no logarithm",
    )


@pytest.mark.stage(1)
def test_posterior_is_bayes_rule(rng):
    """q(x_{t-1} | x_t, x_0) is proportional to q(x_t | x_{t-1}) q(x_{t-1} | x_0): the logs differ by one constant
    wherever x_{t-1} is. A right answer to 'where does the posterior come from?' starts here."""
    betas, abar = schedule(8)
    t = torch.arange(1, 8)
    x0, x_t = randn(rng, 2, 7)
    mean, variance = q_posterior(x0, x_t, t, betas)
    earlier = numbers(-2, -0.5, 0, 1, 3)[:, None]  # five places where x_{t-1} could be, for all seven steps
    prior = Normal(abar[t - 1].sqrt() * x0, (1 - abar[t - 1]).sqrt()).log_prob(earlier)
    likelihood = Normal((1 - betas[t]).sqrt() * earlier, betas[t].sqrt()).log_prob(x_t)
    posterior = Normal(mean, variance.clamp(min=1e-12).sqrt()).log_prob(earlier)
    evidence = prior + likelihood - posterior
    expect_close(
        evidence,
        evidence[:1].expand(5, -1),
        what="log prior + log likelihood - log posterior (rows: places of x_{t-1}, columns: t = 1..7)",
        hint="multiply the two Gaussians, precisions add; is abar_{t-1} the entry *before* t?",
    )


@pytest.mark.stage(1)
def test_posterior_of_the_first_step_is_the_clean_data(rng):
    """Before step 0 nothing is noisy: abar_{-1} = 1, and x_{-1} is x0 for certain. Padding on the wrong side breaks it."""
    x0, x_t = randn(rng, 2, 3, 4)
    mean, variance = q_posterior(x0, x_t, torch.zeros(3, dtype=torch.int64), schedule(5)[0])
    hint = "abar_{t-1} at t=0 is 1: put the 1 in front of abar and drop its last entry"
    expect_close(mean, x0, what="q_posterior's mean at t=0 (x0 itself)", hint=hint)
    expect_close(variance.expand(3, 4), torch.zeros_like(x0), what="q_posterior's variance at t=0", hint=hint)


@pytest.mark.stage(1)
def test_step_of_the_worked_example():
    """At t = 1: x_t has weight 1 / sqrt(alpha) = 1 / 0.75, and eps weight -beta / (sqrt(1 - abar) sqrt(alpha))."""
    expect_close(
        mean_of_step(numbers(0, 1), numbers(1, 0), torch.tensor([1, 1]), BETAS),
        numbers(1 / 0.75, -0.4375 / (0.8 * 0.75)),
        what="p_sample's mean weights of (x_t, eps) at t=1 for betas=[0.36, 0.4375]",
        hint="(x_t - beta_t / sqrt(1 - abar_t) eps) / sqrt(alpha_t), which is q_posterior's mean for the predicted x0",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize(
    ("options", "variance"),
    [({"variance": "posterior"}, 0.24609375), ({"variance": "beta"}, 0.4375), ({}, 0.24609375)],
    ids=["posterior", "beta", "default"],
)
def test_spread_of_a_step_is_the_root_of_the_variance(rng, options, variance):
    """t = 1 is noisy, with the asked-for variance (beta-tilde unless told); its root is the factor of the noise."""
    t = torch.ones(MANY[0], dtype=torch.int64)
    expect_normal(
        p_sample(no_noise, torch.zeros(MANY, dtype=torch.float64), t, BETAS, **options),
        0.0,
        variance**0.5,
        what=f"steps from x_t = 0 at t=1 with betas=[0.36, 0.4375] and {options or 'the default variance'}",
        hint="add sqrt(variance) times torch.randn; `posterior`, the default, is beta-tilde_t; `beta` is beta_t",
    )


# Stage 2: batches, the last step, clipping, the loop


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_predict_x0_inverts_q_sample(rng, shape):
    """At every step at once, t = [0, 1, ..., T-1]."""
    abar, t = schedule(6)[1], torch.arange(6)
    x0, noise = randn(rng, 2, *shape)
    got = predict_x0(q_sample(x0, t, noise, abar), t, noise, abar)
    expect_close(got, x0, what="predict_x0(q_sample(x0, t, noise), t, noise)", hint="solve q_sample's formula for x0")


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_nothing_is_clipped_unless_asked():
    """Latents reach beyond [-1, 1]: a clip that nobody asked for cuts them off."""
    x_t = numbers(6, -6, 0.3)
    expect_close(
        mean_of_step(torch.zeros_like(x_t), x_t, torch.tensor([1, 1, 1]), BETAS),
        numbers(8, -8, 0.4),
        what="p_sample's mean at x_t = [6, -6, 0.3], eps = 0, without clip_x0",
        hint="clip_x0 defaults to False",
    )


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_loop_starts_from_standard_normal_noise(rng):
    """Not uniform, not zeros, not scaled: N(0, 1) is what q_sample leaves of any data in the end."""
    model, calls = recording(no_noise)
    p_sample_loop(model, MANY, schedule(3)[0])
    expect_normal(calls[0][0], 0.0, 1.0, what="numbers of the loop's first x", hint="start from torch.randn(shape)")


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
@pytest.mark.parametrize("variance", ["fixed_small", "Beta", "", None])
def test_unknown_variance_is_an_error(variance):
    """A misspelt option that falls through to a default costs a day."""
    x = torch.zeros(2, 3, dtype=torch.float64)
    with expect_raises(ValueError, what=f"p_sample(variance={variance!r})", hint='only "posterior" and "beta"'):
        p_sample(no_noise, x, BOTH, BETAS, variance=variance)


@pytest.mark.stage(2)
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


# Stage 3: dtypes, gradients, generators


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_results_have_the_dtype_of_x(rng, dtype, schedule_dtype):
    """A float64 schedule promotes float32 images without a word, and the model then fails or crawls. Values: float32
    schedules differ by 4e-4 where 1 - abar is small, so rtol 1e-3; half precision keeps 3 (or 2) digits."""
    t = torch.tensor([0, 1, 10, 500])
    x, y = randn(rng, 2, 4, 3, 5, dtype=dtype)
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 6e-2}.get(dtype, 1e-3)
    functions = {
        "q_sample": lambda x, y, betas, abar: q_sample(x, t, y, abar),
        "predict_x0": lambda x, y, betas, abar: predict_x0(x, t, y, abar),
        "q_posterior's mean": lambda x, y, betas, abar: q_posterior(x, y, t, betas)[0],
        "q_posterior's variance": lambda x, y, betas, abar: q_posterior(x, y, t, betas)[1],
        "p_sample's mean": lambda x, y, betas, abar: mean_of_step(y, x, t, betas),
        'p_sample\'s mean with variance="beta"': lambda x, y, betas, abar: mean_of_step(
            y, x, t, betas, variance="beta"
        ),
    }
    for what, function in functions.items():
        got = function(x, y, *schedule(1000, 1e-4, 0.02, schedule_dtype))
        what = f"{what} for {dtype} images and a {schedule_dtype} schedule"
        expect_equal(got.dtype, dtype, what=f"the dtype of {what}", hint="cast the coefficients to x's dtype")
        exact = function(x.double(), y.double(), *schedule(1000, 1e-4, 0.02))
        hint = "cast finished coefficients, not the schedule"
        expect_close(got.double(), exact, what=what, hint=hint, rtol=tolerance, atol=tolerance)


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_first_steps_survive_half_precision(dtype):
    """abar_0 = 0.9999 rounds to 1 in half precision: cast the schedule first, and 1 - abar_0 = 1e-4 is 0 (q_sample adds
    no noise, q_posterior divides by 0). Relative tolerance 2e-2: bfloat16 keeps 8 bits."""
    betas, abar = schedule(1000, 1e-4, 0.02)
    t = torch.tensor([0, 1, 2])
    zero, one = torch.zeros(3, 4, dtype=dtype), torch.ones(3, 4, dtype=dtype)
    functions = {
        "q_sample(x0=0, noise=1)": lambda a, b: q_sample(a, t, b, abar),
        "predict_x0(x_t=0, eps=1)": lambda a, b: predict_x0(a, t, b, abar),
        "q_posterior's mean for x0=0, x_t=1": lambda a, b: q_posterior(a, b, t, betas)[0],
        "q_posterior's variance": lambda a, b: q_posterior(a, b, t, betas)[1],
    }
    for what, function in functions.items():
        got, exact = function(zero, one).double(), function(zero.double(), one.double())
        hint = "compute 1 - abar in the schedule's dtype and cast the finished coefficient"
        expect_close(got, exact, what=f"{what} in {dtype} at t = [0, 1, 2]", hint=hint, rtol=2e-2, atol=1e-7)


@pytest.mark.stage(3)
def test_gradients_are_the_coefficients():
    """Guidance and the training loss differentiate through all three; a detach or a no_grad would silence them."""
    functions = {
        "q_sample by (x0, noise)": (lambda a, b: q_sample(a, BOTH, b, ABAR), [[0.8, 0.6], [0.6, 0.8]]),
        "predict_x0 by (x_t, eps)": (lambda a, b: predict_x0(a, BOTH, b, ABAR), [[1.25, 5 / 3], [-0.75, -4 / 3]]),
        "q_posterior's mean by (x0, x_t)": (
            lambda a, b: q_posterior(a, b, BOTH, BETAS)[0],
            [[1, 0.546875], [0, 0.421875]],
        ),
    }
    for what, (function, want) in functions.items():
        inputs = torch.tensor([[0.5, -2], [1, 3]], dtype=torch.float64, requires_grad=True)
        out = function(*inputs)
        expect(out.requires_grad, f"{what} should be differentiable, but has no graph", hint="no detach, no no_grad")
        out.sum().backward()
        expect_close(inputs.grad, torch.tensor(want, dtype=torch.float64), what=f"the gradients of {what}")


@pytest.mark.stage(3)
def test_arguments_are_not_modified(rng):
    """The caller's noise is the training target, and x_t is needed for a trajectory: no in-place arithmetic on them."""
    betas, abar = schedule(4)
    t = torch.arange(4)
    x, y = randn(rng, 2, 4, 3)
    with expect_unchanged(x, y, t, betas, abar, what="every argument"):
        q_sample(x, t, y, abar)
        predict_x0(x, t, y, abar)
        q_posterior(x, y, t, betas)
        for variance in ("posterior", "beta"):
            p_sample(says(y), x, t, betas, variance=variance, clip_x0=True)
        p_sample_loop(no_noise, (4, 3), betas)


@pytest.mark.stage(3)
def test_views_with_any_strides_work(rng):
    """Channels-last images, every second entry of a schedule or of t."""
    betas, abar = (s.repeat_interleave(2)[::2] for s in schedule(4))
    t = torch.arange(4).repeat_interleave(2)[::2]
    dense, other = randn(rng, 2, 4, 3, 5, 5)
    functions = {
        "q_sample": lambda x: q_sample(x, t, other, abar),
        "predict_x0": lambda x: predict_x0(x, t, other, abar),
        "q_posterior": lambda x: q_posterior(x, other, t, betas)[0],
        "p_sample": lambda x: mean_of_step(other, x, t, betas),
    }
    for what, function in functions.items():
        got, want = function(dense.to(memory_format=torch.channels_last)), function(dense)
        expect_close(got, want, what=f"{what} of a channels-last view", hint="reshape, not view")


@pytest.mark.stage(3)
def test_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal samples, the start noise included; the global stream stays where it was."""
    betas, t = schedule(4)[0], torch.tensor([3, 2, 1, 0])
    x = randn(rng, 4, 6)
    samplers = {
        "p_sample": lambda g: p_sample(no_noise, x, t, betas, generator=g),
        'p_sample(variance="beta")': lambda g: p_sample(no_noise, x, t, betas, variance="beta", generator=g),
        "p_sample_loop": lambda g: p_sample_loop(no_noise, (4, 6), betas, generator=g),
    }
    for what, sample in samplers.items():
        with expect_rng_untouched(what=f"{what} with a generator"):
            first, again = sample(seeded(1)), sample(seeded(1))
        expect_equal(
            again, first, what=f"{what} with an equally seeded generator", hint="pass `generator` to every randn"
        )
        generator = seeded(1)
        sample(generator)
        for how, other in (("another seed", sample(seeded(2))), ("the next call", sample(generator))):
            expect((other != first).any(), f"{what} with {how} of the generator should differ, but is the same")
        expect((sample(None) != sample(None)).any(), f"two calls of {what} without a generator should differ")


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_loop_has_the_dtype_of_the_schedule(dtype):
    """There is no image to ask: `betas` decides what the model is shown and what comes back."""
    model, calls = recording(no_noise)
    got = p_sample_loop(model, (2, 3), schedule(3, dtype=dtype)[0])
    for what, x in (("the samples", got), ("the first x", calls[0][0]), ("the last x", calls[-1][0])):
        expect_equal(x.dtype, dtype, what=f"the dtype of {what}", hint="torch.randn(..., dtype=betas.dtype)")


@pytest.mark.stage(3)
def test_loop_keeps_no_autograd_graph():
    """With a graph, a thousand steps keep a thousand sets of activations alive: out of memory at sampling time. One that
    is detached after each step still holds those of a whole model call."""
    weight = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    recorded = []

    def model(x, t):
        eps = weight * x
        recorded.append(eps.requires_grad)
        return eps

    got = p_sample_loop(model, (2, 3), schedule(3)[0])
    expect(not got.requires_grad, "the samples should carry no graph, but require grad", hint="torch.no_grad()")
    what = "whether autograd records eps_model's calls, step by step,"
    hint = "run the loop under torch.no_grad(): detach() drops a graph only after the model has built it"
    expect_equal(recorded, [False] * 3, what=what, hint=hint)


@pytest.mark.stage(3)
@pytest.mark.parametrize("before", [True, False], ids=["gradients on", "gradients off"])
def test_loop_gives_the_gradient_mode_back(before):
    """Samples are drawn in the middle of training, and in a validation pass that has switched gradients off itself."""
    with torch.set_grad_enabled(before):
        p_sample_loop(no_noise, (2, 3), schedule(3)[0])
        after = torch.is_grad_enabled()
    hint = "use `with torch.no_grad():`, which restores what was; do not switch by hand"
    expect_equal(after, before, what=f"torch.is_grad_enabled() after the loop, {before} before,", hint=hint)


# Stage 4: cost


@pytest.mark.stage(4)
def test_step_calls_the_model_once_with_the_whole_batch(rng):
    """The model is all of the cost: calling it for each element, or twice, is the slowest mistake there is."""
    betas, x, t = schedule(6)[0], randn(rng, 5, 3, 2), torch.tensor([0, 5, 2, 2, 1])
    model, calls = recording(no_noise)
    p_sample(model, x, t, betas)
    expect_equal(len(calls), 1, what="the number of eps_model's calls in one p_sample", hint="keep its result")
    expect_equal(calls[0][0], x, what="the x that eps_model is given", hint="the model sees x_t as it is")
    expect_equal(calls[0][1], t, what="the t that eps_model is given", hint="the model sees the whole t, as integers")


@pytest.mark.stage(4)
def test_q_sample_moves_a_few_times_the_bytes_of_x(rng, cost):
    """Two products and a sum move 7x the bytes of x; detours through float64 or a stack of rows stay under 32x.
    A result for all steps, of which one is picked, moves 1000x and more."""
    abar = schedule(1000, 1e-4, 0.02)[1]
    x, noise = randn(rng, 2, 4, 3, 64, 64, dtype=torch.float32)
    t = randint(rng, 0, 1000, 4)
    with cost() as spent:
        q_sample(x, t, noise, abar)
    ratio = spent.bytes / x.nbytes
    expect(ratio >= 1, f"torch operators should do the work, but they saw only {ratio:.2f}x the bytes of x")
    expect(
        ratio <= 32,
        f"q_sample should move at most 32x the bytes of x, but moved {ratio:.0f}x ({dict(spent.calls.most_common(5))})",
        hint="pick the coefficients of each element's own step first, then touch x once",
    )


@pytest.mark.stage(4)
def test_step_does_not_redo_the_schedule_for_every_element(rng, cost):
    """A few passes over the 4000 steps are nothing; a [batch, steps] table, or one product for each element, moves
    batch x steps numbers. The limit is 128 passes over the schedule and 100 over x, for a batch of 512."""
    betas, x, t = schedule(4000, 1e-5, 0.004)[0], randn(rng, 512), randint(rng, 3996, 4000, 512)
    limit = 128 * betas.nbytes + 100 * x.nbytes
    for what, call in {
        "q_posterior": lambda: q_posterior(x, x, t, betas),
        "p_sample": lambda: p_sample(no_noise, x, t, betas),
    }.items():
        with cost() as spent:
            call()
        expect(spent.bytes >= x.nbytes, f"torch operators should do {what}'s work, but they saw {spent.bytes} bytes")
        expect(
            spent.bytes <= limit,
            f"{what} for 512 elements and 4000 steps should move at most {limit} bytes, but moved {spent.bytes}",
            hint="one cumulative product over [steps], then index it with t",
        )


@pytest.mark.stage(4)
def test_work_of_the_loop_grows_linearly_with_the_steps(cost):
    """Twice the steps are twice the work: one model call and a bounded number of operators for each of them."""
    operators = {}
    for steps in (50, 100):
        model, calls = recording(no_noise)
        with cost() as spent:
            p_sample_loop(model, (2, 3), schedule(steps, 1e-3, 0.1)[0])
        expect_equal(len(calls), steps, what=f"the number of model calls for {steps} steps")
        operators[steps] = spent.operators
    few, many = operators.values()
    expect(few >= 100, f"torch operators should do the loop's work, but only {few} were seen in 50 steps")
    sentence = f"100 steps should take about twice the operators of 50 ({few}), but take {many}"
    expect(many <= 2.5 * few, sentence, hint="does each step rebuild something for all the steps before it?")
    sentence = f"a step should take at most 200 operators, but takes {many / 100:.0f}"
    expect(many <= 200 * 100, sentence, hint="work on the whole batch at once")


# Stage 2 again: the slowest test comes last


@pytest.mark.stage(2)
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
