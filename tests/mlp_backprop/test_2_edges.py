"""Stage 2. Deep nets, zeros, small and empty batches, the gradient check, wrong arguments."""

import numpy as np
import pytest

from dojo.testing import called_for, expect, expect_raises
from katas.mlp_backprop import gradient_check, init_params, mlp_backward, mlp_forward, softmax_cross_entropy, train_step

from .helpers import (
    LOSS,
    MASK,
    PASS,
    array,
    both_passes,
    by_autograd,
    checked,
    expect_array,
    expect_layers,
    expect_number,
    forward,
    labels,
    layers,
    loss_of,
    normal,
)

CENTRAL = "(loss at +eps - loss at -eps) / (2 eps), by the eps that was given"


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("sizes", [(3, 5), (4, 6, 2), (2, 5, 4, 3), (3, 6, 2, 5, 1, 4), (5, 5, 5, 5)])
def test_gradients_of_any_depth_are_those_of_autograd(rng, sizes, n):
    """From the loss back to x. With no hidden layer it is logistic regression."""
    params, x, targets = layers(rng, *sizes), normal(rng, n, sizes[0]), labels(rng, n, sizes[-1])
    expected, wanted, wanted_x = by_autograd(params, x, targets)
    logits, _ = forward(params, x)
    what = f"of an MLP {list(sizes)} with {n} samples"
    loss, grad_logits = loss_of(logits, targets)
    expect_number(loss, expected, what=f"the loss {what}", hint=LOSS)
    gradients, grad_x = both_passes(params, x, grad_logits)
    expect_layers(gradients, wanted, what=f"the gradient, {what},", hint=f"{PASS}; {MASK}")
    expect_array(grad_x, wanted_x, what=f"grad_x {what}", hint=f"{PASS}; {MASK}")


def test_at_zero_no_gradient_passes():
    """Two of three hidden units get exactly 0: one from a zero input, one from 2 - 2. By their outputs they look like
    units that are off, and so are their gradients."""
    first = array([1, 0, 2], [0, 1, -1]), array(0, 0, -2)
    second = array([1], [1], [1]), array(5)
    gradients, grad_x = both_passes([first, second], array([2, 0]), array([1]))
    hint = f"{MASK}: at z = 0 exactly, the derivative is 0 here"
    expect_array(forward([first, second], array([1, 0]))[0], [[6]], what="the logit", hint="ReLU of 0 is 0")
    expect_array(gradients[0][1], [1, 0, 1], what="the gradient of b before a ReLU of 2, 0 and 2", hint=hint)
    gradients, grad_x = both_passes([first, second], array([1, 0]), array([1]))
    expect_array(gradients[0][1], [1, 0, 0], what="the gradient of b before a ReLU of 1, 0 and 0", hint=hint)
    expect_array(grad_x, [[1, 0]], what="grad_x before a ReLU of 1, 0 and 0", hint=hint)


def test_dead_units_get_no_gradient(rng):
    """A unit that is off for the whole batch: neither its weights nor its bias move, and neither do weights behind it."""
    (w, b), second = layers(rng, 3, 5, 2)
    b[1] = -1e6
    gradients, _ = both_passes([(w, b), second], normal(rng, 8, 3), normal(rng, 8, 2))
    expect_array(gradients[1][0][1], [0, 0], what="the gradient of the weights behind a dead unit", hint="h^T grad")
    expect_array(gradients[0][0][:, 1], [0, 0, 0], what="the gradient of a dead unit's weights", hint=MASK)
    expect_number(gradients[0][1][1], 0, what="the gradient of a dead unit's bias", hint=MASK)


def test_gradients_add_up_over_samples(rng):
    """Backward knows of no mean: it is linear in grad_logits, and the gradient of a batch is the sum over its samples.
    grad_x belongs to its sample, whatever the others are."""
    params, x, grad = layers(rng, 3, 4, 2), normal(rng, 3, 3), normal(rng, 3, 2)
    gradients, grad_x = both_passes(params, x, grad)
    singles = [both_passes(params, x[i : i + 1], grad[i : i + 1]) for i in range(3)]
    sums = [[sum(single[0][layer][part] for single in singles) for part in (0, 1)] for layer in (0, 1)]
    hint = "no 1/n in mlp_backward: the loss's gradient has it"
    expect_layers(gradients, sums, what="the gradient", hint=hint)
    rows = np.concatenate([single[1] for single in singles])
    expect_array(grad_x, rows, what="grad_x", hint="a row for each sample; nothing is summed or divided here")


