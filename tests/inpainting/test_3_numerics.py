"""Stage 3. Dtypes, generators, no graph."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    expect_close,
    expect_equal,
    expect_no_graph,
    expect_seeded,
    expect_unchanged,
    randn,
)
from dojo.testing.diffusion import SAMPLER_TOLERANCE, SIX, knows, no_noise, recording
from katas.inpainting import inpaint

from .helpers import GRID, HALF, some_mask


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
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
    tolerance = SAMPLER_TOLERANCE[dtype]
    expect_close(got.double(), x0.double(), what=f"the result for {what}", rtol=tolerance, atol=tolerance)


def test_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal results, in everything that the model is shown; the global stream stays where it was."""
    x0, mask = randn(rng, 3, 8), HALF[:8]

    def repaint(generator):
        model, calls = recording(no_noise)
        end = inpaint(model, x0, mask, GRID, SIX, generator=generator)
        shown = torch.stack([x for x, _ in calls])
        known = "the known region that the model is shown"
        return {"the hole": torch.cat([shown, end[None]])[..., mask == 1], known: shown[..., mask == 0]}

    expect_seeded(repaint, what="inpaint", hint="pass `generator` to every torch.randn; torch.randn_like takes none")


def test_arguments_are_not_modified_and_may_be_views(rng):
    """The picture and the mask are needed for the next variation. Channels-last pictures, strided schedules."""
    abar, dense, timesteps = SIX.repeat_interleave(2)[::2], randn(rng, 6, 3, 5, 5), list(GRID)
    x0, mask = dense.to(memory_format=torch.channels_last), some_mask(rng, 5, 5, 6).permute(2, 0, 1)[:, None]
    with expect_unchanged(x0, mask, abar, what="every argument"):
        got = inpaint(knows(dense), x0, mask, timesteps, abar)
    expect_close(got, dense, what="inpaint of a channels-last picture with a model that knows it")
    expect_equal(timesteps, GRID, what="the timesteps after inpaint", hint="make a new list")


def test_the_result_keeps_no_autograd_graph(rng):
    """With a graph, every step's activations stay alive: out of memory at sampling time."""
    weight = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    got = inpaint(lambda x, t: weight * x, randn(rng, 2, 8), HALF[:8], GRID, SIX)
    expect_no_graph(got, what="the result of inpaint")
