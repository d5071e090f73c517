"""Stage 4. No probabilities are kept from the forward pass, every product is done once, no loop over the batch."""

import pytest
import torch

from dojo.testing import expect, expect_flat_operators, randn
from dojo.testing.alive import Alive
from katas.attention_backward import attention_backward, attention_forward, matmul_backward, softmax_backward

from .helpers import NAMES, forward, parts, qkv, shaped

BATCH, QUERIES, KEYS, DIM, VALUE_DIM = 2, 96, 80, 4, 6
PRODUCT = 2 * BATCH * QUERIES * KEYS  # FLOPs of a product, for each feature
LOOP = "operators take the whole batch at once"


def inputs(rng):
    return qkv(rng, BATCH, queries=QUERIES, keys=KEYS, dim=DIM, value_dim=VALUE_DIM)


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "a mask [keys]"])
def test_the_probabilities_are_not_kept(rng, masked):
    """At 32 heads, 8192 tokens and bfloat16 they take 4 GB a layer, and q, k, v and out together 0.25 GB."""
    q, k, v = inputs(rng)
    mask = torch.arange(KEYS) < KEYS - 3 if masked else None
    with Alive() as alive:
        result = attention_forward(q, k, v, mask)
        kept = alive.elements()
    parts(result, ("out", "saved"), "attention_forward")
    scores = BATCH * QUERIES * KEYS
    inner = q.numel() + k.numel() + v.numel() + BATCH * QUERIES * VALUE_DIM
    sentence = f"torch should make out, of {BATCH * QUERIES * VALUE_DIM} numbers, but {kept} new numbers are in memory"
    expect(kept >= BATCH * QUERIES * VALUE_DIM, sentence, hint="compute with torch: numpy is not counted")
    sentence = (
        f"at most {2 * inner} new numbers should stay in memory after attention_forward (twice those of q, k, v and "
        f"out), but {kept} do; the probabilities are {scores}"
    )
    expect(kept <= 2 * inner, sentence, hint="one or two numbers a query are enough to form them again")


def test_every_product_is_done_once(rng, cost):
    """The forward pass has 2. The backward pass has 5: q k^T again, then grad_v, grad_P, grad_q and grad_k."""
    q, k, v = inputs(rng)
    with cost() as spent:
        out, saved = forward(q, k, v)
    want = PRODUCT * (DIM + VALUE_DIM)
    expect_flops(spent, want, "attention_forward", "q k^T and P v")
    grad = randn(rng, *out.shape)
    with cost() as spent:
        result = attention_backward(grad, saved)
    shaped(result, (q, k, v), NAMES, "attention_backward")
    want = PRODUCT * (3 * DIM + 2 * VALUE_DIM)
    expect_flops(spent, want, "attention_backward", "q k^T again, grad_v, grad_P, grad_q and grad_k")
    scores = BATCH * QUERIES * KEYS
    sentence = f"no new tensor should be larger than the scores, of {scores} numbers, but one has {spent.largest}"
    expect(spent.largest <= scores, sentence, hint="softmax_backward needs a sum for each row, and no Jacobian")


def expect_flops(spent, want, what, products):
    """The products of the docstring, with 10 % on top for sums that run as products."""
    sentence = f"torch should do the products of {what}, {want} FLOPs, but only {spent.flops} were seen"
    expect(spent.flops >= 0.99 * want, sentence, hint=f"{products}; numpy and elementwise products are not counted")
    sentence = f"{what} should cost at most {want} FLOPs ({products}), but cost {spent.flops}"
    expect(spent.flops <= 1.1 * want, sentence, hint="each product once")


def test_matmul_backward_costs_two_products(rng, cost):
    """Twice the forward pass, also where one matrix serves the whole batch."""
    for more_a, more_b in (((6,), (6,)), ((6,), ()), ((2, 1), (1, 3))):
        a, b, grad = randn(rng, *more_a, 8, 9), randn(rng, *more_b, 9, 10), randn(rng, 6, 8, 10)
        grad = grad.view(*torch.broadcast_shapes(more_a, more_b), 8, 10)
        with cost() as spent:
            matmul_backward(grad, a, b)
        expect_flops(spent, 2 * 2 * 6 * 8 * 9 * 10, f"matmul_backward for a {[*a.shape]} and b {[*b.shape]}", "two")


def test_softmax_backward_makes_no_jacobian(rng, cost):
    """A row's Jacobian has n^2 numbers; what is needed is one sum for each row."""
    grad, probs = randn(rng, 3, 40), randn(rng, 3, 40).softmax(-1)
    with cost() as spent:
        softmax_backward(grad, probs)
    sentence = (
        f"no new tensor of softmax_backward should be larger than probs, of 120 numbers, but one has {spent.largest}"
    )
    expect(spent.largest <= 120, sentence, hint="(diag(p) - p p^T) grad = p * (grad - sum(p * grad))")
    expect_flat_operators(
        softmax_backward,
        lambda size: (randn(rng, *size), randn(rng, *size).softmax(-1)),
        [(2, 3), (32, 3), (2, 48)],
        what="softmax_backward",
        hint=LOOP,
        slack=2,
    )


def test_no_loop_runs_over_the_batch(rng):
    """A python loop launches operators in proportion to what it runs over."""
    for name, more_b in (("matmul_backward", True), ("matmul_backward with one b", False)):
        expect_flat_operators(
            matmul_backward,
            lambda n, more_b=more_b: (randn(rng, n, 2, 4), randn(rng, n, 2, 3), randn(rng, *[n] * more_b, 3, 4)),
            [2, 32],
            what=name,
            hint=LOOP,
            slack=3,
        )

    def both(q, k, v):
        out, saved = attention_forward(q, k, v)
        return attention_backward(out, saved)

    expect_flat_operators(
        both, lambda n: qkv(rng, n, 3), [2, 32], what="attention, forward and backward,", hint=LOOP, slack=3
    )
