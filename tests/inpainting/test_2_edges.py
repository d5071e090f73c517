"""Stage 2. Masks of any shape and dtype, whole and empty ones, wrong shapes."""

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, randn, seeded
from dojo.testing.diffusion import SIX, column, knows, no_noise, recording
from katas.inpainting import inpaint

from .helpers import GRID, HALF, shown, some_mask


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


@pytest.mark.parametrize("shape", [(6,), (3, 3), (3, 2, 5), (2, 3, 4, 4)], ids=str)
def test_images_may_have_any_shape(rng, shape):
    """Scalars, vectors, sequences, pictures, and batch == width."""
    x0, other, mask = randn(rng, *shape), randn(rng, *shape), some_mask(rng, *shape)
    got = inpaint(knows(other), x0, mask, GRID, SIX)
    expect_close(got, torch.where(mask == 1, other, x0), what=f"the result for pictures of shape {list(shape)}")


@pytest.mark.parametrize(
    "dtype", [torch.bool, torch.uint8, torch.int64, torch.float16, torch.float32, torch.float64], ids=str
)
def test_masks_may_have_any_dtype(rng, dtype):
    """Comparisons give bool, for which 1 - mask is an error and mask[...] an index; image files give uint8; a float64
    mask promotes everything it multiplies."""
    x0, other, mask = randn(rng, 3, 4, dtype=torch.float32), randn(rng, 3, 4, dtype=torch.float32), some_mask(rng, 3, 4)
    got = inpaint(knows(other, abar=SIX.float()), x0, mask.to(dtype), GRID, SIX)
    what, hint = f"the result for float32 pictures and a {dtype} mask", "torch.where with a bool mask takes them all"
    # A few steps in float32, from numbers of about 1 that are divided by 0.2: 1e-4 is ample.
    expect_close(got, torch.where(mask == 1, other, x0), what=what, hint=hint, rtol=1e-4, atol=1e-4)


def test_an_empty_mask_changes_nothing_and_a_whole_one_everything(rng):
    """Nothing to repaint: x0, exactly. Everything: an ordinary sample, in which x0 plays no part."""
    x0, other = randn(rng, 2, 2, 3, 3)
    for mask in (torch.zeros(3, 3), torch.tensor(0)):
        got = inpaint(knows(other), x0, mask, GRID, SIX)
        expect_equal(got, x0, what=f"the result for a mask {list(mask.shape)} of zeros", hint="mask 0 keeps x0")
    a, b = (inpaint(no_noise, x, torch.ones(3, 3), GRID, SIX, generator=seeded(0)) for x in (x0, other))
    expect_equal(a, b, what="the result for a mask of ones, beside that for another x0 and the same noise,")


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


@pytest.mark.parametrize("shape", [(3, 2, 4, 4), (1, 2, 4, 4, 4), (1, 3, 4, 4), (1, 1, 5, 5), (2,)], ids=str)
def test_a_mask_that_does_not_fit_is_an_error(rng, shape):
    """A mask for three pictures with one picture broadcasts the wrong way, and makes three."""
    what = f"inpaint with pictures [1, 2, 4, 4] and a mask {list(shape)}"
    with expect_raises(ValueError, what=what, hint="the mask must broadcast to x0.shape, and x0 to nothing larger"):
        inpaint(no_noise, randn(rng, 1, 2, 4, 4), torch.ones(shape), GRID, SIX)
