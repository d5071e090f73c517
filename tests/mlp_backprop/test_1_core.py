"""Stage 1. The loss and its gradient, one layer, two layers, a step."""

import numpy as np
import pytest

from dojo.testing import expect, expect_own_work
from katas import mlp_backprop as kata
from katas.mlp_backprop import init_params

from .helpers import (
    LOSS,
    LOSS_GRAD,
    MASK,
    PASS,
    array,
    both_passes,
    by_autograd,
    expect_array,
    expect_layers,
    expect_number,
    expect_params,
    forward,
    generator,
    labels,
    layers,
    loss_of,
    normal,
    step,
)
from .probe import FORBIDDEN

# Probabilities (1/4, 3/4), (2/3, 1/3) and (1/2, 1/2), of which the targets have 3/4, 1/3 and 1/2.
LOGITS, TARGETS = np.log(array([1, 3], [6, 3], [5, 5])), np.array([1, 1, 0])


def test_a_worked_loss():
    """-log(3/4), -log(1/3) and -log(1/2) have the sum log(8) and the mean log(2)."""
    loss, _ = loss_of(LOGITS, TARGETS)
    expect_number(loss, np.log(2), what="the loss of probabilities 3/4, 1/3 and 1/2", hint=LOSS)


def test_a_worked_gradient_of_the_loss():
    """Probabilities less 1 at the target, a third of it for three samples."""
    _, grad = loss_of(LOGITS, TARGETS)
    expected = array([1 / 4, -1 / 4], [2 / 3, -2 / 3], [-1 / 2, 1 / 2]) / 3
    expect_array(grad, expected, what="the gradient of the loss of three samples", hint=LOSS_GRAD)


@pytest.mark.parametrize(("n", "classes"), [(1, 3), (4, 2), (5, 7)])
def test_loss_and_gradient_are_those_of_autograd(rng, n, classes):
    """With an identity as the only layer, so that logits are the inputs."""
    logits, targets = normal(rng, n, classes), labels(rng, n, classes)
    expected, _, grad_x = by_autograd([(np.eye(classes), np.zeros(classes))], logits, targets)
    loss, grad = loss_of(logits, targets)
    expect_number(loss, expected, what=f"the loss of {n} samples and {classes} classes", hint=LOSS)
    expect_array(grad, grad_x, what=f"the gradient of the loss of {n} samples, {classes} classes", hint=LOSS_GRAD)


def test_equal_logits_know_nothing():
    """Of four classes each has the probability 1/4."""
    loss, grad = loss_of(np.full((1, 4), 7.0), np.array([2]))
    expect_number(loss, np.log(4), what="the loss of four equal logits", hint=LOSS)
    expect_array(grad, array([1, 1, -3, 1]) / 4, what="the gradient of the loss of four equal logits", hint=LOSS_GRAD)


def test_a_repeated_batch_has_the_same_loss(rng):
    """A mean: three copies of the batch have the same loss, and a third of the gradient at each sample."""
    logits, targets = normal(rng, 4, 3), labels(rng, 4, 3)
    (loss, grad), (again, grads) = loss_of(logits, targets), loss_of(np.tile(logits, (3, 1)), np.tile(targets, 3))
    expect_number(again, loss, what="the loss of three copies of a batch", hint="the mean over samples")
    hint = "divide by the number of samples, once"
    expect_array(grads[:4], grad / 3, what="the gradient of the loss of three copies of a batch", hint=hint)


def test_one_layer():
    """[1, 2] W + b = [1 - 8, 2 + 2, 3 + 0] + [1, -5, 2]: negative logits stay, as no ReLU comes after the last layer."""
    w, b = array([1, 2, 3], [-4, 1, 0]), array(1, -5, 2)
    logits, _ = forward([(w, b)], array([1, 2], [0, 1]))
    hint = "x @ W + b, with W of shape [inputs, outputs]; no ReLU after the last layer"
    expect_array(logits, [[-6, -1, 5], [-3, -4, 2]], what="the logits of one layer", hint=hint)


def test_two_layers():
    """The hidden layer has the outputs 3, 1 and -2, of which ReLU leaves 3, 1 and 0."""
    first = array([1, -1, 0], [0, 1, 1]), array(1, 2, -3)
    second = array([1, -2], [10, 20], [100, 100]), array(1, 1)
    logits, _ = forward([first, second], array([2, 1]))
    hint = "ReLU between layers, not after the last"
    expect_array(logits, [[3 + 10 + 1, -6 + 20 + 1]], what="the logits of two layers", hint=hint)


def test_gradients_of_one_layer():
    """Each has the shape of its variable. Two samples, three inputs, two outputs."""
    w, x, grad = array([1, 2], [3, 4], [5, 6]), array([1, 0, 2], [3, 1, 0]), array([1, 10], [-2, 1])
    [(grad_w, grad_b)], grad_x = both_passes([(w, array(-100, 0))], x, grad)
    expect_array(grad_w, [[-5, 13], [-2, 1], [2, 20]], what="the gradient of W", hint=f"{PASS}. No 1/n here")
    expect_array(grad_b, [-1, 11], what="the gradient of b", hint=f"{PASS}. A sum, no mean: 1/n is in the loss")
    expect_array(grad_x, [[21, 43, 65], [0, -2, -4]], what="grad_x", hint=PASS)


def test_the_layer_may_be_square():
    """Where W and its transpose both fit."""
    w, x, grad = array([1, 2], [0, 3]), array([1, 10]), array([1, -1])
    expect_array(forward([(w, array(0, 0))], x)[0], [[1, 32]], what="the logits of a square layer", hint="x @ W")
    [(grad_w, _)], grad_x = both_passes([(w, array(0, 0))], x, grad)
    expect_array(grad_w, [[1, -1], [10, -10]], what="the gradient of a square W", hint=PASS)
    expect_array(grad_x, [[-1, -3]], what="grad_x of a square layer", hint=PASS)