def test_another_order_of_the_samples(rng):
    """Turns grad_x, and moves no other gradient."""
    params, x, grad, order = layers(rng, 3, 4, 2), normal(rng, 5, 3), normal(rng, 5, 2), [3, 0, 4, 2, 1]
    (gradients, grad_x), (same, turned) = both_passes(params, x, grad), both_passes(params, x[order], grad[order])
    expect_layers(same, gradients, what="in another order of the samples, the gradient", hint=PASS)
    expect_array(turned, grad_x[order], what="grad_x in another order of the samples", hint=PASS)


def test_a_cache_serves_again_and_alone(rng):
    """Backward twice, with another forward pass in between: the same. The cache is in no global, and nobody changes it."""
    params, x, grad = layers(rng, 3, 4, 4, 2), normal(rng, 5, 3), normal(rng, 5, 2)
    cache = forward(params, x)[1]
    wanted, wanted_x = mlp_backward(params, cache, grad)
    forward(params, normal(rng, 5, 3))
    hint = "work out of place: what is in the cache is needed for the next call as well"
    gradients, grad_x = mlp_backward(params, cache, grad)
    expect_layers(gradients, wanted, what="from the second call of mlp_backward with a cache, the gradient", hint=hint)
    expect_array(grad_x, wanted_x, what="grad_x of the second call with a cache", hint=hint)
    expect_array(
        forward(params, x)[0], forward([(w.copy(), b.copy()) for w, b in params], x.copy())[0], what="logits", hint=hint
    )


@pytest.mark.parametrize(
    "name", ["softmax_cross_entropy", "mlp_forward", "mlp_backward", "train_step", "gradient_check"]
)
def test_no_argument_is_modified_or_returned(rng, name):
    """Neither logits, nor weights, nor what comes in from the loss. What comes back shares no memory with them."""
    params, x, targets, grad = layers(rng, 3, 4, 2), normal(rng, 5, 3), labels(rng, 5, 2), normal(rng, 5, 2)
    weights = [each for pair in params for each in pair]
    cache = forward(params, x)[1]
    logits = grad + 1
    given = {"softmax_cross_entropy": [logits, targets], "gradient_check": [x, logits]}.get(name, [*weights, x, grad])
    before = [each.copy() for each in given]
    if name == "softmax_cross_entropy":
        made = [softmax_cross_entropy(logits, targets)[1]]
    elif name == "mlp_forward":
        made = [mlp_forward(params, x)[0], mlp_forward(params[:1], x)[0]]
    elif name == "mlp_backward":
        gradients, grad_x = mlp_backward(params, cache, grad)
        made = [grad_x, *[each for pair in gradients for each in pair]]
    elif name == "train_step":
        made = [each for lr in (0.5, 0.0) for pair in train_step(params, x, targets, lr=lr)[1] for each in pair]
    else:
        made = []
        gradient_check(lambda: float((x**2).sum()), x, np.zeros_like(x))
    for array_before, each in zip(before, given, strict=True):
        same = array_before.dtype == each.dtype and array_before.tobytes() == each.tobytes()
        expect(same, f"{name} should modify no argument, but did", hint="no -=, +=, and no out= on what was passed in")
        apart = not any(np.shares_memory(each, result) for result in made)
        expect(apart, f"what {name} returns should share no memory with an argument", hint="return new arrays")


def test_a_batch_of_nobody(rng):
    """No samples: no logits, and gradients of 0. Their mean is not asked for."""
    params = layers(rng, 3, 4, 2)
    expect_array(forward(params, np.zeros((0, 3)))[0], np.zeros((0, 2)), what="the logits of no samples")
    gradients, grad_x = both_passes(params, np.zeros((0, 3)), np.zeros((0, 2)))
    zeros = [(np.zeros_like(w), np.zeros_like(b)) for w, b in params]
    expect_layers(gradients, zeros, what="for no samples, the gradient", hint="sums of nothing; divide by nothing")
    expect_array(grad_x, np.zeros((0, 3)), what="grad_x of no samples")


def test_one_class_is_no_question():
    """Its probability is 1."""
    loss, grad = loss_of(array([3], [-5]), np.array([0, 0]))
    expect_number(loss, 0, what="the loss with a single class", hint=LOSS)
    expect_array(grad, [[0], [0]], what="the gradient of the loss with a single class")


