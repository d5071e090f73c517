"""Stage 4. FLOPs, memory, no loop over rows, deep stacks."""

import pytest
import torch
from torch import nn

from dojo.testing import FLOATS, backward, expect, expect_close, expect_flat_operators, randn
from dojo.testing.alive import Alive
from katas.transformer_block import Block, SwiGLU

from .helpers import DIM, Mixing, Spy, random_block

ROWS, WIDTH, INNER = 256, 8, 24


def expect_flops(spent, what, norms=0):
    flops = 6 * ROWS * WIDTH * INNER
    sentence = f"torch operators should do the work of {what}, but only {spent.flops / flops:.2f}x its FLOPs were seen"
    expect(spent.flops >= 0.99 * flops, sentence, hint="the three projections are matrix products")
    sentence = f"{what} should cost 6 x rows x dim x hidden = {flops} FLOPs, but cost {spent.flops / flops:.2f}x that"
    expect(
        spent.flops <= 1.01 * flops + norms, sentence, hint="each projection once: keep gate(x) if you need it twice"
    )


def test_each_projection_is_done_once(rng, cost):
    """2 x rows x dim x hidden FLOPs each. z * sigmoid(z) needs z twice, and its product once."""
    layer, x = SwiGLU(WIDTH, INNER), randn(rng, 4, ROWS // 4, WIDTH).float()
    with cost() as spent:
        layer(x)
    expect_flops(spent, "SwiGLU")
    most = 2 * ROWS * INNER
    sentence = f"no tensor should have more than 2 x rows x hidden = {most} elements, but one has {spent.largest}"
    expect(spent.largest <= most, sentence, hint="matrix products, not a broadcast product and a sum")


def test_each_branch_is_computed_once(rng, cost):
    """The block costs what its parts do: attention's work is attention's, here none."""
    attention = Spy(torch.cos)
    block, x = Block(WIDTH, INNER, attention), randn(rng, 4, ROWS // 4, WIDTH).float()
    with cost() as spent:
        got = block(x)
    expect_flops(
        spent, "the block without attention's work", norms=8 * ROWS * WIDTH
    )  # a sum of squares may be a product
    expect(len(attention.given) == 1, f"attention should be called once, but was {len(attention.given)} times")
    backward(got.sum(), what="the block")
    sentence = f"attention should be called once, but was {len(attention.given)} times, with the backward pass"
    hint = "no checkpointing inside the block: attention may fill a cache, or draw random numbers"
    expect(len(attention.given) == 1, sentence, hint=hint)


def test_little_is_kept_for_the_backward_pass(rng):
    """gate(x), silu of it, up(x) and the product, and one more for z * sigmoid(z). In training, these tensors are most of
    the memory of a model; weights and answers are not counted in it."""
    layer, x = SwiGLU(WIDTH, INNER), randn(rng, ROWS, WIDTH).float().requires_grad_()
    with Alive() as alive:
        got = layer(x)
        kept = alive.elements() / (ROWS * INNER)
    expect(got.requires_grad, "SwiGLU should be differentiable, but has no graph", hint="detach nothing")
    sentence = f"SwiGLU should keep at most 5 tensors of [rows, hidden] for the backward pass, but keeps {kept:.1f}"
    slack = (got.numel() + 2 * WIDTH * INNER) / (ROWS * INNER)  # the answer, and fused weights
    expect(kept <= 5 + slack, sentence, hint="F.silu keeps its input alone; make no copies that the graph holds")


def test_operators_do_not_grow_with_the_rows(rng):
    """Linear layers and norms take all rows of all texts at once; a python loop launches kernels one by one."""
    layer, block = SwiGLU(WIDTH, INNER), Block(WIDTH, INNER, Mixing(WIDTH))
    for name, module in (("SwiGLU", layer), ("the block", block)):
        expect_flat_operators(
            module,
            lambda size: (randn(rng, *size, WIDTH).float(),),
            [(2, 4), (16, 4), (2, 32)],
            what=f"{name} of x [*size, {WIDTH}]",
            hint="no loop: nn.Linear takes any leading dimensions",
        )


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_deep_stack_passes_the_stream_through(rng, dtype):
    """32 blocks whose branches answer with zeros: x comes out bit for bit, and so does its gradient. A norm on the
    stream, a factor, or a rounding on the way would show; so would any detour of the gradient."""
    x = (100 * randn(rng, 2, 3, DIM)).to(dtype).requires_grad_()
    stack = nn.Sequential(*(Block(DIM, 6, Spy()) for _ in range(32))).to(dtype)
    with torch.no_grad():
        for block in stack:
            block.get_parameter("mlp.down.weight").zero_()
    got, gradient = stack(x), randn(rng, 2, 3, DIM).to(dtype)
    hint = "the stream is only ever added to: no norm, factor or conversion on it"
    expect_close(got, x, what=f"the stream behind 32 silent blocks in {dtype}", hint=hint, rtol=0.0, atol=0.0)
    backward((got * gradient).sum(), what="the stack")
    what = f"the gradient in front of 32 silent blocks in {dtype}"
    expect_close(x.grad, gradient, what=what, hint=hint, rtol=0.0, atol=0.0)


def test_a_branch_adds_to_the_stream_whatever_its_size(rng):
    """Pre-norm: the branch reads the direction of the stream alone, so it answers a stream of 1e6 as it does one of 1.
    That is why the stream grows with depth, and later blocks change it less and less."""
    block, x = random_block(rng, eps=1e-12), randn(rng, 2, 3, DIM)
    got, want = block(1e6 * x) - 1e6 * x, block(x) - x
    hint = "the mlp reads norm2(x), and the stream itself has no norm"
    expect_close(got, want, what="what the mlp adds to 1e6 x, against x", hint=hint, rtol=1e-5, atol=1e-4)
