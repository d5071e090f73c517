"""Stage 3. Dtypes, gradients, generators."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    backward,
    expect_close,
    expect_equal,
    expect_graph,
    expect_seeded,
    randn,
    roundings,
)
from katas.classifier_free_guidance import drop_condition, guide, guided_eps, rescale_guidance

from .helpers import Denoiser


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_every_floating_dtype_works(rng, dtype):
    """Results keep the dtype. Tolerance: 30 roundings of the largest number, since 7.5 (c - u) amplifies them."""
    exact = randn(rng, 2, 3, 40).to(dtype).double()
    uncond, cond = exact.to(dtype)

    def check(function, what):
        want = function(*exact).to(dtype)
        expect_close(function(uncond, cond), want, what=f"{what} in {dtype}", **roundings(30, dtype, want))

    check(lambda u, c: guide(u, c, 7.5), "guide")
    check(lambda u, c: rescale_guidance(u, c, 0.7), "rescale_guidance")
    null = torch.ones(40, dtype=dtype)
    check(lambda u, c: guided_eps(lambda x, t, c: x * c, u, torch.arange(3), c, null.to(c), 7.5), "guided_eps")
    expect_equal(drop_condition(cond, null, 0.5).dtype, dtype, what="drop_condition's dtype")


@pytest.mark.parametrize("name", ["x_t", "cond", "null_cond", "the model's weight"])
def test_gradients_reach_everything_behind_the_guided_prediction(rng, name):
    """Distillation trains through guidance, and inverse problems differentiate by x_t. torch.no_grad() belongs to the
    sampling loop. The gradient is compared with the one through two separate calls."""
    model, t = Denoiser(), torch.tensor([0, 2, 5])
    leaves = {"x_t": randn(rng, 3, 4), "cond": randn(rng, 3, 2), "null_cond": randn(rng, 2)}
    leaves = {key: leaf.requires_grad_() for key, leaf in leaves.items()} | {"the model's weight": model.weight}
    x, cond, null = (leaves[key] for key in ("x_t", "cond", "null_cond"))
    got = guided_eps(model, x, t, cond, null, 3.0).sum()
    hint = "no torch.no_grad() and no detach() in guided_eps"
    expect_graph(got, what="guided_eps", hint=hint)
    gradient = torch.autograd.grad(got, leaves[name], allow_unused=True)[0]
    want = (3 * model(x, t, cond) - 2 * model(x, t, null.expand_as(cond))).sum()
    expect_close(gradient, torch.autograd.grad(want, leaves[name])[0], what=f"the gradient of {name}", hint=hint)


def test_a_learned_null_condition_gets_the_gradients_of_the_dropped_rows(rng):
    """The null embedding is a parameter in many models: row by row, the slope goes to it or to the condition."""
    cond, null, slope = randn(rng, 20, 3).requires_grad_(), randn(rng, 3).requires_grad_(), randn(rng, 20, 3)
    got = drop_condition(cond, null, 0.5)
    backward((got * slope).sum(), what="drop_condition")
    dropped = (got == null).all(1)[:, None]
    hint = "do not detach null_cond or take its .data, and select rows with torch.where"
    expect_close(null.grad, (slope * dropped).sum(0), what="null_cond.grad", hint=hint)
    expect_close(cond.grad, slope * ~dropped, what="cond.grad", hint=hint)


def test_a_generator_is_the_only_source_of_randomness(rng):
    """The same seed drops the same rows, and data loading elsewhere keeps its own random numbers."""
    cond, null = randn(rng, 64, 2), randn(rng, 2)
    expect_seeded(
        lambda generator: drop_condition(cond, null, 0.5, generator=generator), what="drop_condition of 64 rows"
    )
