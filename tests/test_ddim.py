"""What any right DDIM does. A step is given its noise, so it is exact; the sampler's noise has statistics."""

import math
from itertools import pairwise

import pytest
import torch

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
from katas.ddim import ddim_sample, ddim_step, ddim_timesteps

# Two steps with round numbers: sqrt(abar) = [0.8, 0.6] and sqrt(1 - abar) = [0.6, 0.8].
ABAR = torch.tensor([0.64, 0.36], dtype=torch.float64)
SHAPES = [(6,), (6, 6), (6, 1, 6, 6), (6, 3, 4, 5)]
MANY = (40, 100)  # for statistics
SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
T, T_PREV = torch.tensor([0, 5, 3, 1, 4, 2]), torch.tensor([-1, 4, 0, -1, 1, 1])


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def at(*steps):
    return torch.tensor(steps)


def column(values, x):
    """[batch] numbers that multiply [batch, ...] images."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def abar_at(t, abar):
    return torch.cat([abar, abar.new_ones(1)])[t]  # the 1 is at -1


def diffused(x0, t, noise, abar):
    """x_t as DDPM's forward process makes it: what a sampler's path should look like."""
    a = column(abar_at(t, abar), x0)
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def no_noise(x, t):
    return torch.zeros_like(x)


def knows(mean, std, abar):
    """The exact noise prediction for data from N(mean, std^2): E[eps | x_t]."""

    def model(x, t):
        a = column(abar[t], x)
        return (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * std**2 + 1 - a)

    return model


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def expect_normal(draws, mean, std, *, what, hint):
    """Mean and standard deviation lie within 5.7 standard errors of theirs: a false alarm of 5e-8 at most for each."""
    got_mean, got_std, n = draws.mean().item(), draws.std().item(), draws.numel()
    sentence = f"{what} should have mean {mean:.4f}, but have {got_mean:.4f}"
    expect(abs(got_mean - mean) <= 5.7 * std / n**0.5, sentence, hint=hint)
    sentence = f"{what} should have standard deviation {std:.4f}, but have {got_std:.4f}"
    expect(abs(got_std / std - 1) <= 5.7 / (2 * n) ** 0.5, sentence, hint=hint)


# Stage 1: the grid, one step


@pytest.mark.stage(1)
@pytest.mark.parametrize(
    ("steps", "count", "grid"),
    [
        (1000, 5, [800, 600, 400, 200, 0]),
        (10, 4, [7, 5, 2, 0]),
        (1000, 3, [666, 333, 0]),
        (4, 4, [3, 2, 1, 0]),
        (1, 1, [0]),
    ],
)
def test_the_grid_is_spread_over_all_steps_and_falls_to_0(steps, count, grid):
    """A fixed stride of steps // count would leave the noisiest steps out wherever count does not divide steps."""
    got = ddim_timesteps(steps, count)
    what = f"ddim_timesteps({steps}, {count})"
    expect(isinstance(got, list), f"{what} should be a list of ints, but is a {type(got).__name__}")
    expect_equal(
        got, grid, what=what, hint="i * steps // count, multiplied before it is divided, for i = count - 1, ..., 1, 0"
    )


