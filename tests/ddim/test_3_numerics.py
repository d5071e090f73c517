"""Stage 3. Dtypes, gradients, generators."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    backward,
    expect_close,
    expect_equal,
    expect_no_graph,
    expect_seeded,
    expect_unchanged,
    randn,
)
from dojo.testing.diffusion import FINE, SIX, STEP_TOLERANCE, no_noise, recording
from katas.ddim import ddim_sample, ddim_step

from .helpers import ABAR, T_PREV, T, at


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_results_have_the_dtype_of_x(rng, dtype, schedule_dtype):
    """A float64 schedule promotes float32 images without a word."""
    x, eps, noise = randn(rng, 3, 4, 3, 5, dtype=dtype)
    t, t_prev = at(0, 1, 40, 300), at(-1, 0, 20, 250)
    tolerance = STEP_TOLERANCE[dtype]
    for eta in (0.0, 1.0):
        got = ddim_step(x, eps, t, t_prev, FINE.to(schedule_dtype), eta, noise)
        what = f"ddim_step(eta={eta}) for {dtype} images and a {schedule_dtype} schedule"
        expect_equal(got.dtype, dtype, what=f"the dtype of {what}", hint="cast the coefficients to x's dtype")
        exact = ddim_step(x.double(), eps.double(), t, t_prev, FINE, eta, noise.double())
        hint = "take 1 - abar in the schedule's dtype, and cast only the finished coefficients"
        expect_close(got.double(), exact, what=what, hint=hint, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_first_steps_survive_half_precision(dtype):
    """abar_0 = 0.9999 rounds to 1 in half precision: cast the schedule first, and eps has no weight, or sigma is
    0 / 0. Relative tolerance 2e-2: bfloat16 keeps 8 bits."""
    t, t_prev = at(0, 1, 2), at(-1, 0, 1)
    zero, one = torch.zeros(3, 4, dtype=dtype), torch.ones(3, 4, dtype=dtype)
    for what, eta, inputs in (("eps=1, eta=0", 0.0, (zero, one, zero)), ("noise=1, eta=1", 1.0, (zero, zero, one))):
        x, eps, noise = inputs
        got = ddim_step(x, eps, t, t_prev, FINE, eta, noise).double()
        exact = ddim_step(x.double(), eps.double(), t, t_prev, FINE, eta, noise.double())
        what = f"ddim_step of zeros with {what} in {dtype} at t = [0, 1, 2]"
        hint = "compute in the schedule's dtype and cast the finished coefficients"
        expect_close(got, exact, what=what, hint=hint, rtol=2e-2, atol=2e-4)


def test_gradients_are_the_coefficients():
    """Guidance and fine-tuning by reward differentiate through the step. At eta = 1 x_t has weight 0.8 / 0.6, and eps
    0.3375 - 0.8 x 0.8 / 0.6, with 0.3375 = sqrt(0.36 - 0.24609375)."""
    inputs = torch.tensor([[1.0], [-1], [2]], dtype=torch.float64, requires_grad=True)
    x, eps, noise = inputs
    out = ddim_step(x, eps, at(1), at(0), ABAR, 1.0, noise)
    backward(out.sum(), what="ddim_step")
    want = [[0.8 / 0.6], [0.3375 - 0.64 / 0.6], [0.24609375**0.5]]
    what = "the gradients by x_t, eps and noise at t=1, t_prev=0, eta=1"
    expect_close(inputs.grad, torch.tensor(want, dtype=torch.float64), what=what)


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


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_generator_is_the_only_source_of_randomness(eta):
    """Equal generators give equal samples, the start included; the global stream stays where it was."""

    def sample(generator):
        return ddim_sample(no_noise, (4, 6), [5, 3, 0], SIX, eta, generator=generator)

    expect_seeded(sample, what=f"ddim_sample(eta={eta})", hint="pass `generator` to every randn")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_sampler_has_the_dtype_of_the_schedule(dtype):
    """There is no image to ask: `alphas_cumprod` decides what the model is shown and what comes back."""
    model, calls = recording(no_noise)
    got = ddim_sample(model, (2, 3), [5, 3, 0], SIX.to(dtype), 1.0)
    for what, x in (("the samples", got), ("the first x", calls[0][0]), ("the last x", calls[-1][0])):
        expect_equal(x.dtype, dtype, what=f"the dtype of {what}", hint="torch.randn(..., dtype=alphas_cumprod.dtype)")


def test_sampler_keeps_no_autograd_graph():
    """With a graph, every step's activations stay alive: out of memory at sampling time."""
    weight = torch.nn.Parameter(torch.tensor(0.1, dtype=torch.float64))
    got = ddim_sample(lambda x, t: weight * x, (2, 3), [5, 3, 0], SIX)
    expect_no_graph(got, what="the result of ddim_sample")
