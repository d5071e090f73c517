"""Stage 4. Memory, and no loop over samples."""

import tracemalloc

import numpy as np
import pytest

from dojo.testing import expect
from dojo.testing.lines import expect_lines
from katas import mlp_backprop as kata

from .helpers import both_passes, checked, labels, layers, loss_of, normal

SIZES = (24, 30, 16, 4)


def peak(run):
    """The most numbers of 8 bytes that a call holds at a time."""
    run()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / 8
    finally:
        tracemalloc.stop()


def test_memory_of_the_loss(rng):
    """200 samples and 20 classes: softmax's Jacobian has 200 x 20 x 20 numbers, pairs of samples are 200 x 200."""
    logits, targets = normal(rng, 200, 20), labels(rng, 200, 20)
    numbers = peak(lambda: loss_of(logits, targets)) / logits.size
    sentence = f"the loss should hold at most 8 numbers for each logit at a time, but held {numbers:.1f}"
    hint = "softmax - onehot needs no Jacobian [n, classes, classes]"
    expect(numbers <= 8, sentence, hint=hint)


def test_memory_of_both_passes(rng):
    """70 samples: an array [n, inputs, outputs] of one layer has 50 000 numbers, x and all outputs have 5200."""
    params, x, grad = layers(rng, *SIZES), normal(rng, 70, 24), normal(rng, 70, 4)
    units = 70 * sum(SIZES) + sum(each.size for pair in params for each in pair)
    numbers = peak(lambda: both_passes(params, x, grad)) / units
    what = "numbers for each parameter and activation at a time"
    hint = "h.T @ grad adds up over samples: no gradient of each sample by itself"
    expect(numbers <= 6, f"both passes should hold at most 6 {what}, but held {numbers:.1f}", hint=hint)
    sentence = f"NumPy should do the work, but it held only {numbers:.2f} {what}"
    expect(numbers >= 0.03, sentence, hint="compute with NumPy, whose memory is counted")


@pytest.mark.parametrize("name", ["both passes", "the loss"])
def test_no_loop_over_samples(rng, name):
    """400 samples and three layers in at most 300 lines. Loops over layers are few lines."""
    params, x, grad = layers(rng, 5, 6, 4, 3), normal(rng, 400, 5), normal(rng, 400, 3)
    calls = {
        "both passes": lambda: both_passes(params, x, grad),
        "the loss": lambda: loss_of(grad, labels(rng, 400, 3)),
    }
    hint = "a product of matrices goes over all samples"
    expect_lines(calls[name], kata, 300, what=f"{name} of 400 samples", hint=hint)


def test_the_check_calls_the_loss_twice_for_each_element(rng):
    """A forward pass each: all that a check costs."""
    x, calls = np.zeros((3, 4)), []
    checked(lambda: calls.append(1) or 0.0, x, np.zeros((3, 4)))
    sentence = f"gradient_check of 12 elements should call the loss 24 times, but called it {len(calls)} times"
    expect(len(calls) == 24, sentence, hint="once at +eps and once at -eps")
