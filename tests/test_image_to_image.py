"""What any right image-to-image does. The noise is the only chance in it: it cancels between equally seeded runs, is
recovered from what the model is shown, or is measured."""

import math

import pytest
import torch

from dojo.testing import (
    expect,
    expect_close,
    expect_equal,
    expect_raises,
    expect_rng_untouched,
    expect_unchanged,
    randn,
)
from katas.image_to_image import image_to_image, start_step

SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
GRID = [5, 4, 3, 1]
RUNS = [(1.0, GRID), (0.75, [4, 3, 1]), (0.5, [3, 1]), (0.25, [1])]  # strength, and which timesteps of GRID it runs
FINE = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)


def column(values, x):
    """[batch] numbers that multiply [batch, ...] images."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def no_noise(x, t):
    return torch.zeros_like(x)


def knows(mean, std, abar):
    """The exact noise prediction for data from N(mean, std^2); with std 0, for the one picture `mean`."""

    def model(x, t):
        a = column(abar[t], x)
        eps = (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * std**2 + 1 - a)
        return eps.to(x.dtype)

    return model


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def first_shown(x0, strength, timesteps, abar, seed=0):
    """What the model is shown first: the noised picture. Equal seeds draw equal noise."""
    model, calls = recording(no_noise)
    image_to_image(model, x0, strength, timesteps, abar, generator=seeded(seed))
    expect(calls, f"the model should be called at strength={strength}, but is not")
    return calls[0][0]


# Stage 1: how many steps, which, and from where


@pytest.mark.stage(1)
@pytest.mark.parametrize(
    ("steps", "strength", "count"),
    [(50, 0.8, 40), (50, 0.5, 25), (10, 0.96, 10), (7, 0.2, 1), (100, 0.29, 29), (5, 0.5, 2), (10, 1, 10), (10, 0, 0)],
)
def test_strength_is_the_share_of_steps_that_are_run(steps, strength, count):
    """0.29 x 100 is 28.999999999999996 to a computer: cutting it off, as some pipelines do, loses a step. Python's round
    takes halves to the even neighbour, so 2.5 is 2."""
    got, what = start_step(steps, strength), f"start_step({steps}, {strength})"
    expect(isinstance(got, int), f"{what} should be an int, but is a {type(got).__name__}")
    expect_equal(got, count, what=what, hint="round(steps * strength): how many are run, not how many are skipped")


@pytest.mark.stage(1)
@pytest.mark.parametrize(("strength", "run"), RUNS)
def test_only_the_last_timesteps_are_run(strength, run):
    """The picture joins where it is as noisy as the model expects; everything before that is skipped."""
    model, calls = recording(no_noise)
    image_to_image(model, torch.ones(2, 3, dtype=torch.float64), strength, GRID, SIX)
    what = f"the t of eps_model's calls at strength={strength} over timesteps {GRID}, for a batch of 2"
    hint = "run the last start_step(len(timesteps), strength) of the timesteps, in their order"
    expect_equal([t.tolist() for _, t in calls], [[t, t] for t in run], what=what, hint=hint)
    expect_equal({t.dtype for _, t in calls}, {torch.int64}, what="the dtype of the t that eps_model is given")


@pytest.mark.stage(1)
@pytest.mark.parametrize(("strength", "run"), RUNS)
def test_the_picture_has_the_weight_of_the_first_timestep_that_is_run(rng, strength, run):
    """Two pictures with the same noise differ by sqrt(abar_t) times their difference. One timestep off, and the model
    sees a picture that is noisier, or cleaner, than it is told."""
    first, second = randn(rng, 2, 2, 3, 4)
    expect_close(
        first_shown(first, strength, GRID, SIX) - first_shown(second, strength, GRID, SIX),
        SIX[run[0]].sqrt() * (first - second),
        what=f"how two equally noised pictures differ when the model first sees them, at strength={strength},",
        hint=f"x0 is weighted by sqrt(alphas_cumprod[t]) for t = {run[0]}, the first timestep that is run, not for a neighbour or timesteps[0]",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize(("strength", "run"), RUNS)
def test_the_noise_has_the_spread_of_the_first_timestep_that_is_run(strength, run):
    """From a black picture only sqrt(1 - abar_t) x noise is left. 4000 numbers, bounds of 6 standard errors: a false
    alarm of 4e-9 for each of two."""
    noise = first_shown(torch.zeros(40, 100, dtype=torch.float64), strength, GRID, SIX)
    spread, hint = (1 - SIX[run[0]]).sqrt().item(), "torch.randn times the square root of 1 - abar_t"
    got = noise.std().item()
    sentence = f"at strength={strength} the noise should have standard deviation {spread:.4f}, but has {got:.4f}"
    expect(abs(got / spread - 1) < 6 / 8000**0.5, sentence, hint=hint)
    mean = noise.mean().item()
    expect(abs(mean) < 6 * spread / 4000**0.5, f"the noise should have mean 0, but has {mean:.4f}", hint=hint)


@pytest.mark.stage(1)
@pytest.mark.parametrize("strength", [1.0, 0.75, 0.5, 0.25, 0.0])
def test_a_model_that_knows_the_picture_gives_it_back(rng, strength):
    """With eps exactly right the noise is taken out again, whatever the strength: this must end at x0."""
    x0 = randn(rng, 3, 4)
    expect_close(
        image_to_image(knows(x0, 0.0, SIX), x0, strength, GRID, SIX),
        x0,
        what=f"image_to_image(strength={strength}) with a model that sees exactly which noise is in x",
        hint="the last step leads to t_prev = -1, clean data; each step uses the model's answer to the latest x",
    )


@pytest.mark.stage(1)
@pytest.mark.parametrize("steps", [1, 2, 5, 15, 30])
def test_strength_decides_how_much_of_the_picture_is_left(rng, steps):
    """For data from N(3, 1) and abar = cos^2(angle), noising and each step multiply the distance from the mean by the
    cosine of the angle they turn: two pictures come out closer to each other by exactly these factors."""
    angles = torch.linspace(0, math.pi / 2, 62, dtype=torch.float64)[1:-1]  # 60 steps
    abar, grid = angles.cos() ** 2, list(range(58, -1, -2))  # 30 timesteps
    first, second = randn(rng, 2, 2, 5)
    a, b = (
        image_to_image(knows(3.0, 1.0, abar), x, steps / 30, grid, abar, generator=seeded(0)) for x in (first, second)
    )
    turned = angles[grid[-steps:]]
    jumps = torch.cat([turned, turned.new_zeros(1)]).diff()
    expect_close(
        a - b,
        (first - second) * turned[0].cos() * jumps.cos().prod(),
        what=f"how two pictures differ in the end after {steps} of 30 steps, with equal noise and the model of N(3, 1),",
        hint="noise x0 once, to the first timestep that is run; each step continues from the one before, the last to -1",
    )


# Stage 2: strength 0 and 1, grids, batches, wrong strengths


@pytest.mark.stage(2)
@pytest.mark.parametrize("strength", [0, 0.0, 0.1, 0.125])
def test_without_a_step_the_picture_comes_back_unchanged(rng, strength):
    """0.125 x 4 is a half, which rounds to no step. timesteps[-0:] is the whole list: with that, strength 0 would run
    everything and keep almost nothing."""
    x0 = randn(rng, 3, 2, 4)
    model, calls = recording(no_noise)
    got = image_to_image(model, x0, strength, GRID, SIX)
    hint = "with no step to run return x0's values as they are; timesteps[-count:] is everything when count is 0"
    expect_equal(len(calls), 0, what=f"the number of model calls at strength={strength} over 4 timesteps", hint=hint)
    expect_equal(got, x0, what=f"image_to_image(strength={strength}) over 4 timesteps", hint=hint)


@pytest.mark.stage(2)
def test_strength_1_still_starts_from_the_picture(rng):
    """A little of the picture is left at the first timestep, and pure noise there would be a shift in brightness."""
    x0 = randn(rng, 2, 3)
    shift = first_shown(x0 + 10, 1, GRID, SIX) - first_shown(x0, 1, GRID, SIX)
    what = "what 10 more in x0 changes in the first x that the model is shown at strength 1"
    hint = "noise x0 to timesteps[0]; do not start from noise alone, or from x0 + noise"
    expect_close(shift, torch.full_like(x0, 10 * SIX[5].sqrt().item()), what=what, hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("timesteps", [[3], [5, 2], [4, 3], (5, 4, 3, 2, 1, 0), [5, 0]], ids=str)
def test_each_step_leads_to_the_next_timestep_and_the_last_to_clean_data(timesteps):
    """A model that sees no noise rescales x by sqrt(abar' / abar) a step: to the next timestep of the grid rather than
    t - 1, in the end to abar = 1, and with no noise after the first."""
    model, calls = recording(no_noise)
    end = image_to_image(model, torch.ones(3, 2, dtype=torch.float64), 1.0, timesteps, SIX)
    expect_equal(len(calls), len(timesteps), what=f"the number of model calls at strength 1 over timesteps {timesteps}")
    shown = torch.stack([*(x for x, _ in calls), end])
    abar = torch.cat([SIX[list(timesteps)], SIX.new_ones(1)])
    expect_close(
        shown,
        shown[:1] * column((abar / abar[0]).sqrt(), shown),
        what=f"x before each of the timesteps {timesteps} and at the end, for eps = 0",
        hint="t_prev is the next entry of `timesteps`, and -1 after the last; no noise but the first",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(4,), (3, 3), (3, 2, 5), (2, 3, 4, 4), (1, 1, 1, 1)], ids=str)
def test_images_may_have_any_shape(rng, shape):
    """Scalars, vectors, pictures, and batch == width; the result has the shape of x0."""
    x0, model, calls = randn(rng, *shape), *recording(no_noise)
    got = image_to_image(model, x0, 0.5, GRID, SIX)
    expect_equal(list(got.shape), list(shape), what=f"the shape of the result for x0 of shape {list(shape)}")
    expect_equal(
        [(list(x.shape), list(t.shape)) for x, t in calls],
        [(list(shape), [shape[0]])] * 2,
        what="the shapes of the x and t that eps_model is given, call by call",
        hint="the whole batch in one call, and t as int64 [batch]",
    )


@pytest.mark.stage(2)
def test_every_element_has_noise_of_its_own():
    """The same picture thrice in a batch must give three variations. 0.25 is 8 standard errors of an uncorrelated pair."""
    rows = first_shown(torch.zeros(3, 1000, dtype=torch.float64), 0.5, GRID, SIX)
    spread = rows.std(-1).min().item()
    hint = "torch.randn of the shape of x0"
    expect(spread > 0.1, f"noise should vary within an element, but its standard deviation is {spread:.3g}", hint=hint)
    similar = torch.corrcoef(rows).triu(1).abs().max().item()
    sentence = f"the noise of different elements should be uncorrelated, but correlates at {similar:.2f}"
    expect(similar < 0.25, sentence, hint=hint)


@pytest.mark.stage(2)
@pytest.mark.parametrize("strength", [-0.1, 1.1, 75, math.nan, -math.inf])
def test_a_strength_outside_0_to_1_is_an_error(strength):
    """75 for 75 % slices silently to something, and so does -0.1."""
    hint = "ValueError unless 0 <= strength <= 1"
    with expect_raises(ValueError, what=f"start_step(10, {strength})", hint=hint):
        start_step(10, strength)
    with expect_raises(ValueError, what=f"image_to_image(strength={strength})", hint=hint):
        image_to_image(no_noise, torch.ones(2, 3), strength, GRID, SIX)


# Stage 3: dtypes, generators, gradients


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_everything_has_the_dtype_of_the_picture(rng, dtype, schedule_dtype):
    """A float64 schedule promotes float32 pictures without a word. Values: a model that knows the picture gives it back,
    up to the rounding of a few steps."""
    x0 = randn(rng, 3, 5, dtype=dtype)
    model, calls = recording(knows(x0.double(), 0.0, SIX))
    hint = "draw the noise in x0's dtype; alphas_cumprod[t], without dimensions, promotes nothing, but [batch, 1, ...] does"
    tolerance = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4}.get(dtype, 1e-6)
    for strength in (0.0, 1.0):
        got = image_to_image(model, x0, strength, GRID, SIX.to(schedule_dtype))
        what = f"image_to_image(strength={strength}) of {dtype} pictures under a {schedule_dtype} schedule"
        expect_equal(got.dtype, dtype, what=f"the dtype of {what}", hint=hint)
        expect_close(got.double(), x0.double(), what=what, rtol=tolerance, atol=tolerance)
    expect_equal({x.dtype for x, _ in calls}, {dtype}, what="the dtype of the x that eps_model is given", hint=hint)


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_little_noise_survives_half_precision(dtype):
    """abar_0 = 0.9999 rounds to 1 in half precision: a schedule that is cast first adds no noise at all. From black
    pictures; a standard deviation of 4000 numbers is known to 1 %, half precision adds less than 1 %."""
    spread = first_shown(torch.zeros(40, 100, dtype=dtype), 0.1, list(range(9, -1, -1)), FINE).double().std().item()
    sentence = f"the noise at t=0 in {dtype} should have standard deviation 0.0100, but has {spread:.4f}"
    expect(abs(spread / 0.01 - 1) < 0.08, sentence, hint="take 1 - abar and its root in the schedule's dtype")


@pytest.mark.stage(3)
def test_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal results; the global stream stays where it was."""
    x0 = randn(rng, 3, 4)

    def edit(generator):
        return image_to_image(no_noise, x0, 0.5, GRID, SIX, generator=generator)

    with expect_rng_untouched(what="image_to_image with a generator"):
        first, again = edit(seeded(1)), edit(seeded(1))
    what = "image_to_image with an equally seeded generator"
    expect_equal(again, first, what=what, hint="pass `generator` to torch.randn; torch.randn_like takes none")
    generator = seeded(1)
    edit(generator)
    for how, other in (("another seed", edit(seeded(2))), ("the next call", edit(generator))):
        expect((other != first).any(), f"image_to_image with {how} of the generator should differ, but is the same")
    expect((edit(None) != edit(None)).any(), "two calls of image_to_image without a generator should differ")


@pytest.mark.stage(3)
def test_arguments_are_not_modified_and_may_be_views(rng):
    """The picture is needed for the next variation. Channels-last pictures and strided schedules are usual."""
    abar, dense, timesteps = SIX.repeat_interleave(2)[::2], randn(rng, 6, 3, 5, 5), list(GRID)
    x0 = dense.to(memory_format=torch.channels_last)
    with expect_unchanged(x0, abar, what="every argument"):
        for strength in (0.0, 0.5, 1.0):
            got = image_to_image(knows(dense, 0.0, SIX), x0, strength, timesteps, abar)
            expect_close(got, dense, what=f"image_to_image(strength={strength}) of a channels-last picture")
    expect_equal(timesteps, GRID, what="the timesteps after image_to_image", hint="make a new list")


@pytest.mark.stage(3)
def test_the_result_keeps_no_autograd_graph():
    """With a graph, every step's activations stay alive: out of memory at sampling time."""
    weight = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    x0 = torch.ones(2, 3, dtype=torch.float64)
    got = image_to_image(lambda x, t: weight * x, x0, 0.75, GRID, SIX)
    expect(not got.requires_grad, "the result should carry no graph, but requires grad", hint="torch.no_grad()")
    expect(torch.is_grad_enabled(), "gradients should be enabled again afterwards, but are off", hint="use `with`")


# Stage 4: cost


@pytest.mark.stage(4)
@pytest.mark.parametrize(("strength", "run"), [(1.0, 100), (0.3, 30), (0.01, 1)])
def test_work_is_in_proportion_to_the_steps_that_are_run(cost, strength, run):
    """One model call with the whole batch for each step that is run; around it at most 200 operators for 8 pictures.
    Steps that are skipped cost nothing: strength 0.3 takes a third of the time."""
    model, calls = recording(no_noise)
    with cost() as spent:
        image_to_image(model, torch.ones(8, 3), strength, list(range(990, -1, -10)), FINE)
    shapes = [list(x.shape) for x, _ in calls]
    expect_equal(shapes, [[8, 3]] * run, what=f"the shapes that eps_model is given at strength={strength}")
    per_step = spent.operators / run
    sentence = f"image_to_image should take at most 200 operators for each step it runs, but took {per_step:.0f}"
    expect(per_step <= 200, sentence, hint="work on the whole batch at once, and only on the steps that are run")
