"""Stage 4. Cost."""

import pytest
import torch

from dojo.testing import expect, expect_flat_operators, randn
from dojo.testing.attention import some_mask
from katas.causal_self_attention import CausalSelfAttention, attention

BATCH, HEADS, N, DIM = 2, 4, 64, 32
SCORES = BATCH * HEADS * N * N


def at_scale(rng, batch=BATCH, n=N):
    return randn(rng, batch, n, DIM).float(), torch.ones(batch, n).bool()


@pytest.mark.parametrize("padded", [False, True], ids=["no padding", "padding"])
def test_each_product_is_done_once(rng, cost, padded):
    """Four projections of [n, dim] x [dim, dim] and two products of n x n x dim: 8 b n dim^2 + 4 b n^2 dim FLOPs. (Nobody
    halves the second part without tiles, although half of the scores are hidden.)"""
    layer, (x, padding) = CausalSelfAttention(DIM, HEADS), at_scale(rng)
    with cost() as spent:
        layer(x, padding if padded else None)
    flops = BATCH * (8 * N * DIM**2 + 4 * N**2 * DIM)
    sentence = f"torch operators should do the work, but only {spent.flops / flops:.2f}x its FLOPs were seen"
    expect(spent.flops >= 0.99 * flops, sentence, hint="q k^T and weights v are matrix products")
    sentence = f"the layer should cost {flops:.4g} FLOPs, but cost {spent.flops / flops:.2f}x that"
    expect(
        spent.flops <= 1.02 * flops, sentence, hint="one qkv and one out for all heads; one product for each of the two"
    )


@pytest.mark.parametrize("padded", [False, True], ids=["no padding", "padding"])
def test_nothing_is_larger_than_the_scores(rng, cost, padded):
    """[batch, heads, n, n]. A product by broadcasting would form d times as much, [batch, heads, n, n, d]."""
    layer, (x, padding) = CausalSelfAttention(DIM, HEADS), at_scale(rng)
    with cost() as spent:
        layer(x, padding if padded else None)
    sentence = f"the largest tensor should be the scores, {SCORES} elements, but has {spent.largest}"
    expect(spent.largest <= 1.1 * SCORES, sentence, hint="matrix products, not a broadcast product and a sum")


def test_attention_forms_nothing_larger_than_the_scores(rng, cost):
    """With a mask that broadcasts, as well."""
    q, k, v = (randn(rng, BATCH, HEADS, N, 8) for _ in range(3))
    mask = some_mask(rng, BATCH, 1, 1, N)
    with cost() as spent:
        attention(q, k, v, mask, causal=True)
    sentence = f"the largest tensor should be the scores, {SCORES} elements, but has {spent.largest}"
    expect(spent.largest <= 1.1 * SCORES, sentence, hint="matrix products, not a broadcast product and a sum")


def test_operators_grow_neither_with_the_batch_nor_with_the_heads(rng):
    """A python loop launches kernels one by one, and each of them is small: the GPU waits."""
    for name, sizes in (("batch", [(2, 4), (16, 4)]), ("heads", [(2, 2), (2, 16)])):
        layers = {size: CausalSelfAttention(DIM, size[1]) for size in sizes}
        expect_flat_operators(
            lambda size, *given, layers=layers: layers[size](*given),
            lambda size: (size, *at_scale(rng, size[0], 8)),
            sizes,
            what=f"the layer at more {name}, as (batch, heads),",
            hint="heads are a dimension like the batch: [batch, heads, n, d]",
        )
    expect_flat_operators(
        lambda *qkv: attention(*qkv, causal=True),
        lambda rows: [randn(rng, rows, 2, 8, 4) for _ in range(3)],
        (2, 16),
        what="attention",
        hint="@ takes any leading dimensions",
    )
