"""Stage 4. Cost."""

import torch
from torch import nn

from dojo.testing import expect, expect_flat_operators, randn
from katas.ip_adapter import DecoupledCrossAttention, ImageProjection

from .helpers import attention, inputs


def test_queries_are_projected_once(rng, cost):
    """FLOPs: six projections and two products each for text and image. A second to_q or to_out costs a multiple of
    what the 4 image tokens cost. (A fused attention kernel's own FLOPs may go uncounted: only an upper limit.)"""
    layer = DecoupledCrossAttention(32, 48, 4, 16)
    x, context, image_tokens = (t.float() for t in inputs(rng, 2, 64, 77, 4, 32, 48))
    with cost() as projections, torch.no_grad():
        nn.functional.linear(x, layer.to_q.weight)
        nn.functional.linear(torch.zeros(2, 64, 64), layer.to_out.weight)
        for tokens in (context, context, image_tokens, image_tokens):
            nn.functional.linear(tokens, layer.to_k.weight)
    with cost() as spent:
        layer(x, context, image_tokens)
    most = 1.02 * (projections.flops + 2 * 2 * 2 * 64 * (77 + 4) * 64)
    ratio = spent.flops / projections.flops
    expect(ratio >= 0.99, f"torch operators should do the projections, but only {ratio:.2f}x their FLOPs were seen")
    sentence = f"forward should cost at most {most:.3g} FLOPs, but cost {spent.flops:.3g}"
    expect(spent.flops <= most, sentence, hint="both halves share the queries, and to_out takes their sum")


def test_operators_do_not_grow_with_the_batch(rng):
    """A python loop over samples would launch kernels one by one. (One over heads is slow, too, but passes.)"""
    layer, projection = attention(rng), ImageProjection(8, 7, 3).double()
    expect_flat_operators(
        lambda x, context, embedding: layer(x, context, projection(embedding)),
        lambda batch: (*inputs(rng, batch)[:2], randn(rng, batch, 8)),
        (2, 16),
        what="the forward pass of both modules",
        hint="work on all samples at once",
        slack=20,
    )
