"""Stage 4. Cost, and what the blocks hold at a time."""

import pytest
import torch

from dojo.testing import expect, expect_flat_operators, randn
from dojo.testing.alive import Alive
from katas.siglip_loss import match_probabilities, siglip_loss, siglip_loss_blocks

from .helpers import NAMES, slopes

N, DIM, BLOCK = 96, 4, 4
UNIT = N * BLOCK  # numbers in the logits of a block, and in the features of a batch


def given(rng, n, dim):
    """Four leaves in float32."""
    tensors = [*randn(rng, 2, n, dim, dtype=torch.float32), torch.tensor(5.0), torch.tensor(-3.0)]
    return [each.clone().requires_grad_() for each in tensors]


@pytest.mark.parametrize("function", [siglip_loss, match_probabilities], ids=lambda f: f.__name__)
def test_one_matrix_product(rng, cost, function):
    """images @ texts.T has all cosines. Broadcasting would form [n, n, dim] on the way."""
    inputs, name = given(rng, 64, 128), function.__name__
    with cost() as spent:
        function(*inputs)
    ratio = spent.flops / (2 * 64 * 64 * 128)
    sentence = f"a matrix product should form the logits of {name}, but only {ratio:.2f}x its FLOPs were seen"
    expect(ratio > 0.9, sentence, hint="images @ texts.T")
    sentence = f"{name} should cost one product of [64, 128] and [128, 64], but costs {ratio:.2f}"
    expect(ratio <= 1.05, sentence, hint="the logits of all pairs are one matrix")
    sentence = f"no operator of {name} should return more than {2 * 64 * 128} numbers, but one returns {spent.largest}"
    expect(spent.largest <= 2 * 64 * 128, sentence, hint="images @ texts.T, no broadcasting over [n, n, dim]")


@pytest.mark.parametrize("function", [siglip_loss, match_probabilities], ids=lambda f: f.__name__)
def test_no_loop_over_pairs(rng, function):
    """SigLIP's batch has 32 768 pairs."""
    expect_flat_operators(
        function,
        lambda n: given(rng, n, 8),
        (4, 64),
        what=function.__name__,
        hint="all pairs at once",
        slack=5,
    )


def test_no_loop_inside_a_block(rng):
    """As many operators for a block of 64 rows as for one of 4."""
    expect_flat_operators(
        lambda *inputs: siglip_loss_blocks(*inputs, len(inputs[0])),
        lambda n: given(rng, n, 8),
        (4, 64),
        what="siglip_loss_blocks in one block",
        hint="the pairs of a block at once",
        slack=5,
    )


@pytest.mark.parametrize("block", [BLOCK, 5])
def test_no_block_is_larger_than_asked_for(rng, cost, block):
    """At n = 32 768 the matrix has 4.3 GB in float32, and a block of 256 rows has 34 MB."""
    inputs, most = given(rng, N, DIM), 2 * block * N
    with cost() as forward:
        loss = siglip_loss_blocks(*inputs, block)
    with cost() as backward:
        slopes(lambda *_: loss, inputs, what="siglip_loss_blocks")
    for name, spent in (("forward", forward), ("backward", backward)):
        sentence = (
            f"no operator of the {name} pass in blocks of {block} should return more than 2 x {block} x {N} numbers"
        )
        expect(spent.largest <= most, f"{sentence}, but one returns {spent.largest}", hint="logits of one block only")
    ratio = (forward.flops + backward.flops) / (2 * N * N * DIM)
    sentence = f"loss and gradients in blocks should cost 3 or 4 products of the features, but cost {ratio:.2f}"
    expect(2.7 <= ratio <= 4.2, sentence, hint="each block once forward, once again at most, and two for its gradients")


@pytest.mark.parametrize("only", [NAMES, NAMES[1:2]], ids=["all require gradients", "texts alone do"])
def test_what_exists_at_a_time_is_a_block(rng, only):
    """A graph over the loop keeps the logits of every block until the backward pass, so that nothing is saved. The matrix has
    24 times the numbers of a block here. Features, their gradients and the tensors of one block may exist."""
    inputs = given(rng, N, DIM)
    for name, leaf in zip(NAMES, inputs, strict=True):
        leaf.requires_grad_(name in only)
    with Alive() as alive:
        loss = siglip_loss_blocks(*inputs, BLOCK)
        kept, forward = alive.elements() / UNIT, alive.peak / UNIT
        slopes(lambda *_: loss, inputs, what="siglip_loss_blocks")
        peak = alive.peak / UNIT
    hint = (
        "torch.utils.checkpoint, or an autograd.Function that computes a block's logits again or its gradients at once"
    )
    unit = f"{BLOCK} x {N} numbers"
    sentence = f"between the passes of {N} pairs in blocks of {BLOCK}, at most 12 times {unit} should be kept"
    expect(kept <= 12, f"{sentence}, but {kept:.1f} times are: is every block's graph kept?", hint=hint)
    sentence = f"in the passes of {N} pairs in blocks of {BLOCK}, at most 20 times {unit} should exist at a time"
    expect(max(forward, peak) <= 20, f"{sentence}, but {max(forward, peak):.1f} times do", hint=hint)