def test_the_check_takes_a_central_difference():
    """For x^3 at 1 with eps = 1/2, it is (27/8 - 1/8) / 1 = 3.25, and the true derivative 3 is an error of 1/13."""
    for eps, slope in ((0.5, 3.25), (0.25, 3.0625)):
        x = array(1)
        worst = checked(lambda x=x: float(x[0] ** 3), x, array(3), eps)
        what = f"gradient_check of x^3 at 1 with the gradient 3 and eps={eps}"
        expect_number(worst, (slope - 3) / slope, what=what, hint=CENTRAL)
        what = f"gradient_check of x^3 at 1 with the gradient {slope} and eps={eps}"
        expect_number(checked(lambda x=x: float(x[0] ** 3), x, array(slope), eps), 0, what=what)


@pytest.mark.parametrize(
    ("slope", "given", "error"),
    [
        (2, 2, 0),
        (2, -2, 2),
        (1, 4, 0.75),
        (4, 1, 0.75),
        (-4, -5, 0.2),
        (-5, -4, 0.2),
        (0, 3, 1),
        (3, 0, 1),
        (0, 0, 0),
        (0, 1e-9, 0.1),
    ],
)
def test_the_error_is_relative_to_the_larger(slope, given, error):
    """|a - g| / max(|a|, |g|, 1e-8), of a straight line, whose difference is exact."""
    x = array(0)
    worst = checked(lambda: slope * float(x[0]), x, array(given), 0.25)
    what = f"gradient_check for the slope {slope} and the gradient {given}"
    expect_number(worst, error, what=what, hint="|a - g| / max(|a|, |g|, 1e-8)")


@pytest.mark.parametrize("bad", [0, 3, 5])
def test_the_worst_element_counts(bad):
    """Of six elements, wherever it is."""
    x, slopes = np.zeros((2, 3)), array([1, 2, 4], [8, 16, 32])
    gradient = slopes.copy()
    gradient.flat[bad] *= 0.5
    worst = checked(lambda: float((slopes * x).sum()), x, gradient, 0.25)
    expect_number(worst, 0.5, what=f"gradient_check with half the slope at element {bad}", hint="the largest error")


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("where", ["gradient", "loss"])
def test_nan_is_not_lost(where, place):
    """max(0.0, nan) is 0.0, and the worst gradient of all would pass."""
    x, gradient, factor = np.zeros(3), array(1, 1, 1), array(1, 1, 1)
    (gradient if where == "gradient" else factor)[place] = np.nan
    worst = checked(lambda: float(sum(factor[i] * x[i] for i in range(3) if x[i])), x, gradient, 0.25)
    sentence = f"gradient_check with NaN in the {where} at element {place} should be NaN, but is {worst}"
    expect(worst != worst, sentence, hint="np.max keeps a NaN; max() and > lose it")


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (2, 1, 3), (0, 3)])
def test_an_array_of_any_shape_is_checked(rng, shape):
    """The slopes are 1, 2, 3, ...; no element, no error."""
    x, slopes = normal(rng, *shape, 1)[..., 0], np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape)
    what = f"gradient_check of an array of shape {list(shape)}"
    for gradient, error in ((slopes, 0), (slopes * 2, 0.5 if slopes.size else 0)):
        with called_for(what, hint="np.ndindex(array.shape) goes over all places, also of a number"):
            worst = checked(lambda: float((slopes * x).sum()), x, gradient)
        expect_number(worst, error, what=what, within=1e-8, hint="all elements, in their places")


def test_the_array_has_its_bits_back(rng):
    """(x + eps) - eps is another number, where x is small. During the loss, one element alone is moved."""
    x = normal(rng, 3, 4) * 10.0 ** -np.arange(4)
    before, moved = x.copy(), []
    checked(lambda: moved.append((x != before).sum()) or 0.0, x, np.zeros((3, 4)), 0.1)
    same = x.tobytes() == before.tobytes()
    expect(same, "gradient_check should leave the array as it was, to the bit", hint="keep the value and put it back")
    sentence = f"the loss should see one element moved at a time, but saw {max(moved)}"
    expect(max(moved) <= 1, sentence, hint="put each element back before the next")


@pytest.mark.parametrize("sizes", [(3, 2), (3, 5, 4)])
def test_the_check_passes_your_gradients_and_no_others(rng, sizes):
    """Every hidden unit is on or off for the whole batch, so that no step crosses a kink. A turned sign is an error of 2."""
    params, x, targets = layers(rng, *sizes), np.abs(normal(rng, 4, 3)), labels(rng, 4, sizes[-1])
    params = [(np.abs(w) * np.where(np.arange(w.shape[1]) % 3, 0.3, -0.3), 0 * b) for w, b in params]
    gradients, _ = both_passes(params, x, loss_of(forward(params, x)[0], targets)[1])
    for layer, (pair, grads) in enumerate(zip(params, gradients, strict=True)):
        for name, each, grad in zip("Wb", pair, grads, strict=True):
            what = f"gradient_check of {name} in layer {layer}"
            worst = checked(lambda: loss_of(forward(params, x)[0], targets)[0], each, grad)
            expect(worst < 1e-4, f"{what} should be below 1e-4, but is {worst:.2g}", hint=CENTRAL)
            turned = grad.copy()
            turned.flat[np.abs(grad).argmax()] *= -1
            worst = checked(lambda: loss_of(forward(params, x)[0], targets)[0], each, turned)
            expect(worst > 1.9, f"{what}, one sign turned, should be 2, but is {worst:.2g}", hint=CENTRAL)


