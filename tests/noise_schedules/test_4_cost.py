"""Stage 4. Cost."""

import torch

from dojo.testing import expect_traffic
from katas.noise_schedules import alphas_cumprod, cosine_betas, linear_betas


def test_work_is_linear_in_the_steps(cost):
    """The reference moves 1x to 20x the bytes of its result. A triangular table, or a fresh product for every step,
    moves a thousand times as much. Python's floats and numpy are fine, and not counted."""
    betas = torch.full((2000,), 0.001, dtype=torch.float64)
    calls = {
        "alphas_cumprod of 2000 betas": lambda: alphas_cumprod(betas),
        "linear_betas(2000)": lambda: linear_betas(2000),
        "cosine_betas(2000)": lambda: cosine_betas(2000),
    }
    for what, call in calls.items():
        with cost() as spent:
            call()
        hint = "each entry follows from the one before: cumprod, or a running product"
        expect_traffic(spent, betas, 100, what=what, of="its result", hint=hint, outside_torch=True)
