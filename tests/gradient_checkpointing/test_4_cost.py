"""Stage 4. What is kept between the passes and at the peak, how often layers run, FLOPs."""

import pytest
import torch
from torch import nn

from dojo.testing import backward, expect, randn
from dojo.testing.alive import Alive
from katas.gradient_checkpointing import checkpoint, checkpoint_sequential

from .helpers import leaf, tensor

LAYERS, ROWS, DIM = 16, 1024, 16
INPUT = ROWS * DIM  # numbers in a layer's input
PARAMETERS = LAYERS * (DIM * DIM + DIM)
STATE = 5056  # bytes of a random stream's state, of which each segment may keep some in a tensor


def model():
    """16 layers, each of which keeps two inputs for its backward pass: that of the product and that of GELU."""
    return [nn.Sequential(nn.Linear(DIM, DIM), nn.GELU()) for _ in range(LAYERS)]


@pytest.mark.parametrize("segments", [1, 2, 4, 8])
def test_the_inputs_of_segments_are_all_that_is_kept(rng, segments):
    """After the forward pass: an input for each segment (that of the first is given) and the result. Plain: 32."""
    layers, x = model(), leaf(randn(rng, ROWS, DIM, dtype=torch.float32))
    with Alive() as alive:
        y = tensor(checkpoint_sequential(layers, segments, x), "checkpoint_sequential", x)
        kept = alive.elements() / INPUT
        at_peak = alive.peak / INPUT
    what = f"after the forward pass of {LAYERS} layers in {segments} segments"
    sentence = f"torch should make the result, but {kept:.2f} layer inputs are in memory {what}"
    expect(kept >= 1, sentence, hint="compute with torch: numpy is not counted")
    most = segments + segments * STATE / INPUT + 0.1
    sentence = f"{what}, {segments} layer inputs should be in memory (the result among them), but {kept:.2f} are"
    expect(kept <= most, sentence, hint="the first run records no graph, and nothing of it is kept but the inputs")
    sentence = f"at most {segments + 3} layer inputs should be in memory during the forward pass, but {at_peak:.2f} are"
    expect(at_peak <= most + 3, sentence, hint="the first run keeps nothing of what it computes inside")
    backward(y.sum(), what="checkpoint_sequential")


@pytest.mark.parametrize("segments", [1, 2, 4, 8, 16])
def test_the_peak_is_one_segment_above_what_is_kept(rng, segments):
    """Backward runs through one segment at a time, and lets it go: s + 2 * 16 / s inputs here, 12 at s = 4, plain 32."""
    layers, x = model(), leaf(randn(rng, ROWS, DIM, dtype=torch.float32))
    with Alive() as alive:
        loss = tensor(checkpoint_sequential(layers, segments, x), "checkpoint_sequential", x).sum()
        backward(loss, what="checkpoint_sequential")
        peak, after = alive.peak / INPUT, alive.elements() / INPUT
    most = segments + 2 * LAYERS / segments + 5 + (PARAMETERS + segments * STATE) / INPUT
    sentence = (
        f"{most:.0f} layer inputs should be in memory at the peak of a step of {LAYERS} layers in {segments} segments"
    )
    expect(peak <= most, f"{sentence}, but {peak:.1f} are", hint="let go of a segment's graph before the next one")
    sentence = f"after the step at most the {segments} inputs of segments and gradients should be in memory, but {after:.1f} are"
    expect(
        after <= segments + 2.5 + (PARAMETERS + segments * STATE) / INPUT,
        sentence,
        hint="nothing of the second run is kept",
    )


def test_a_step_costs_four_forward_passes_for_three(rng, cost):
    """Forward, again, and two products for each in the backward pass: 4/3 of a plain step."""
    layers, x = model(), leaf(randn(rng, 64, DIM, dtype=torch.float32))
    with cost() as plain:
        nn.Sequential(*layers)(x).sum().backward()
    with cost() as spent:
        backward(tensor(checkpoint_sequential(layers, 4, x), "checkpoint_sequential", x).sum(), what="the result")
    ratio = spent.flops / plain.flops
    sentence = f"a step in 4 segments should cost 1 to 4/3 of the FLOPs of a plain step, but costs {ratio:.2f} of them"
    expect(ratio >= 1, sentence, hint="compute with torch")
    expect(ratio <= 4 / 3 * 1.01, sentence, hint="each layer runs once forward and once backward")


def test_a_checkpoint_keeps_no_copies_of_its_arguments(rng):
    """The caller has them anyway: a copy for each checkpoint is a second model's worth of inputs."""
    args = [leaf(randn(rng, ROWS, DIM)) for _ in range(3)]
    with Alive() as alive:
        result = tensor(checkpoint(lambda a, b, c: (a * b).exp() * c, *args), "checkpoint(f, a, b, c)", args[0])
        kept = alive.elements() / INPUT
    sentence = (
        f"after checkpoint(f, a, b, c) the result should be all that is new, but {kept:.2f} tensors of its size are"
    )
    expect(kept <= 1 + STATE / INPUT + 0.1, sentence, hint="keep the arguments themselves: ctx.save_for_backward")
    backward(result.sum(), what="checkpoint(f, a, b, c)")