@pytest.mark.stage(1)
def test_a_deterministic_step_of_the_worked_example():
    """x_t = 1 with eps = -1 at abar = 0.36 shows x0 = (1 + 0.8) / 0.6 = 3; at 0.64 that gives 0.8 x 3 - 0.6 = 1.8."""
    expect_close(
        ddim_step(numbers(1), numbers(-1), at(1), at(0), ABAR),
        numbers(1.8),
        what="ddim_step(x_t=1, eps=-1, t=1, t_prev=0, abar=[0.64, 0.36])",
        hint="predict x0 with the weights of t, then combine x0 and the same eps with the weights of t_prev",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_the_last_step_returns_the_predicted_x0(eta):
    """Before step 0 nothing is noisy, abar = 1, so sigma = 0 for any eta: noise there is grain that nothing removes. As
    an index, -1 is the *noisiest* step: the picture would drown."""
    expect_close(
        ddim_step(numbers(1, 1), numbers(-1, -1), at(0, 1), at(-1, -1), ABAR, eta, numbers(5, 5)),
        numbers(2, 3),
        what=f"ddim_step(x_t=1, eps=-1, t=[0, 1], t_prev=-1, abar=[0.64, 0.36], eta={eta}), the predicted x0",
        hint="abar is 1 where t_prev is -1: neither alphas_cumprod[-1] nor alphas_cumprod[0]; and nothing is clipped",
    )


@pytest.mark.stage(1)
def test_with_the_true_noise_a_step_lands_on_the_forward_process(rng):
    """Why steps can be skipped: if eps is right, x_t' is exactly what q(x_t' | x_0) makes of the same x0 and noise,
    however far the jump."""
    x0, noise = randn(rng, 2, 15)
    later, earlier = torch.combinations(torch.arange(-1, 5), 2).T.flip(0)  # all pairs of steps
    expect_close(
        ddim_step(diffused(x0, later, noise, SIX), noise, later, earlier, SIX),
        diffused(x0, earlier, noise, SIX),
        what="ddim_step, with the true noise, for all pairs of t and t_prev among 5 steps",
        hint="the result is sqrt(abar') x0 + sqrt(1 - abar') eps, with abar' = abar at t_prev",
    )


@pytest.mark.stage(1)
def test_sigma_of_the_worked_example():
    """At eta = 1 from abar = 0.36 to 0.64: sigma^2 = 0.36 / 0.64 x (1 - 0.5625) = 0.24609375. From zeros only
    sigma x noise is left; eta scales sigma, not its square."""
    zero = numbers(0.0)
    for eta in (1.0, 0.5, 0.1):
        expect_close(
            ddim_step(zero, zero, at(1), at(0), ABAR, eta, numbers(2)),
            numbers(2 * eta * 0.24609375**0.5),
            what=f"ddim_step(x_t=0, eps=0, t=1, t_prev=0, abar=[0.64, 0.36], eta={eta}, noise=2)",
            hint="sigma = eta sqrt((1 - abar') / (1 - abar)) sqrt(1 - abar / abar'), and noise is multiplied by sigma",
        )


@pytest.mark.stage(1)
@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_noise_replaces_part_of_eps_so_that_the_variance_stays(eta):
    """The weights of eps and noise, squared, add up to 1 - abar': added on top, the noise would make every step too
    noisy. The weight of x0 is the same for every eta."""
    x0_weight, eps_weight, noise_weight = (
        ddim_step(diffused(x0, at(1), eps, ABAR), eps, at(1), at(0), ABAR, eta, noise)
        for x0, eps, noise in (numbers(1, 0, 0).split(1), numbers(0, 1, 0).split(1), numbers(0, 0, 1).split(1))
    )
    hint = "the direction's weight is sqrt(1 - abar' - sigma^2): sigma squared, under the root"
    expect_close(x0_weight, numbers(0.8), what=f"the weight of x0 in x_t' at eta={eta}", hint=hint)
    expect_close(
        eps_weight**2 + noise_weight**2,
        numbers(0.36),
        what=f"the squared weights of eps and noise, added, at eta={eta} and abar'=0.64",
        hint=hint,
    )


@pytest.mark.stage(1)
def test_eta_1_at_stride_1_is_the_ddpm_step(rng):
    """Ancestral sampling is a special case: mean (x - beta / sqrt(1 - abar) eps) / sqrt(alpha), variance beta-tilde."""
    x, eps, noise = randn(rng, 3, 5)
    t = torch.arange(1, 6)
    beta = 1 - SIX[t] / SIX[t - 1]
    mean = (x - beta / (1 - SIX[t]).sqrt() * eps) / (1 - beta).sqrt()
    expect_close(
        ddim_step(x, eps, t, t - 1, SIX, 1.0, noise),
        mean + (beta * (1 - SIX[t - 1]) / (1 - SIX[t])).sqrt() * noise,
        what="ddim_step(eta=1) from t to t - 1, beside DDPM's step with the posterior variance,",
        hint="sigma at eta = 1 is the root of the posterior variance; is it taken out of the weight of eps?",
    )


# Stage 2: mixed batches, the last step, the sampler


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_element_of_a_batch_has_steps_of_its_own(rng, shape):
    """Scalars, vectors, images, and batch == width, where a t that was not reshaped broadcasts along the wrong axis."""
    x, eps, noise = randn(rng, 3, *shape)

    def step(i):
        return ddim_step(x[i], eps[i], T[i], T_PREV[i], SIX, 0.7, noise[i])

    expect_close(
        step(slice(None)),
        torch.cat([step(slice(row, row + 1)) for row in range(6)]),
        what=f"ddim_step of a batch of shape {list(shape)}, t={T.tolist()} and t_prev={T_PREV.tolist()}, "
        "compared with its rows one by one,",
        hint="each row has a t and a t_prev of its own: reshape the coefficients to [batch, 1, ..., 1]",
    )


@pytest.mark.stage(2)
def test_eta_0_ignores_the_noise(rng):
    """Deterministic: the same start gives the same picture, which is what interpolation and inversion rest on."""
    x, eps, noise = randn(rng, 3, 6, 4)
    with expect_rng_untouched(what="ddim_step", hint="draw nothing: the noise is an argument"):
        without, given = (ddim_step(x, eps, T, T_PREV, SIX, 0.0, n) for n in (None, noise))
    expect_equal(given, without, what="ddim_step(eta=0) with noise, beside the same without,")


@pytest.mark.stage(2)
def test_sampler_visits_the_given_timesteps():
    """One call each, t as int64 [batch] with the timestep itself: not its place in the list, nor where it leads."""
    model, calls = recording(no_noise)
    got = ddim_sample(model, (2, 3, 4), [5, 3, 0], SIX)
    expect_equal(list(got.shape), [2, 3, 4], what="the shape of ddim_sample's result")
    expect_equal(
        [t.tolist() for _, t in calls],
        [[5, 5], [3, 3], [0, 0]],
        what="the t of eps_model's calls for timesteps [5, 3, 0] and a batch of 2",
        hint="one call for each of `timesteps`, the last included, with that timestep for every element",
    )
    expect_equal({t.dtype for _, t in calls}, {torch.int64}, what="the dtype of the t that eps_model is given")


@pytest.mark.stage(2)
@pytest.mark.parametrize("timesteps", [[5], [5, 4, 3, 2, 1, 0], [5, 3, 0], [4, 2]], ids=str)
def test_each_step_leads_to_the_next_timestep_and_the_last_to_clean_data(timesteps):
    """A model that sees no noise rescales x by sqrt(abar' / abar) a step: down to the next timestep of the grid, not to
    t - 1, and in the end to abar = 1, also where the grid stops above 0."""
    model, calls = recording(no_noise)
    end = ddim_sample(model, (3, 2), timesteps, SIX)
    shown = torch.stack([*(x for x, _ in calls), end])
    abar = abar_at(at(*timesteps, -1), SIX)
    expect_close(
        shown,
        shown[:1] * column((abar / abar[0]).sqrt(), shown),
        what=f"x before each of the timesteps {timesteps} and at the end, for eps = 0",
        hint="t_prev is the next entry of `timesteps`, and -1 after the last; each step continues from the one before",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("count", [1, 3, 30])
def test_gaussian_data_shrink_by_the_cosine_of_each_jump(rng, count):
    """For data from N(3, 1) the exact denoiser is known, and with abar = cos^2(angle) a deterministic step multiplies
    the distance from the mean by the cosine of the angle it turns. So few steps give too narrow samples, by this."""
    angles = torch.linspace(0, math.pi / 2, 62, dtype=torch.float64)[1:-1]  # 60 steps
    abar = angles.cos() ** 2
    timesteps = ddim_timesteps(60, count)
    model, calls = recording(knows(3.0, 1.0, abar))
    end = ddim_sample(model, (4, 5), timesteps, abar)
    jumps = numbers(*[angles[t] for t in timesteps], 0).diff()
    start = calls[0][0] - 3 * abar[timesteps[0]].sqrt()
    expect_close(
        end,
        3 + start * jumps.cos().prod(),
        what=f"samples of N(3, 1) in {count} deterministic steps, from the start that the model was shown,",
        hint="eta defaults to 0; every step uses the model's answer to the latest x",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_sampler_lands_on_data_that_is_a_single_point(eta):
    """If all data are 3, the exact denoiser knows the noise, and any grid and any eta must end at 3 exactly."""
    for timesteps in ([5, 4, 3, 2, 1, 0], [5, 2], [3]):
        expect_close(
            ddim_sample(knows(3.0, 0.0, SIX), (4, 2), timesteps, SIX, eta),
            torch.full((4, 2), 3.0, dtype=torch.float64),
            what=f"samples over timesteps {timesteps} at eta={eta} for data that are always 3",
            hint="the last step leads to t_prev = -1 and adds no noise; nothing is clipped",
        )


@pytest.mark.stage(2)
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_sampler_passes_through_the_forward_marginals(rng, eta):
    """For data that are always 1, x_t is distributed as q(x_t | x_0) whatever eta is and whatever steps are skipped:
    mean sqrt(abar_t), standard deviation sqrt(1 - abar_t). Eight bounds: a false alarm of 4e-7."""
    abar = (1 - numbers(0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.999)).cumprod(0)
    model, calls = recording(knows(1.0, 0.0, abar))
    ddim_sample(model, MANY, [6, 4, 2, 1], abar, eta)
    expect_equal(len(calls), 4, what="the number of model calls for 4 timesteps")
    for x, t in calls:
        a = abar[t[0]].item()
        what = f"x at t={t[0]} for data that are always 1, at eta={eta},"
        hint = "start from torch.randn(shape); at eta > 0 draw fresh standard normal noise for every step"
        expect_normal(x, a**0.5, (1 - a) ** 0.5, what=what, hint=hint)


@pytest.mark.stage(2)
def test_every_step_draws_fresh_noise_for_every_element(rng):
    """One noise for all steps, or for the whole batch, looks random and is not. Recovered from what the model is shown;
    0.25 is 8 standard errors of an uncorrelated pair."""
    model, calls = recording(no_noise)
    ddim_sample(model, (3, 1000), [5, 4, 2, 0], SIX, 1.0)
    noises = [later - earlier * (SIX[u[0]] / SIX[t[0]]).sqrt() for (earlier, t), (later, u) in pairwise(calls)]
    rows = torch.cat([calls[0][0], *noises])  # the start and three steps, of three elements each
    spread = rows.std(-1).min().item()
    expect(spread > 0.1, f"noise should vary within an element at eta=1, but its std is {spread:.3g}", hint="use eta")
    similar = torch.corrcoef(rows).triu(1).abs().max().item()
    expect(
        similar < 0.25,
        f"noise of different steps and elements should be uncorrelated, but correlates at {similar:.2f}",
        hint="torch.randn(shape) anew for every step",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(("steps", "count"), [(10, 0), (10, 11), (10, -1), (0, 0)])
def test_a_count_that_does_not_fit_is_an_error(steps, count):
    with expect_raises(ValueError, what=f"ddim_timesteps({steps}, {count})", hint="1 <= count <= steps"):
        ddim_timesteps(steps, count)


@pytest.mark.stage(2)
def test_eta_out_of_range_or_without_noise_is_an_error(rng):
    """Above 1 the weight of eps can be the root of a negative number; noise silently left out makes eta a lie."""
    x = randn(rng, 6, 2)
    hint = "raise unless 0 <= eta <= 1: `eta < 0 or eta > 1` lets NaN through"
    for eta in (-0.1, 1.1, math.nan):
        with expect_raises(ValueError, what=f"ddim_step(eta={eta})", hint=hint):
            ddim_step(x, x, T, T_PREV, SIX, eta, x)
        with expect_raises(ValueError, what=f"ddim_sample(eta={eta})", hint=hint):
            ddim_sample(no_noise, (6, 2), [3, 0], SIX, eta)
    with expect_raises(ValueError, what="ddim_step(eta=0.5) without noise", hint="draw none inside: ask for it"):
        ddim_step(x, x, T, T_PREV, SIX, 0.5)


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (1, 3)], ids=str)
def test_steps_of_another_shape_than_batch_are_an_error(shape):
    """A t of shape [1] or [] broadcasts silently."""
    x, good, bad = torch.zeros(3, 2, dtype=torch.float64), at(2, 1, 1), torch.ones(shape, dtype=torch.int64)
    for what, t, t_prev in (("t", bad, good - 1), ("t_prev", good, bad - 1), ("t and t_prev", bad, bad - 1)):
        what = f"ddim_step with {what} of shape {list(shape)} for a batch of 3"
        with expect_raises(ValueError, what=what, hint="compare t.shape and t_prev.shape with [batch]"):
            ddim_step(x, x, t, t_prev, SIX)


@pytest.mark.stage(2)
@pytest.mark.parametrize("timesteps", [[], [0, 3, 5], [5, 3, 3, 0], [6, 3, 0], [5, 0, -1]], ids=str)
def test_timesteps_that_do_not_fall_within_the_schedule_are_an_error(timesteps):
    """An ascending grid runs without a complaint and gives mush; so does the index -1."""
    what = f"ddim_sample over timesteps {timesteps} of 6 steps"
    with expect_raises(ValueError, what=what, hint="non-empty, strictly decreasing, within [0, steps)"):
        ddim_sample(no_noise, (2, 3), timesteps, SIX)


# Stage 3: dtypes, gradients, generators


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_results_have_the_dtype_of_x(rng, dtype, schedule_dtype):
    """A float64 schedule promotes float32 images without a word. Values: float32 schedules differ by 4e-4 where
    1 - abar is small, so 1e-3; half precision keeps 3 (or 2) digits."""
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    x, eps, noise = randn(rng, 3, 4, 3, 5, dtype=dtype)
    t, t_prev = at(0, 1, 40, 300), at(-1, 0, 20, 250)
    tolerance = {torch.float16: 1e-2, torch.bfloat16: 6e-2}.get(dtype, 1e-3)
    for eta in (0.0, 1.0):
        got = ddim_step(x, eps, t, t_prev, abar.to(schedule_dtype), eta, noise)
        what = f"ddim_step(eta={eta}) for {dtype} images and a {schedule_dtype} schedule"
        expect_equal(got.dtype, dtype, what=f"the dtype of {what}", hint="cast the coefficients to x's dtype")
        exact = ddim_step(x.double(), eps.double(), t, t_prev, abar, eta, noise.double())
        hint = "take 1 - abar in the schedule's dtype, and cast only the finished coefficients"
        expect_close(got.double(), exact, what=what, hint=hint, rtol=tolerance, atol=tolerance)


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_first_steps_survive_half_precision(dtype):
    """abar_0 = 0.9999 rounds to 1 in half precision: cast the schedule first, and eps has no weight, or sigma is
    0 / 0. Relative tolerance 2e-2: bfloat16 keeps 8 bits."""
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    t, t_prev = at(0, 1, 2), at(-1, 0, 1)
    zero, one = torch.zeros(3, 4, dtype=dtype), torch.ones(3, 4, dtype=dtype)
    for what, eta, inputs in (("eps=1, eta=0", 0.0, (zero, one, zero)), ("noise=1, eta=1", 1.0, (zero, zero, one))):
        x, eps, noise = inputs
        got = ddim_step(x, eps, t, t_prev, abar, eta, noise).double()
        exact = ddim_step(x.double(), eps.double(), t, t_prev, abar, eta, noise.double())
        what = f"ddim_step of zeros with {what} in {dtype} at t = [0, 1, 2]"
        hint = "compute in the schedule's dtype and cast the finished coefficients"
        expect_close(got, exact, what=what, hint=hint, rtol=2e-2, atol=2e-4)


@pytest.mark.stage(3)
def test_gradients_are_the_coefficients():
    """Guidance and fine-tuning by reward differentiate through the step. At eta = 1 x_t has weight 0.8 / 0.6, and eps
    0.3375 - 0.8 x 0.8 / 0.6, with 0.3375 = sqrt(0.36 - 0.24609375)."""
    inputs = torch.tensor([[1.0], [-1], [2]], dtype=torch.float64, requires_grad=True)
    x, eps, noise = inputs
    out = ddim_step(x, eps, at(1), at(0), ABAR, 1.0, noise)
    expect(out.requires_grad, "ddim_step should be differentiable, but has no graph", hint="no detach, no no_grad")
    out.sum().backward()
    want = [[0.8 / 0.6], [0.3375 - 0.64 / 0.6], [0.24609375**0.5]]
    what = "the gradients by x_t, eps and noise at t=1, t_prev=0, eta=1"
    expect_close(inputs.grad, torch.tensor(want, dtype=torch.float64), what=what)


@pytest.mark.stage(3)
def test_arguments_are_not_modified_and_may_be_views(rng):
    """x_t is needed for a trajectory, the grid for the next run. Channels-last images, strided schedules."""
    abar, t, t_prev = (s.repeat_interleave(2)[::2] for s in (SIX, T, T_PREV))
    dense, eps, noise = randn(rng, 3, 6, 3, 5, 5)
    x = dense.to(memory_format=torch.channels_last)
    timesteps = [5, 3, 0]
    with expect_unchanged(x, eps, noise, t, t_prev, abar, what="every argument"):
        got = ddim_step(x, eps, t, t_prev, abar, 0.5, noise)
        ddim_sample(no_noise, (2, 3), timesteps, abar, 0.5)
    expect_equal(timesteps, [5, 3, 0], what="the timesteps after ddim_sample", hint="make a new list")
    expect_close(got, ddim_step(dense, eps, T, T_PREV, SIX, 0.5, noise), what="ddim_step of views", hint="not view")


@pytest.mark.stage(3)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_generator_is_the_only_source_of_randomness(rng, eta):
    """Equal generators give equal samples, the start included; the global stream stays where it was."""

    def sample(generator):
        return ddim_sample(no_noise, (4, 6), [5, 3, 0], SIX, eta, generator=generator)

    with expect_rng_untouched(what=f"ddim_sample(eta={eta}) with a generator"):
        first, again = sample(seeded(1)), sample(seeded(1))
    what = f"ddim_sample(eta={eta}) with an equally seeded generator"
    expect_equal(again, first, what=what, hint="pass `generator` to every randn")
    generator = seeded(1)
    sample(generator)
    for how, other in (("another seed", sample(seeded(2))), ("the next call", sample(generator))):
        expect((other != first).any(), f"ddim_sample with {how} of the generator should differ, but is the same")
    expect((sample(None) != sample(None)).any(), "two calls of ddim_sample without a generator should differ")


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_sampler_has_the_dtype_of_the_schedule(dtype):
    """There is no image to ask: `alphas_cumprod` decides what the model is shown and what comes back."""
    model, calls = recording(no_noise)
    got = ddim_sample(model, (2, 3), [5, 3, 0], SIX.to(dtype), 1.0)
    for what, x in (("the samples", got), ("the first x", calls[0][0]), ("the last x", calls[-1][0])):
        expect_equal(x.dtype, dtype, what=f"the dtype of {what}", hint="torch.randn(..., dtype=alphas_cumprod.dtype)")


@pytest.mark.stage(3)
def test_sampler_keeps_no_autograd_graph():
    """With a graph, every step's activations stay alive: out of memory at sampling time."""
    weight = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    got = ddim_sample(lambda x, t: weight * x, (2, 3), [5, 3, 0], SIX)
    expect(not got.requires_grad, "the samples should carry no graph, but require grad", hint="torch.no_grad()")
    expect(torch.is_grad_enabled(), "gradients should be enabled again afterwards, but are off", hint="use `with`")


# Stage 4: cost


@pytest.mark.stage(4)
def test_step_moves_a_few_times_the_bytes_of_x(rng, cost):
    """The reference moves 19x the bytes of x; detours through float64 or a stack of rows stay under 80x. A result
    for all 1000 steps, of which one is picked, moves far more."""
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    x, eps, noise = randn(rng, 3, 4, 3, 64, 64, dtype=torch.float32)
    t = randint(rng, 500, 1000, 4)
    with cost() as spent:
        ddim_step(x, eps, t, t - 100, abar, 1.0, noise)
    ratio = spent.bytes / x.nbytes
    expect(ratio >= 1, f"torch operators should do the work, but they saw only {ratio:.2f}x the bytes of x")
    sentence = f"ddim_step should move at most 80x the bytes of x, but moved {ratio:.0f}x: {spent.calls.most_common(5)}"
    expect(ratio <= 80, sentence, hint="pick the coefficients of each element's steps first, then touch x a few times")


@pytest.mark.stage(4)
def test_sampler_does_little_beside_calling_the_model(rng, cost):
    """The model is the cost: one call a timestep with the whole batch; around it at most 400 operators for 8 images:
    a loop over the images may do, one over their numbers not."""
    model, calls = recording(no_noise)
    with cost() as spent:
        ddim_sample(model, (8, 3), [5, 4, 3, 1, 0], SIX, 1.0)
    expect_equal(
        [list(x.shape) for x, _ in calls], [[8, 3]] * 5, what="the shapes that eps_model is given, call by call"
    )
    per_step = spent.operators / 5
    sentence = f"ddim_sample should take at most 400 operators a timestep, but took {per_step:.0f}"
    expect(per_step <= 400, sentence, hint="work on the whole batch at once")
