"""Stage 3. Precision and dtypes."""

import pytest
import torch

from dojo.testing import FLOATS, expect, expect_close, expect_equal, expect_unchanged, numbers
from katas.noise_schedules import alphas_cumprod, cosine_betas, linear_betas, snr

from .helpers import expect_betas


@pytest.mark.parametrize("default", FLOATS, ids=str)
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


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
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


def test_small_float32_betas_are_not_lost():
    """1 - 2e-8 is 1 in float32: multiplied up there, ten thousand such steps would add no noise at all."""
    expect_close(
        alphas_cumprod(torch.full((10_000,), 2e-8))[-1],
        torch.tensor(0.9998),
        what="alphas_cumprod of 10000 float32 betas of 2e-8, at the end,",
        hint="widen to float64 before you subtract from 1",
    )


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