def test_gradients_of_two_layers():
    """The hidden units have the outputs 2 and -1, and 0.5 and 3: one does not pass the ReLU."""
    first = array([1, 0], [0, 1]), array(0, 0)
    second = array([2, 5], [7, -1]), array(0, 0)
    x, grad = array([2, -1], [0.5, 3]), array([1, -1], [1, 1])
    gradients, grad_x = both_passes([first, second], x, grad)
    expect_array(
        gradients[1][0], [[2.5, -1.5], [3, 3]], what="the gradient of the second W", hint="h^T grad, h after ReLU"
    )
    expect_array(gradients[1][1], [2, 0], what="the gradient of the second b", hint=PASS)
    # grad W^T is [-3, 8] and [7, 6]; the 8 does not pass.
    expect_array(gradients[0][1], [4, 6], what="the gradient of the first b", hint=MASK)
    expect_array(gradients[0][0], [[-2.5, 3], [24, 18]], what="the gradient of the first W", hint=MASK)
    expect_array(grad_x, [[-3, 0], [7, 6]], what="grad_x of two layers", hint=MASK)


def test_a_step_goes_down(rng):
    """Every weight and bias moves by -lr times its gradient, all of them taken before anything moves."""
    params, x, targets = layers(rng, 3, 4, 2), normal(rng, 5, 3), labels(rng, 5, 2)
    before, gradients, _ = by_autograd(params, x, targets)
    loss, new = step(params, x, targets, lr=0.5)
    expect_number(loss, before, what="the loss that train_step returns", hint="that of the params before the step")
    moved = [(w - 0.5 * grad_w, b - 0.5 * grad_b) for (w, b), (grad_w, grad_b) in zip(params, gradients, strict=True)]
    expect_layers(new, moved, what="the new value", hint="the old one - lr * its gradient")


def test_weight_decay_pulls_weights_and_no_biases(rng):
    """Against the same step without it: lr * weight_decay of each weight, none of the loss."""
    params, x, targets = layers(rng, 3, 4, 2), normal(rng, 5, 3), labels(rng, 5, 2)
    (loss, new), (same, decayed) = (step(params, x, targets, lr=0.5, weight_decay=decay) for decay in (0.0, 0.25))
    pulled = [(w - 0.125 * old, b) for (w, b), (old, _) in zip(new, params, strict=True)]
    hint = "the gradient of weight_decay / 2 * |W|^2 is weight_decay * W; biases are not in the penalty"
    expect_layers(decayed, pulled, what="the new value with weight_decay=0.25", hint=hint)
    expect_number(same, loss, what="the loss with weight_decay=0.25", hint="the loss is returned without the penalty")


def test_first_params_have_the_shapes_of_the_sizes(rng):
    """W is [inputs, outputs], b is [outputs] and 0."""
    params = init_params([5, 3, 1, 2], rng=generator(rng))
    like = [(np.zeros((n, m)), np.zeros(m)) for n, m in ((5, 3), (3, 1), (1, 2))]
    expect_params(params, like, "init_params([5, 3, 1, 2])")
    for _, b in params:
        expect_array(b, np.zeros(len(b)), what="a bias of init_params", hint="biases begin at 0")


@pytest.mark.parametrize("sizes", [(250, 80), (50, 400), (30, 200, 100)])
def test_first_weights_have_the_variance_of_he(rng, sizes):
    """Mean 0 and variance 2 / inputs in each layer, so that a ReLU network keeps the size of its activations."""
    for layer, (w, _) in enumerate(init_params(sizes, rng=generator(rng))):
        inputs, count = len(w), w.size
        what = f"of {count} weights with {inputs} inputs in layer {layer} of init_params({list(sizes)})"
        hint = "a standard deviation of sqrt(2 / inputs), or uniform within sqrt(6 / inputs)"
        ratio, mean = float(np.mean(w**2)) * inputs / 2, float(w.mean()) / (2 / inputs / count) ** 0.5
        sentence = f"the variance {what} should be 2 / inputs, but is {ratio:.3f} times that"
        expect(abs(ratio - 1) < 6 * (2 / count) ** 0.5, sentence, hint=hint)
        sentence = f"the mean {what} should be 0, but is {mean:.1f} standard errors away"
        expect(abs(mean) < 6, sentence, hint=hint)


def test_rng_decides_every_weight(rng):
    """Equal generators give equal weights; the next call gives others; no two weights of a layer are the same number."""
    numbers = [generator(rng) for _ in range(2)]
    numbers.append(np.random.default_rng())
    numbers[2].bit_generator.state = numbers[0].bit_generator.state
    first, other, again, later = (init_params([6, 5, 5, 4], rng=numbers[i]) for i in (0, 1, 2, 0))
    for layer, (w, _) in enumerate(first):
        expect(np.array_equal(w, again[layer][0]), "equal generators should give equal weights", hint="draw from rng")
        for name, params in (("another generator", other), ("the next call", later)):
            same = np.isclose(w, params[layer][0]).any()
            expect(
                not same, f"{name} should give other weights", hint="draw from rng, which goes on; no seed of your own"
            )
        distinct = len(np.unique(w)) == w.size
        expect(distinct, f"the weights of layer {layer} should all differ", hint="equal hidden units would stay equal")
    expect(not np.isclose(first[1][0][:4, :4], first[2][0][:4, :4]).any(), "two layers should have different weights")


def test_your_own_backward_pass():
    """Autograd would do the work."""
    loss_of(LOGITS, TARGETS)
    expect_own_work(kata, FORBIDDEN)
