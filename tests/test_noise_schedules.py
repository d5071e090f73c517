"""What any right schedule does. Betas are small: comparisons are relative, never with torch's absolute 1e-7."""

import math

import pytest
import torch

from dojo.testing import expect, expect_close, expect_equal, expect_raises, expect_unchanged
from katas.noise_schedules import alphas_cumprod, cosine_betas, linear_betas, snr

INF = float("inf")
DTYPES = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)


def numbers(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


def expect_betas(actual, expected, what, hint):
    """Relative 1e-6: that the digits after those are right as well is a test of its own (stage 3)."""
    expect_close(actual, expected, what=what, hint=hint, rtol=1e-6, atol=0.0)


def expect_ratio(spent, tensor, what, hint):
    ratio = spent.bytes / tensor.nbytes
    expect(ratio <= 100, f"{what} should move at most 100x the bytes of its result, but moved {ratio:.0f}x", hint=hint)


# Stage 1: the formulas


@pytest.mark.stage(1)
def test_linear_betas_are_equally_spaced_and_include_both_ends():
    """Five steps from 0.1 to 0.5: four gaps of 0.1."""
    expect_betas(
        linear_betas(5, 0.1, 0.5),
        numbers(0.1, 0.2, 0.3, 0.4, 0.5),
        what="linear_betas(5, 0.1, 0.5)",
        hint="torch.linspace(start, end, steps): the betas are evenly spaced (not their roots), and the last is `end`",
    )


@pytest.mark.stage(1)
def test_linear_betas_of_the_paper():
    """1000 steps from 1e-4 to 0.02: what nearly every DDPM was trained with. Entry 333 lies a third of the way up."""
    betas = linear_betas(1000)
    expect_equal(list(betas.shape), [1000], what="the shape of linear_betas(1000)")
    expect_betas(
        betas[[0, 333, 999]],
        numbers(1e-4, 0.0202 / 3, 0.02),
        what="entries 0, 333 and 999 of linear_betas(1000)",
        hint="the defaults are 1e-4 and 0.02",
    )


@pytest.mark.stage(1)
def test_cosine_betas_of_a_worked_example():
    """Without offset three steps turn by 30 degrees each: f is 1, 3/4, 1/4, 0; beta is 1/4, 2/3 and (clipped) 0.999."""
    expect_betas(
        cosine_betas(3, s=0.0),
        numbers(1 / 4, 2 / 3, 0.999),
        what="cosine_betas(3, s=0)",
        hint="f is the *square* of a cosine of a quarter turn; beta_t = 1 - f((t + 1) / T) / f(t / T), at most 0.999",
    )


@pytest.mark.stage(1)
def test_the_offset_starts_the_turn_late_and_still_ends_it_at_a_quarter():
    """With s = 1/2 two steps go from 30 degrees over 60 to 90: f is 3/4, 1/4, 0."""
    expect_betas(
        cosine_betas(2, s=0.5),
        numbers(2 / 3, 0.999),
        what="cosine_betas(2, s=0.5)",
        hint="the angle is pi/2 (u + s) / (1 + s): add s before you divide. And abar is f over f(0), not f alone",
    )


@pytest.mark.stage(1)
def test_cosine_betas_of_the_paper():
    """1000 steps with s = 0.008. Without the offset the first beta would be 2.5e-6, and the first steps add nothing."""
    betas = cosine_betas(1000)
    expect_equal(list(betas.shape), [1000], what="the shape of cosine_betas(1000)")
    expect_betas(
        betas[[0, 500, 999]],
        numbers(4.12842248e-05, 3.15569144e-03, 0.999),
        what="entries 0, 500 and 999 of cosine_betas(1000)",
        hint="s is 0.008 unless told, max_beta 0.999; small betas are differences of numbers near 1, so use float64",
    )


@pytest.mark.stage(1)
def test_alphas_cumprod_multiplies_what_each_step_leaves():
    """Betas of 0.36 and 0.4375 leave 0.64 and then 0.5625 of that, 0.36. Entry 0 is one step in, not clean data."""
    expect_betas(
        alphas_cumprod(numbers(0.36, 0.4375, 0.5)),
        numbers(0.64, 0.36, 0.18),
        what="alphas_cumprod([0.36, 0.4375, 0.5])",
        hint="the cumulative *product* of 1 - beta, step t included; no root",
    )


@pytest.mark.stage(1)
def test_snr_is_the_ratio_of_the_variances():
    """At abar = 0.8 there are 0.8 of signal to 0.2 of noise: 4, not 2 (deviations), not 1.39 (logarithm)."""
    expect_betas(
        snr(numbers(0.8, 0.5, 0.2)),
        numbers(4, 1, 0.25),
        what="snr([0.8, 0.5, 0.2])",
        hint="abar / (1 - abar): signal over noise, without root or logarithm",
    )


# Stage 2: any number of steps, the offset, the clip, the limits


@pytest.mark.stage(2)
@pytest.mark.parametrize("steps", [2, 10, 250, 4000])
def test_linear_betas_are_not_rescaled_by_the_number_of_steps(steps):
    """Rescaled by 1000 / T, ten steps would end at a beta of 2. Here `start` and `end` mean what they say."""
    expect_betas(
        linear_betas(steps)[[0, -1]],
        numbers(1e-4, 0.02),
        what=f"the first and last of linear_betas({steps})",
        hint="no factor of 1000 / steps",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize(("end", "middle"), [(0.1, 0.3), (0.5, 0.5)], ids=["falling", "constant"])
def test_linear_betas_may_fall_or_stay(end, middle):
    """Odd schedules, but schedules: only the two ends' own range is an error."""
    expect_betas(
        linear_betas(3, 0.5, end),
        numbers(0.5, middle, end),
        what=f"linear_betas(3, 0.5, {end})",
        hint="do not ask for start < end",
    )


@pytest.mark.stage(2)
def test_a_single_step():
    """The shortest schedules there are: one beta, `start`; and one turn all the way to pure noise, clipped."""
    expect_betas(
        linear_betas(1), numbers(1e-4), what="linear_betas(1)", hint="it is `start`: do not divide by steps - 1 = 0"
    )
    expect_betas(cosine_betas(1), numbers(0.999), what="cosine_betas(1)", hint="1 - 0 / f(0) = 1, clipped")


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
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


@pytest.mark.stage(2)
def test_snr_at_its_limits():
    """Clean data have no noise, pure noise no signal. A clamp against the division by 0 would invent a number."""
    expect_equal(
        snr(numbers(1.0, 0.0)),
        numbers(INF, 0.0),
        what="snr([1, 0])",
        hint="tensors divide by 0 without complaint; no eps, no clamp",
    )


@pytest.mark.stage(2)
@pytest.mark.parametrize("steps", [0, -1])
def test_a_schedule_without_steps_is_an_error(steps):
    for schedule in (linear_betas, cosine_betas):
        with expect_raises(ValueError, what=f"{schedule.__name__}({steps})", hint="steps must be at least 1"):
            schedule(steps)


@pytest.mark.stage(2)
@pytest.mark.parametrize(("start", "end"), [(0.0, 0.1), (0.1, 1.0), (-0.1, 0.1), (0.1, 2.0), (1.0, 0.1), (0.1, 0.0)])
def test_linear_ends_that_are_no_share_of_noise_are_an_error(start, end):
    """A beta of 0 adds no noise and divides the posterior by 0; a beta of 1 or more leaves nothing."""
    with expect_raises(ValueError, what=f"linear_betas(5, {start}, {end})", hint="0 < start < 1 and 0 < end < 1"):
        linear_betas(5, start, end)


@pytest.mark.stage(2)
@pytest.mark.parametrize("options", [{"s": -0.1}, {"max_beta": 0.0}, {"max_beta": -0.5}, {"max_beta": 1.1}], ids=str)
def test_cosine_options_out_of_range_are_an_error(options):
    with expect_raises(ValueError, what=f"cosine_betas(5, **{options})", hint="s >= 0 and 0 < max_beta <= 1"):
        cosine_betas(5, **options)


# Stage 3: precision and dtypes


@pytest.mark.stage(3)
@pytest.mark.parametrize("default", [torch.float32, torch.float64, torch.float16], ids=str)
def test_betas_are_float64_all_the_way(default):
    """A float32 on the way costs nine of sixteen digits, and 1 - abar of the first steps loses three of the others."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        schedules = {
            "linear_betas(4, 0.1, 0.4)": (linear_betas(4, 0.1, 0.4), numbers(0.1, 0.2, 0.3, 0.4)),
            "cosine_betas(3, s=0)": (cosine_betas(3, s=0.0), numbers(1 / 4, 2 / 3, 0.999)),
        }
    finally:
        torch.set_default_dtype(before)
    for what, (got, exact) in schedules.items():
        what += f" with default dtype {default}"
        hint = "give dtype=torch.float64 where a tensor is made (arange too); .double() afterwards brings no digit back"
        expect_equal(got.dtype, torch.float64, what=f"the dtype of {what}", hint=hint)
        error = (got / exact - 1).abs().max().item()
        expect(
            error < 1e-11, f"{what} should be right to 11 digits, but has a relative error of {error:.0e}", hint=hint
        )


@pytest.mark.stage(3)
@DTYPES
def test_results_have_the_dtype_of_their_argument(dtype):
    """One rounding at the end: two units in the last place is all that may differ from float64."""
    betas = linear_betas(1000).to(dtype)
    got, exact = alphas_cumprod(betas), alphas_cumprod(betas.double())
    tolerance = 2 * torch.finfo(dtype).eps
    hint = "multiply in float64 and cast the result to betas.dtype"
    what = f"alphas_cumprod of {dtype} betas, beside the same betas in float64,"
    expect_close(got, exact.to(dtype), what=what, hint=hint, rtol=tolerance, atol=1e-7)
    expect_close(
        snr(numbers(0.75, 0.5, 0.25, dtype=dtype)),
        numbers(3, 1, 1 / 3, dtype=dtype),
        what=f"snr([0.75, 0.5, 0.25]) in {dtype}",
        hint="1 - abar, then one division",
        rtol=max(tolerance, 1e-6),
        atol=0.0,
    )


@pytest.mark.stage(3)
def test_small_float32_betas_are_not_lost():
    """1 - 2e-8 is 1 in float32: multiplied up there, ten thousand such steps would add no noise at all."""
    expect_close(
        alphas_cumprod(torch.full((10_000,), 2e-8))[-1],
        torch.tensor(0.9998),
        what="alphas_cumprod of 10000 float32 betas of 2e-8, at the end,",
        hint="widen to float64 before you subtract from 1",
    )


@pytest.mark.stage(3)
def test_arguments_are_not_modified_and_may_be_views():
    """A caller keeps its betas; every second entry of a tensor is a schedule too."""
    betas = numbers(0.36, 0.1, 0.4375, 0.2)[::2]
    with expect_unchanged(betas, what="betas"):
        abar = alphas_cumprod(betas)
    expect_betas(abar, numbers(0.64, 0.36), what="alphas_cumprod of every second entry", hint="")
    view = numbers(0.8, 0.0, 0.5, 0.0)[::2]
    with expect_unchanged(view, what="alphas_cumprod"):
        ratio = snr(view)
    expect_betas(ratio, numbers(4, 1), what="snr of every second entry", hint="")


# Stage 4: cost


@pytest.mark.stage(4)
def test_work_is_linear_in_the_steps(cost):
    """The reference moves 1x to 20x the bytes of its result. A triangular table, or a fresh product for every step,
    moves a thousand times as much."""
    betas = torch.full((2000,), 0.001, dtype=torch.float64)
    calls = {
        "alphas_cumprod of 2000 betas": lambda: alphas_cumprod(betas),
        "linear_betas(2000)": lambda: linear_betas(2000),
        "cosine_betas(2000)": lambda: cosine_betas(2000),
    }
    for what, call in calls.items():
        with cost() as spent:
            call()
        expect_ratio(spent, betas, what, hint="each entry follows from the one before: cumprod, or a running product")
