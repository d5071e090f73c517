"""Stage 4. Cost."""

import pytest
import torch

from dojo.testing import expect_equal, expect_flat_operators, randn
from katas.classifier_free_guidance import drop_condition, guided_eps, rescale_guidance


def test_guidance_costs_exactly_two_forwards(rng, cost):
    """2 x the FLOPs of one conditional pass, in one call: what guidance costs at sampling, and why it is distilled."""
    weight = randn(rng, 32, 32)
    calls = []

    def model(x, t, cond):
        calls.append(len(x))
        return (x + cond) @ weight

    x, cond, null = randn(rng, 8, 32), randn(rng, 8, 32), randn(rng, 32)
    with cost() as spent:
        guided_eps(model, x, torch.arange(8), cond, null, 7.5)
    once = 2 * 8 * 32 * 32
    expect_equal(spent.flops, 2 * once, what="FLOPs of guided_eps", hint="every row twice: with and without condition")
    expect_equal(calls, [16], what="the rows of each model call", hint="one call on both halves fills the GPU better")


@pytest.mark.parametrize("name", ["drop_condition", "rescale_guidance"])
def test_operators_do_not_grow_with_the_batch(rng, name):
    """A python loop over rows launches kernels row by row: 64 rows should take as many operators as 4."""
    calls = {
        "drop_condition": lambda x, y: drop_condition(x, y[0], 0.5),
        "rescale_guidance": lambda x, y: rescale_guidance(x, y, 0.5),
    }
    expect_flat_operators(
        calls[name], lambda rows: randn(rng, 2, rows, 5), (4, 64), what=name, hint="work on all rows at once", slack=5
    )
