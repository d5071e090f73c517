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
from dojo.testing.diffusion import STEP_TOLERANCE, no_noise, recording
from katas.ddpm import p_sample, p_sample_loop, predict_x0, q_posterior, q_sample

from .helpers import ABAR, BETAS, BOTH, mean_of_step, says, schedule


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("schedule_dtype", [torch.float32, torch.float64], ids=str)
def test_results_have_the_dtype_of_x(rng, dtype, schedule_dtype):
    """A float64 schedule promotes float32 images without a word, and the model then fails or crawls."""
    t = torch.tensor([0, 1, 10, 500])
    x, y = randn(rng, 2, 4, 3, 5, dtype=dtype)
    tolerance = STEP_TOLERANCE[dtype]
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


@pytest.mark.parametrize("dtype", HALVES, ids=str)
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
        backward(out.sum(), what=what)
        expect_close(inputs.grad, torch.tensor(want, dtype=torch.float64), what=f"the gradients of {what}")


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
        expect_seeded(sample, what=what, hint="pass `generator` to every randn")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_loop_has_the_dtype_of_the_schedule(dtype):
    """There is no image to ask: `betas` decides what the model is shown and what comes back."""
    model, calls = recording(no_noise)
    got = p_sample_loop(model, (2, 3), schedule(3, dtype=dtype)[0])
    for what, x in (("the samples", got), ("the first x", calls[0][0]), ("the last x", calls[-1][0])):
        expect_equal(x.dtype, dtype, what=f"the dtype of {what}", hint="torch.randn(..., dtype=betas.dtype)")


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
    expect_no_graph(got, what="the result of p_sample_loop")
    what = "whether autograd records eps_model's calls, step by step,"
    hint = "run the loop under torch.no_grad(): detach() drops a graph only after the model has built it"
    expect_equal(recorded, [False] * 3, what=what, hint=hint)


@pytest.mark.parametrize("before", [True, False], ids=["gradients on", "gradients off"])
def test_loop_gives_the_gradient_mode_back(before):
    """Samples are drawn in the middle of training, and in a validation pass that has switched gradients off itself."""
    with torch.set_grad_enabled(before):
        p_sample_loop(no_noise, (2, 3), schedule(3)[0])
        after = torch.is_grad_enabled()
    hint = "use `with torch.no_grad():`, which restores what was; do not switch by hand"
    expect_equal(after, before, what=f"torch.is_grad_enabled() after the loop, {before} before,", hint=hint)
