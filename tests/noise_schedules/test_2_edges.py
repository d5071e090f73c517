"""Stage 2. Any number of steps, the offset, the clip, the limits."""

import math

import pytest
import torch

from dojo.testing import FLOATS, expect_close, expect_equal, expect_raises, numbers
from katas.noise_schedules import cosine_betas, linear_betas, snr

from .helpers import expect_betas

INF = float("inf")


@pytest.mark.parametrize("steps", [2, 10, 250, 4000])
def test_linear_betas_are_not_rescaled_by_the_number_of_steps(steps):
    """Rescaled by 1000 / T, ten steps would end at a beta of 2. Here `start` and `end` mean what they say."""
    expect_betas(
        linear_betas(steps)[[0, -1]],
        numbers(1e-4, 0.02),
        what=f"the first and last of linear_betas({steps})",
        hint="no factor of 1000 / steps",
    )


@pytest.mark.parametrize(("end", "middle"), [(0.1, 0.3), (0.5, 0.5)], ids=["falling", "constant"])
def test_linear_betas_may_fall_or_stay(end, middle):
    """Odd schedules, but schedules: only the two ends' own range is an error."""
    expect_betas(
        linear_betas(3, 0.5, end),
        numbers(0.5, middle, end),
        what=f"linear_betas(3, 0.5, {end})",
        hint="do not ask for start < end",
    )


def test_a_single_step():
    """The shortest schedules there are: one beta, `start`; and one turn all the way to pure noise, clipped."""
    expect_betas(
        linear_betas(1), numbers(1e-4), what="linear_betas(1)", hint="it is `start`: do not divide by steps - 1 = 0"
    )
    expect_betas(cosine_betas(1), numbers(0.999), what="cosine_betas(1)", hint="1 - 0 / f(0) = 1, clipped")


@pytest.mark.parametrize("s", [0.0, 0.008, 0.2, 1.0])
@pytest.mark.parametrize("steps", [2, 7, 100])
def test_every_step_of_the_cosine_schedule_turns_by_the_same_angle(s, steps):
    """sqrt(abar_t f(0)) is the cosine of an angle that grows from pi/2 s / (1 + s) to a quarter turn in T equal steps.
    The last beta is clipped, so it is left out. Absolute 1e-7 of an angle: arccos is steep near 1."""
    first = math.pi / 2 * s / (1 + s)
    betas = cosine_betas(steps, s=s, max_beta=1.0)
    angles = torch.arccos((1 - betas[:-1]).cumprod(0).sqrt() * math.cos(first))
    expect_close(
        angles.diff(prepend=numbers(first)),
        torch.full((steps - 1,), (math.pi / 2 - first) / steps, dtype=torch.float64),
        what=f"the angles by which the steps of cosine_betas({steps}, s={s}) turn",
        hint="the angle at u is pi/2 (u + s) / (1 + s), from f(0) on; T steps need T + 1 places, u = 0, 1/T, ..., 1",
        rtol=1e-6,
        atol=1e-7,
    )


@pytest.mark.parametrize("max_beta", [0.999, 0.5, 0.1])
def test_only_betas_above_max_beta_are_clipped(max_beta):
    """The last step would have beta = 1: nothing of x_t would be left to start from, and 1 / sqrt(abar) is infinite."""
    free = cosine_betas(20, max_beta=1.0)
    expect_betas(
        cosine_betas(20, max_beta=max_beta),
        torch.where(free > max_beta, max_beta, free),
        what=f"cosine_betas(20, max_beta={max_beta}), beside max_beta=1",
        hint="clamp the betas (not abar) from above, at max_beta, and leave the others as they are",
    )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_snr_at_its_limits(dtype):
    """Clean data have no noise, pure noise no signal. A clamp against the division by 0 would invent a number."""
    expect_equal(
        snr(numbers(1.0, 0.0, dtype=dtype)),
        numbers(INF, 0.0, dtype=dtype),
        what=f"snr([1, 0]) in {dtype}",
        hint="tensors divide by 0 without complaint; no eps, no clamp",
    )


@pytest.mark.parametrize("steps", [0, -1])
def test_a_schedule_without_steps_is_an_error(steps):
    for schedule in (linear_betas, cosine_betas):
        with expect_raises(ValueError, what=f"{schedule.__name__}({steps})", hint="steps must be at least 1"):
            schedule(steps)


@pytest.mark.parametrize(("start", "end"), [(0.0, 0.1), (0.1, 1.0), (-0.1, 0.1), (0.1, 2.0), (1.0, 0.1), (0.1, 0.0)])
def test_linear_ends_that_are_no_share_of_noise_are_an_error(start, end):
    """A beta of 0 adds no noise and divides the posterior by 0; a beta of 1 or more leaves nothing."""
    with expect_raises(ValueError, what=f"linear_betas(5, {start}, {end})", hint="0 < start < 1 and 0 < end < 1"):
        linear_betas(5, start, end)


@pytest.mark.parametrize("options", [{"s": -0.1}, {"max_beta": 0.0}, {"max_beta": -0.5}, {"max_beta": 1.1}], ids=str)
def test_cosine_options_out_of_range_are_an_error(options):
    with expect_raises(ValueError, what=f"cosine_betas(5, **{options})", hint="s >= 0 and 0 < max_beta <= 1"):
        cosine_betas(5, **options)
