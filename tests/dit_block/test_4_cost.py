"""Stage 4. FLOPs, and no loops."""

import pytest

from dojo.testing import expect, expect_flat_operators, randn
from katas.dit_block import DiTBlock, FinalLayer

BATCH, TOKENS, WIDTH, HIDDEN = 2, 32, 16, 64


def expect_flops(spent, flops, what, *, norms):
    share = spent.flops / flops
    sentence = f"torch operators should do the work of {what}, but only {share:.2f}x its FLOPs were seen"
    expect(spent.flops >= 0.99 * flops, sentence, hint="layers and attention are matrix products")
    sentence = f"{what} should cost {flops} FLOPs, but cost {share:.2f}x that"
    hint = "each layer once for all tokens, and modulation once for each sample: c has no tokens"
    expect(spent.flops <= 1.01 * flops + norms, sentence, hint=hint)


def inputs(rng, batch=BATCH, tokens=TOKENS):
    return randn(rng, batch, tokens, WIDTH).float(), randn(rng, batch, WIDTH).float()


def test_the_block_does_each_product_once(rng, cost):
    """24 dim^2 + 4 tokens dim FLOPs for each token at mlp_ratio=4, and 12 dim^2 for each sample. Half of the weights of qkv,
    proj and mlp are in modulation once more, and still nobody should see it in the time."""
    block, given = DiTBlock(WIDTH, 4), inputs(rng)
    with cost() as spent:
        block(*given)
    tokens = TOKENS * (8 * WIDTH**2 + 4 * WIDTH * HIDDEN + 4 * TOKENS * WIDTH)
    norms = BATCH * TOKENS * 16 * WIDTH  # means and sums of squares may be products
    expect_flops(spent, BATCH * (tokens + 12 * WIDTH**2), "the block", norms=norms)


def test_the_final_layer_does_each_product_once(rng, cost):
    """2 dim * outputs for each token, and 4 dim^2 for each sample."""
    layer, given = FinalLayer(WIDTH, 4, 4), inputs(rng)
    with cost() as spent:
        layer(*given)
    flops = BATCH * (TOKENS * 2 * WIDTH * 64 + 4 * WIDTH**2)
    expect_flops(spent, flops, "the final layer", norms=BATCH * TOKENS * 8 * WIDTH)


def test_modulation_is_done_for_samples_not_for_tokens(rng, cost):
    """Twice as many tokens cost twice the FLOPs of a token's layers and four times those of attention, and modulation not
    one more. A c that is repeated for each token, [batch, tokens, dim], would pay for it each time."""
    block, layer = DiTBlock(WIDTH, 4, 1.0), FinalLayer(WIDTH, 1, 1)
    for module, own, what in ((block, 12, "the block"), (layer, 4, "the final layer")):
        flops = []
        for tokens in (1, 2, 4):
            given = inputs(rng, 8, tokens)
            with cost() as spent:
                module(*given)
            flops.append(spent.flops / (8 * WIDTH**2))
        # f(n) = m + a n + b n^2, so 8 f(1) - 6 f(2) + f(4) = 3 m
        got = (8 * flops[0] - 6 * flops[1] + flops[2]) / 3
        sentence = (
            f"modulation of {what} should cost {own} dim^2 FLOPs a sample, whatever the tokens, but costs {got:.1f}"
        )
        hint = "modulation(silu(c)) first, on [batch, dim]; then the token dimension"
        expect(0.9 * own < got < 1.1 * own, sentence, hint=hint)


@pytest.mark.parametrize("what", ["samples", "tokens", "heads"])
def test_operators_grow_with_nothing(rng, what):
    """A python loop launches kernels one by one, and each of them is small: the GPU waits."""
    sizes = {"samples": [(2, 3, 2), (16, 3, 2)], "tokens": [(2, 3, 2), (2, 24, 2)], "heads": [(2, 3, 2), (2, 3, 4)]}
    modules = {size: DiTBlock(WIDTH, size[2]) for size in sizes[what]}
    layer = FinalLayer(WIDTH, 2, 3)
    hint = "no loop: heads and samples are dimensions of the same products"
    for name, call in (
        ("the block", lambda size, *xc: modules[size](*xc)),
        ("the final layer", lambda _, *xc: layer(*xc)),
    ):
        expect_flat_operators(
            call,
            lambda size: (size, *inputs(rng, size[0], size[1])),
            sizes[what],
            what=f"{name} of more {what}, as (samples, tokens, heads),",
            hint=hint,
        )
