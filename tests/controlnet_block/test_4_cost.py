"""Stage 4. Counted work, memory and parameters."""

from collections import Counter

import torch

from dojo.testing import expect, expect_equal, expect_graph
from katas.controlnet_block import ControlNetBlock

from .helpers import convolutions, inputs


def deep(rng, channels=16):
    """Three convolutions in float32, inputs for them, and the FLOPs of one forward: 2 per multiply-add."""
    block = convolutions(channels, depth=3).float()
    x, condition = (t.float() for t in inputs(rng, channels, size=(12, 12)))
    return block, x, condition, 2 * x.numel() * channels * 9 * 3


def test_forward_costs_both_halves_once(rng, cost):
    """F and F' are equal in size, and two 1x1 convolutions are small change: about twice the block's FLOPs."""
    block, x, condition, once = deep(rng)
    net = ControlNetBlock(block, 16, 3)
    with cost() as spent:
        net(x, condition)
    ratio = spent.flops / once
    expect(
        ratio >= 1.9, f"F and F' should each run as torch operators, but only {ratio:.2f}x the block's FLOPs were seen"
    )
    expect(
        ratio <= 2.15,
        f"forward should cost about 2.05x the block's FLOPs, but costs {ratio:.2f}x",
        hint="call `frozen` and `copy` once each",
    )


def test_backward_spends_nothing_on_the_frozen_half(rng, cost):
    """The copy's backward takes twice its forward (its inputs and its weights); F's weights would add 1.67x.
    The limit leaves room for recomputing the copy's activations in the backward pass (1x)."""
    block, x, condition, once = deep(rng)
    y = ControlNetBlock(block, 16, 3)(x, condition)
    expect_graph(y)
    with cost() as spent:
        y.sum().backward()
    ratio = spent.flops / once
    sentence = f"torch operators should differentiate the copy, but only {ratio:.2f}x the block's FLOPs were seen"
    expect(ratio >= 1.9, sentence, hint="the copy trains, and so does zero_in in front of it")
    expect(
        ratio <= 3.3,
        f"backward should cost about 2.1x the block's forward, but costs {ratio:.2f}x",
        hint="freeze F with requires_grad_(False): autograd then skips it",
    )


def test_the_frozen_half_keeps_no_activations(rng):
    """What autograd saves for backward is the memory that training needs: the copy's activations, not F's too.
    One trained block saves 5 activations here; the copy and the two zero convolutions take 6.2, with F's it is 10.2."""
    block, x, condition, _ = deep(rng)
    net = ControlNetBlock(block, 16, 3)
    saved = Counter()

    def pack(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = net(x, condition)
    expect_graph(y)
    weights = {p.untyped_storage().data_ptr() for p in net.parameters()}
    activations = sum(size for where, size in saved.items() if where not in weights) / x.nbytes
    expect(
        activations <= 8.2,
        f"about 6.2x the bytes of x should be kept for backward, but {activations:.1f}x are",
        hint="freeze F with requires_grad_(False), so that autograd saves nothing for it",
    )


def test_what_trains_is_the_copy_and_two_small_layers():
    """Gradients, optimizer state and the checkpoint to share are counted by this number."""
    block = convolutions(16)
    size = sum(p.numel() for p in block.parameters())
    net = ControlNetBlock(block, 16, 3)
    trainable = {name: p.numel() for name, p in net.named_parameters() if p.requires_grad}
    expect_equal(
        sorted({name.split(".")[0] for name in trainable}),
        ["copy", "zero_in", "zero_out"],
        what="the submodules with trainable parameters",
        hint="the copy and both zero convolutions train, and nothing else does",
    )
    expect_equal(
        sum(trainable.values()),
        size + (3 * 16 + 16) + (16 * 16 + 16),
        what="the number of trainable parameters",
        hint="the copy's, and weight and bias of the two 1x1 convolutions",
    )
