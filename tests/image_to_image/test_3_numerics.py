"""Stage 3. Dtypes, generators, gradients."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    expect,
    expect_close,
    expect_equal,
    expect_no_graph,
    expect_seeded,
    expect_unchanged,
    randn,
)
from dojo.testing.diffusion import FINE, SAMPLER_TOLERANCE, SIX, knows, no_noise, recording
from katas.image_to_image import image_to_image

from .helpers import GRID, first_shown


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_everything_has_the_dtype_of_the_picture(rng, dtype, schedule_dtype):
    """A float64 schedule promotes float32 pictures without a word. Values: a model that knows the picture gives it back,
    up to the rounding of a few steps."""
    x0 = randn(rng, 3, 5, dtype=dtype)
    model, calls = recording(knows(x0.double(), 0.0, SIX))
    hint = "draw the noise in x0's dtype; alphas_cumprod[t], without dimensions, promotes nothing, but [batch, 1, ...] does"
    tolerance = SAMPLER_TOLERANCE[dtype]
    for strength in (0.0, 1.0):
        got = image_to_image(model, x0, strength, GRID, SIX.to(schedule_dtype))
        what = f"image_to_image(strength={strength}) of {dtype} pictures under a {schedule_dtype} schedule"
        expect_equal(got.dtype, dtype, what=f"the dtype of {what}", hint=hint)
        expect_close(got.double(), x0.double(), what=what, rtol=tolerance, atol=tolerance)
    expect_equal({x.dtype for x, _ in calls}, {dtype}, what="the dtype of the x that eps_model is given", hint=hint)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_little_noise_survives_half_precision(dtype):
    """abar_0 = 0.9999 rounds to 1 in half precision: a schedule that is cast first adds no noise at all. From black
    pictures; a standard deviation of 4000 numbers is known to 1 %, half precision adds less than 1 %."""
    spread = first_shown(torch.zeros(40, 100, dtype=dtype), 0.1, list(range(9, -1, -1)), FINE).double().std().item()
    sentence = f"the noise at t=0 in {dtype} should have standard deviation 0.0100, but has {spread:.4f}"
    expect(abs(spread / 0.01 - 1) < 0.08, sentence, hint="take 1 - abar and its root in the schedule's dtype")


def test_generator_is_the_only_source_of_randomness(rng):
    """Equal generators give equal results; the global stream stays where it was."""
    x0 = randn(rng, 3, 4)

    def edit(generator):
        return image_to_image(no_noise, x0, 0.5, GRID, SIX, generator=generator)

    expect_seeded(edit, what="image_to_image", hint="pass `generator` to torch.randn; torch.randn_like takes none")


def test_arguments_are_not_modified_and_may_be_views(rng):
    """The picture is needed for the next variation. Channels-last pictures and strided schedules are usual."""
    abar, dense, timesteps = SIX.repeat_interleave(2)[::2], randn(rng, 6, 3, 5, 5), list(GRID)
    x0 = dense.to(memory_format=torch.channels_last)
    with expect_unchanged(x0, abar, what="every argument"):
        for strength in (0.0, 0.5, 1.0):
            got = image_to_image(knows(dense, 0.0, SIX), x0, strength, timesteps, abar)
            expect_close(got, dense, what=f"image_to_image(strength={strength}) of a channels-last picture")
    expect_equal(timesteps, GRID, what="the timesteps after image_to_image", hint="make a new list")


def test_the_result_keeps_no_autograd_graph():
    """With a graph, every step's activations stay alive: out of memory at sampling time."""
    weight = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    x0 = torch.ones(2, 3, dtype=torch.float64)
    got = image_to_image(lambda x, t: weight * x, x0, 0.75, GRID, SIX)
    expect_no_graph(got, what="the result of image_to_image")
