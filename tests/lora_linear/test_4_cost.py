"""Stage 4. Cost."""

from torch import nn

from dojo.testing import expect, expect_equal
from katas.lora_linear import LoRALinear

from .helpers import frozen, trained, vectors


def at_scale(rng):
    """1024 -> 1024 with rank 4: A and B are the same share of W (0.8 %) as with rank 16 of 4096 -> 4096."""
    return trained(rng, 1024, 1024, 4, 8.0), vectors(rng, 16, 1024)


def test_only_rank_times_in_plus_out_numbers_train():
    """What the optimizer keeps state for, and what data-parallel workers exchange: 8192 numbers here, not a million."""
    layer = LoRALinear(nn.Linear(1024, 1024), 4, 8.0)
    count = sum(parameter.numel() for parameter in layer.parameters() if parameter.requires_grad)
    expect_equal(count, 8192, what="the number of trainable parameters", hint="rank * (in + out): freeze the base")


def test_the_forward_costs_little_more_than_the_base(rng, cost):
    """Through the rank: 1.008 times the base. B A first costs 1.25 times for these 16 rows, and 4 MB for the product."""
    layer, x = at_scale(rng)
    with cost() as base:
        frozen(layer, x)
    with cost() as spent:
        layer(x)
    ratio, size = spent.flops / base.flops, spent.allocated / 1e6
    expect(ratio >= 1, f"torch operators should do the work, but they saw only {ratio:.2f}x the base's FLOPs")
    hint = "multiply x by A first, then by B: (x A^T) B^T, never x (B A)^T"
    expect(ratio <= 1.05, f"the forward should cost at most 1.05x the base's FLOPs, but cost {ratio:.2f}x", hint=hint)
    hint = "no tensor of W's size (4 MB): neither B A nor a copy of W"
    expect(size < 2, f"the forward should allocate less than 2 MB, but allocated {size:.1f} MB", hint=hint)


def test_a_merged_forward_costs_exactly_the_base(rng, cost):
    """The reason to merge: the adapter costs nothing when it is served."""
    layer, x = at_scale(rng)
    layer.merge()
    with cost() as base:
        frozen(layer, x)
    with cost() as spent:
        layer(x)
    expect_equal(spent.flops, base.flops, what="FLOPs of the merged forward", hint="merged: base(x) and nothing else")


def test_a_training_step_needs_no_gradient_of_W(rng, cost):
    """Full fine-tuning takes three products of W's size (y, dL/dx and dL/dW); with W frozen there are two."""
    layer, x = at_scale(rng)
    with cost() as base:
        frozen(layer, x)
    with cost() as spent:
        layer(x.requires_grad_()).sum().backward()
    ratio = spent.flops / base.flops
    sentence = f"torch operators should do both products, but only {ratio:.2f}x the base's forward was seen in FLOPs"
    expect(ratio >= 2, sentence, hint="x needs its gradient, through the base and through the adapter")
    sentence = f"forward and backward should cost at most 2.1x the base's forward in FLOPs, but cost {ratio:.2f}x"
    expect(ratio <= 2.1, sentence, hint="freeze the weight itself: then autograd never computes its gradient")
