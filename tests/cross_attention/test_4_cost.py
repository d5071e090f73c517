"""Stage 4. Cost."""

import pytest
import torch
from torch import nn

from dojo.testing import expect, expect_flat_operators, randn
from dojo.testing.attention import some_mask
from katas.cross_attention import CrossAttention


def at_scale(rng, batch=2, queries=64, keys=77):
    layer = CrossAttention(32, 48, 4, 16)
    return layer, randn(rng, batch, queries, 32).float(), randn(rng, batch, keys, 48).float()


def test_each_token_is_projected_once(rng, cost):
    """FLOPs: four projections and two products of [queries, keys]. Projecting the context for each head or each query
    costs a multiple. (A fused attention kernel's own FLOPs may go uncounted, so there is only an upper limit for it.)"""
    layer, x, context = at_scale(rng)
    with cost() as projections, torch.no_grad():
        for module, tokens in ((layer.to_q, x), (layer.to_k, context), (layer.to_v, context)):
            nn.functional.linear(tokens, module.weight)
        nn.functional.linear(torch.zeros(2, 64, 64), layer.to_out.weight)
    with cost() as spent:
        layer(x, context)
    most = projections.flops + 2 * 2 * 2 * 64 * 77 * 64
    ratio = spent.flops / projections.flops
    expect(ratio >= 0.99, f"torch operators should do the projections, but only {ratio:.2f}x their FLOPs were seen")
    sentence = f"forward should cost at most {1.02 * most:.3g} FLOPs, but cost {spent.flops:.3g}"
    expect(spent.flops <= 1.02 * most, sentence, hint="call to_q, to_k, to_v and to_out once each, on all heads")


@pytest.mark.parametrize("masked", [False, True], ids=["no mask", "mask"])
def test_memory_is_a_few_attention_matrices(rng, cost, masked):
    """[batch, heads, queries, keys] a few times at most; q k^T by broadcasting would form head_dim times as much."""
    layer, x, context = at_scale(rng)
    mask = some_mask(rng, 2, 77) if masked else None
    with cost() as spent, torch.no_grad():
        layer(x, context, mask)
    matrix, others = 2 * 4 * 64 * 77 * 4, 4 * (x.nbytes + context.nbytes) * 2
    ratio = max(0, spent.allocated - others) / matrix
    sentence = f"forward should allocate at most 8 attention matrices, but allocated {ratio:.1f}"
    expect(ratio <= 8, sentence, hint="matrix products, not a broadcast product and a sum")


def test_operators_do_not_grow_with_the_batch(rng):
    """A python loop over samples would launch kernels one by one. (One over heads is slow, too, but passes.)"""
    layer, _, _ = at_scale(rng)
    expect_flat_operators(
        layer,
        lambda batch: (*at_scale(rng, batch, 5, 6)[1:], some_mask(rng, batch, 6)),
        (2, 16),
        what="the forward pass",
        hint="work on all samples at once",
        slack=20,
    )
