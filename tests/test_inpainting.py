"""What any right inpainting does, whether it puts the known region back before each step or after it, with fresh noise or
always the same. The noise cancels between equally seeded runs, or is measured."""

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
from katas.inpainting import inpaint

SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
GRID = [5, 4, 2, 1]
HALF = torch.tensor([0, 1] * 100)  # every other number is known
MANY = (40, 200)  # 4000 known ones and 4000 in the hole
EITHER = "the known region is put back at t before the step from t, or at t_prev after it"


def column(values, x):
    """[batch] numbers that multiply [batch, ...] images."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def some_mask(rng, *shape):
    """0 or 1, at random, with both at the corners."""
    mask = randint(rng, 0, 2, *shape)
    mask.view(-1)[0], mask.view(-1)[-1] = 0, 1
    return mask


def no_noise(x, t):
    return torch.zeros_like(x)


def knows(x0, abar=SIX):
    """The exact noise prediction for data that are always x0."""

    def model(x, t):
        a = column(abar[t], x)
        return ((x - a.sqrt() * x0) / (1 - a).sqrt()).to(x.dtype)

    return model


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def shown(x0, mask, timesteps=GRID, eps_model=no_noise):
    """Every x that the model is shown, [calls, *x0.shape]. Equal noise in every run."""
    model, calls = recording(eps_model)
    inpaint(model, x0, mask, timesteps, SIX, generator=seeded(0))
    expect_equal(len(calls), len(timesteps), what=f"the number of model calls over timesteps {timesteps}")
    return torch.stack([x for x, _ in calls])


def expect_normal(numbers, spread, *, what, hint):
    """Mean and standard deviation within 6 standard errors: a false alarm of 2e-9 for each."""
    n, mean, std = numbers.numel(), numbers.mean().item(), numbers.std().item()
    expect(abs(mean) < 6 * spread / n**0.5, f"{what} should have mean 0, but has {mean:.4f}", hint=hint)
    sentence = f"{what} should have standard deviation {spread:.4f}, but has {std:.4f}"
    expect(abs(std / spread - 1) < 6 / (2 * n) ** 0.5, sentence, hint=hint)


# Stage 1: what is kept, what is repainted, what the model is shown


@pytest.mark.stage(1)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_known_region_ends_exactly_as_given(rng, dtype):
    """Not nearly: the promise is that nothing outside the mask changes, to the last bit."""
    x0, mask = randn(rng, 3, 2, 4, 4, dtype=dtype), some_mask(rng, 3, 1, 4, 4)
    got = inpaint(lambda x, t: 0.3 * x.flip(-1), x0, mask, GRID, SIX)
    known = (mask == 0).expand(x0.shape)
    expect_equal(list(got.shape), list(x0.shape), what="the shape of the result")
    hint = "after the last step put x0 itself back where the mask is 0; 1 is what is repainted"
    expect_equal(got[known], x0[known], what="the result where the mask is 0", hint=hint)


@pytest.mark.stage(1)
def test_the_hole_is_repainted(rng):
    """With a model that knows one picture only, the hole must end as that picture."""
    x0, other, mask = randn(rng, 2, 3, 4), randn(rng, 2, 3, 4), some_mask(rng, 2, 3, 4)
    expect_close(
        inpaint(knows(other), x0, mask, GRID, SIX),
        torch.where(mask == 1, other, x0),
        what="the result, with a model that always sees one other picture in x,",
        hint="where the mask is 1, x goes through all steps and the last leads to t_prev = -1; elsewhere it is x0",
    )


@pytest.mark.stage(1)
def test_the_model_is_asked_at_each_of_the_timesteps(rng):
    """Once each, in their order, with the whole batch and t as int64 [batch]."""
    model, calls = recording(no_noise)
    inpaint(model, randn(rng, 2, 6), some_mask(rng, 2, 6), GRID, SIX)
    what = f"the t of eps_model's calls over timesteps {GRID}, for a batch of 2"
    expect_equal([t.tolist() for _, t in calls], [[t, t] for t in GRID], what=what)
    expect_equal({t.dtype for _, t in calls}, {torch.int64}, what="the dtype of the t that eps_model is given")


@pytest.mark.stage(1)
def test_the_known_region_is_shown_at_the_level_of_each_call(rng):
    """Two pictures with the same noise differ by sqrt(abar_t) times their difference in what the model is shown at t. The
    clean picture there, or one noised to a neighbouring timestep, does not fit the t that comes with it."""
    first, second = randn(rng, 2, 3, 8)
    difference = (shown(first, HALF[:8]) - shown(second, HALF[:8]))[..., HALF[:8] == 0]
    for t, got in list(zip(GRID, difference, strict=True))[1:]:
        expect_close(
            got,
            SIX[t].sqrt() * (first - second)[..., HALF[:8] == 0],
            what=f"how two pictures, equally noised, differ in the known region that the model is shown at t={t},",
            hint=f"sqrt(abar_t) x0 + sqrt(1 - abar_t) noise: {EITHER}",
        )


@pytest.mark.stage(1)
def test_the_known_region_is_as_noisy_as_the_model_expects():
    """Its noise has the standard deviation sqrt(1 - abar_t) in each call: measured on black pictures."""
    for t, x in list(zip(GRID, shown(torch.zeros(MANY, dtype=torch.float64), HALF), strict=True))[1:]:
        what = f"the noise of the known region that the model is shown at t={t}"
        hint = f"q_sample with torch.randn at the timestep of the call: {EITHER}"
        expect_normal(x[:, HALF == 0], (1 - SIX[t]).sqrt().item(), what=what, hint=hint)


@pytest.mark.stage(1)
def test_the_first_call_shows_the_noised_picture_or_pure_noise():
    """Who replaces before the step shows x0 at timesteps[0], who replaces after it pure noise. Nothing else."""
    black, white = torch.zeros(MANY, dtype=torch.float64), torch.ones(MANY, dtype=torch.float64)
    dark, bright = (shown(x0, HALF)[0][:, HALF == 0] for x0 in (black, white))
    weight = (bright - dark).mean().item()
    right = min((0.0, SIX[5].sqrt().item()), key=lambda w: abs(w - weight))
    hint = "start from torch.randn; you may put the known region back at timesteps[0] before the first step"
    what = "what 1 more in x0 changes in the known region of the first x that the model is shown"
    expect_close(bright - dark, torch.full_like(dark, right), what=what, hint=hint)
    what = "the noise of the known region in the first x that the model is shown"
    expect_normal(dark, (1 - right**2) ** 0.5, what=what, hint=hint)


@pytest.mark.stage(1)
def test_the_hole_starts_from_pure_noise():
    """Not from what x0 holds there: that is what the user wants to be rid of."""
    start = shown(torch.full(MANY, 5.0, dtype=torch.float64), HALF)[0][:, HALF == 1]
    hint = "x starts as torch.randn of the shape of x0, not as x0 noised"
    expect_normal(start, 1.0, what="the hole in the first x that the model is shown", hint=hint)


@pytest.mark.stage(1)
def test_what_was_in_the_hole_plays_no_part(rng):
    """Whatever is painted over must not shine through, not even by way of the model, which here mixes all numbers."""
    x0, mask = randn(rng, 2, 8), HALF[:8]

    def result(x0):
        return inpaint(lambda x, t: x.flip(-1) + x.mean(), x0, mask, GRID, SIX, generator=seeded(0))

    expect_close(
        result(x0 + 100 * mask)[:, mask == 1],
        result(x0)[:, mask == 1],
        what="the repainted hole when x0 is 100 higher there",
        hint="in the hole use only x; x0 counts where the mask is 0",
    )


@pytest.mark.stage(1)
def test_the_hole_fits_what_is_around_it(rng):
    """For data (a, a), both numbers equal, the exact denoiser is known. Given the first, the second should come out close
    to it: 20 steps reach a correlation of 0.96 with one noise and 0.98 with fresh noise, while pasting x0 over a
    finished sample has none. For 400 pairs 0.8 is more than 15 standard errors from either."""
    abar = torch.linspace(0, torch.pi / 2, 22, dtype=torch.float64)[1:-1].cos() ** 2

    def model(x, t):
        a = column(abar[t], x)
        return (x - a * x.sum(1, keepdim=True) / (1 + a)) / (1 - a).sqrt()

    x0 = randn(rng, 400, 1) * torch.tensor([1.0, 0.0])
    got = inpaint(model, x0, torch.tensor([0, 1]), list(range(19, -1, -1)), abar)
    fit = torch.corrcoef(torch.stack([x0[:, 0], got[:, 1]]))[0, 1].item()
    sentence = (
        f"what is painted should correlate with what is around it (data (a, a)) at 0.8 or more, but does at {fit:.2f}"
    )
    expect(fit >= 0.8, sentence, hint=f"let the model see the known region at every step: {EITHER}")


# Stage 2: masks of any shape and dtype, whole and empty ones, wrong shapes


@pytest.mark.stage(2)
@pytest.mark.parametrize("timesteps", [[3], [5, 2], [4, 3], (5, 4, 3, 2, 1, 0), [5, 0]], ids=str)
def test_in_the_hole_each_step_leads_to_the_next_timestep(rng, timesteps):
    """A model that sees no noise rescales x by sqrt(abar' / abar) a step: to the next timestep of the grid rather than
    t - 1, in the end to abar = 1, and nothing is added on the way."""
    model, calls = recording(no_noise)
    end = inpaint(model, randn(rng, 3, 8), HALF[:8], timesteps, SIX)
    expect_equal(len(calls), len(timesteps), what=f"the number of model calls over timesteps {timesteps}")
    hole = torch.stack([*(x for x, _ in calls), end])[..., HALF[:8] == 1]
    abar = torch.cat([SIX[list(timesteps)], SIX.new_ones(1)])
    expect_close(
        hole,
        hole[:1] * column((abar / abar[0]).sqrt(), hole),
        what=f"the hole before each of the timesteps {timesteps} and at the end, for eps = 0",
        hint="t_prev is the next entry of `timesteps`, and -1 after the last; put back only where the mask is 0",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 1, 4, 5), (1, 1, 4, 5), (4, 5), (2, 1, 1, 1), (5,)], ids=str)
def test_masks_broadcast(rng, shape):
    """Usually one mask for all channels, [batch, 1, h, w], and each picture has its own."""
    x0, other, mask = randn(rng, 2, 3, 4, 5), randn(rng, 2, 3, 4, 5), some_mask(rng, *shape)
    model, calls = recording(knows(other))
    expect_close(
        inpaint(model, x0, mask, GRID, SIX),
        torch.where(mask == 1, other, x0),
        what=f"the result for pictures [2, 3, 4, 5] and a mask {list(shape)}",
        hint="expand the mask to the shape of x0; every element and channel has its own part of it",
    )
    expect_equal([list(x.shape) for x, _ in calls], [[2, 3, 4, 5]] * 4, what="the shapes of x that eps_model is given")


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(6,), (3, 3), (3, 2, 5), (2, 3, 4, 4)], ids=str)
def test_images_may_have_any_shape(rng, shape):
    """Scalars, vectors, sequences, pictures, and batch == width."""
    x0, other, mask = randn(rng, *shape), randn(rng, *shape), some_mask(rng, *shape)
    got = inpaint(knows(other), x0, mask, GRID, SIX)
    expect_close(got, torch.where(mask == 1, other, x0), what=f"the result for pictures of shape {list(shape)}")


@pytest.mark.stage(2)
@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64], ids=str
)
def test_masks_may_have_any_dtype(rng, dtype):
    """Comparisons give bool, for which 1 - mask is an error and mask[...] an index; image files give uint8; a float64
    mask promotes everything it multiplies."""
    x0, other, mask = randn(rng, 3, 4, dtype=torch.float32), randn(rng, 3, 4, dtype=torch.float32), some_mask(rng, 3, 4)
    got = inpaint(knows(other, SIX.float()), x0, mask.to(dtype), GRID, SIX)
    what, hint = f"the result for float32 pictures and a {dtype} mask", "torch.where with a bool mask takes them all"
    # A few steps in float32, from numbers of about 1 that are divided by 0.2: 1e-4 is ample.
    expect_close(got, torch.where(mask == 1, other, x0), what=what, hint=hint, rtol=1e-4, atol=1e-4)


@pytest.mark.stage(2)
def test_an_empty_mask_changes_nothing_and_a_whole_one_everything(rng):
    """Nothing to repaint: x0, exactly. Everything: an ordinary sample, in which x0 plays no part."""
    x0, other = randn(rng, 2, 2, 3, 3)
    for mask in (torch.zeros(3, 3), torch.tensor(0)):
        got = inpaint(knows(other), x0, mask, GRID, SIX)
        expect_equal(got, x0, what=f"the result for a mask {list(mask.shape)} of zeros", hint="mask 0 keeps x0")
    a, b = (inpaint(no_noise, x, torch.ones(3, 3), GRID, SIX, generator=seeded(0)) for x in (x0, other))
    expect_equal(a, b, what="the result for a mask of ones, beside that for another x0 and the same noise,")


@pytest.mark.stage(2)
def test_every_element_has_noise_of_its_own(rng):
    """The same picture thrice must give three variations. 0.25 is 8 standard errors of an uncorrelated pair."""
    xs = shown(torch.zeros(3, 2000, dtype=torch.float64), HALF.repeat(10))
    for what, x in (
        ("the start", xs[0][:, HALF.repeat(10) == 1]),
        ("the known region", xs[1][:, HALF.repeat(10) == 0]),
    ):
        similar = torch.corrcoef(x).triu(1).abs().max().item()
        sentence = f"the noise of different elements in {what} should be uncorrelated, but correlates at {similar:.2f}"
        expect(similar < 0.25, sentence, hint="torch.randn of the shape of x0")


@pytest.mark.stage(2)
@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (1, 2, 4, 4, 4), (1, 3, 4, 4), (1, 1, 5, 5), (2,)], ids=str)
def test_a_mask_that_does_not_fit_is_an_error(rng, shape):
    """A mask for three pictures with one picture broadcasts the wrong way, and makes three."""
    what = f"inpaint with pictures [1, 2, 4, 4] and a mask {list(shape)}"
    with expect_raises(ValueError, what=what, hint="the mask must broadcast to x0.shape, and x0 to nothing larger"):
        inpaint(no_noise, randn(rng, 1, 2, 4, 4), torch.ones(shape), GRID, SIX)


# Stage 3: dtypes, generators, no graph


@pytest.mark.stage(3)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_everything_has_the_dtype_of_the_picture(rng, dtype, schedule_dtype):
    """Values: a model that knows the picture gives it back, up to the rounding of a few steps; outside, exactly."""
    x0, mask = randn(rng, 3, 5, dtype=dtype), some_mask(rng, 3, 5)
    model, calls = recording(knows(x0.double()))
    got, what = inpaint(model, x0, mask, GRID, SIX.to(schedule_dtype)), f"{dtype} pictures, {schedule_dtype} schedule"
    hint = "draw noise in x0's dtype; a mask that you multiply by belongs in it, too"
    expect_equal(got.dtype, dtype, what=f"the dtype of the result for {what}", hint=hint)
    expect_equal({x.dtype for x, _ in calls}, {dtype}, what=f"the dtype of x that eps_model is given for {what}")
    expect_equal(got[mask == 0], x0[mask == 0], what=f"the known region for {what}")
    tolerance = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4}.get(dtype, 1e-6)
    expect_close(got.double(), x0.double(), what=f"the result for {what}", rtol=tolerance, atol=tolerance)


@pytest.mark.stage(3)
def test_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal results, in everything that the model is shown; the global stream stays where it was."""
    x0, mask = randn(rng, 3, 8), HALF[:8]

    def repaint(generator):
        model, calls = recording(no_noise)
        end = inpaint(model, x0, mask, GRID, SIX, generator=generator)
        return torch.stack([*(x for x, _ in calls), end])

    with expect_rng_untouched(what="inpaint with a generator"):
        first, again = repaint(seeded(1)), repaint(seeded(1))
    what = "what the model is shown with an equally seeded generator, and the result,"
    expect_equal(again, first, what=what, hint="pass `generator` to every torch.randn; torch.randn_like takes none")
    generator = seeded(1)
    repaint(generator)
    for how, other in (("another seed", repaint(seeded(2))), ("the next call", repaint(generator))):
        for where, part in (("hole", 1), ("known region that the model is shown", 0)):
            same = (other == first)[:-1, :, mask == part].all()
            expect(not same, f"the {where} with {how} of the generator should differ, but is the same")
    expect((repaint(None) != repaint(None)).any(), "two calls of inpaint without a generator should differ")


@pytest.mark.stage(3)
def test_arguments_are_not_modified_and_may_be_views(rng):
    """The picture and the mask are needed for the next variation. Channels-last pictures, strided schedules."""
    abar, dense, timesteps = SIX.repeat_interleave(2)[::2], randn(rng, 6, 3, 5, 5), list(GRID)
    x0, mask = dense.to(memory_format=torch.channels_last), some_mask(rng, 5, 5, 6).permute(2, 0, 1)[:, None]
    with expect_unchanged(x0, mask, abar, what="every argument"):
        got = inpaint(knows(dense), x0, mask, timesteps, abar)
    expect_close(got, dense, what="inpaint of a channels-last picture with a model that knows it")
    expect_equal(timesteps, GRID, what="the timesteps after inpaint", hint="make a new list")


@pytest.mark.stage(3)
def test_the_result_keeps_no_autograd_graph(rng):
    """With a graph, every step's activations stay alive: out of memory at sampling time."""
    weight = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    got = inpaint(lambda x, t: weight * x, randn(rng, 2, 8), HALF[:8], GRID, SIX)
    expect(not got.requires_grad, "the result should carry no graph, but requires grad", hint="torch.no_grad()")
    expect(torch.is_grad_enabled(), "gradients should be enabled again afterwards, but are off", hint="use `with`")


# Stage 4: cost


@pytest.mark.stage(4)
def test_inpainting_does_little_beside_calling_the_model(rng, cost):
    """One call a timestep with the whole batch, as for an ordinary sample; around it at most 200 operators."""
    model, calls = recording(no_noise)
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    with cost() as spent:
        inpaint(model, randn(rng, 8, 3, 6), some_mask(rng, 8, 1, 6), list(range(980, -1, -20)), abar)
    expect_equal([list(x.shape) for x, _ in calls], [[8, 3, 6]] * 50, what="the shapes that eps_model is given")
    per_step = spent.operators / 50
    sentence = f"inpaint should take at most 200 operators a timestep for 8 pictures, but took {per_step:.0f}"
    expect(per_step <= 200, sentence, hint="work on the whole batch at once, with one mask made before the loop")