@pytest.mark.parametrize("sizes", [[], [3], [3, 0, 2], [3, -1]])
def test_sizes_that_are_no_mlp(sizes):
    with expect_raises(ValueError, what=f"init_params({sizes})"):
        init_params(sizes, rng=np.random.default_rng(0))


@pytest.mark.parametrize("target", [-1, 3, 100, -3])
def test_targets_outside_the_classes(target):
    """A negative index counts from the end, and nobody notices."""
    what, hint = f"a target {target} of 3 classes", "0 <= target < classes; NumPy takes -1 for the last"
    with expect_raises(ValueError, what=what, hint=hint):
        softmax_cross_entropy(np.zeros((2, 3)), np.array([0, target]))
    with expect_raises(ValueError, what=what, hint=hint):
        train_step([(np.zeros((4, 3)), np.zeros(3))], np.zeros((2, 4)), np.array([target, 0]), lr=0.1)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [((3, 2), (2,)), ((3, 2), (4,)), ((3, 2), (1,)), ((3, 2), (3, 1)), ((3,), (3,)), ((2, 2, 2), (2,)), ((0, 2), (0,)),
     ((1, 2), (3,)), ((3, 2), ())],
)  # fmt: skip
def test_logits_and_targets_that_do_not_fit(logits, targets):
    """Neither by broadcasting, nor with nobody in the batch."""
    with expect_raises(ValueError, what=f"logits of shape {list(logits)} with targets of shape {list(targets)}"):
        softmax_cross_entropy(np.zeros(logits), np.zeros(targets, dtype=int))


@pytest.mark.parametrize(
    ("shapes", "x"),
    [([], (2, 3)), ([((3, 4), (4,))], (3,)), ([((3, 4), (4,))], (2, 4)), ([((3, 4), (4,))], (1, 2, 3)),
     ([((3, 4), (1,))], (2, 3)), ([((3, 4), (2, 4))], (2, 3)), ([((3, 4), (1, 4))], (2, 3)), ([((3, 4), ())], (2, 3)),
     ([((3, 4), (4,)), ((3, 2), (2,))], (2, 3)), ([((3, 4), (4,)), ((4, 2), (1,))], (2, 3)), ([((3,), ())], (2, 3)),
     ([((2, 3, 4), (4,))], (2, 3)), ([((3, 1), (4,))], (2, 3))],
)  # fmt: skip
def test_layers_that_do_not_fit(shapes, x):
    """A b of [1] or of [n, outputs] would broadcast, and its gradient would have another shape."""
    params = [(np.zeros(w), np.zeros(b)) for w, b in shapes]
    with expect_raises(ValueError, what=f"mlp_forward with layers {shapes} and x of shape {list(x)}"):
        mlp_forward(params, np.zeros(x))


@pytest.mark.parametrize("shape", [(1, 2), (3, 1), (3,), (2,), (2, 2), (3, 3), (1, 3, 2)])
def test_a_gradient_that_is_not_of_the_logits(rng, shape):
    """Logits are [3, 2]."""
    params = layers(rng, 4, 5, 2)
    cache = forward(params, normal(rng, 3, 4))[1]
    with expect_raises(ValueError, what=f"mlp_backward with grad_logits of shape {list(shape)} for logits of [3, 2]"):
        mlp_backward(params, cache, np.ones(shape))


def test_a_check_that_cannot_be_made():
    """Gradients of another shape, and a step that is no step."""
    for shape in ((3, 2), (6,), (1, 3), (3,), ()):
        with expect_raises(ValueError, what=f"gradient_check of an array [2, 3] with a gradient of {list(shape)}"):
            gradient_check(lambda: 0.0, np.zeros((2, 3)), np.zeros(shape))
    for eps in (0.0, -1e-5, np.nan):
        with expect_raises(ValueError, what=f"gradient_check with eps={eps}"):
            gradient_check(lambda: 0.0, np.zeros(2), np.zeros(2), eps)
