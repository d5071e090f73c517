"""Random layers and batches, and the calls with a look at what comes back. Stages 1 and 2 take any floating dtype."""

from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional as F

from dojo.testing import expect, expect_close, randint, randn
from dojo.testing.describe import describe
from katas.mlp_backprop import gradient_check, mlp_backward, mlp_forward, softmax_cross_entropy, train_step

LOSS = "log softmax(logits)[target], its mean over the rows, and a minus"
LOSS_GRAD = "(softmax(logits) - onehot(targets)) / n"
PASS = "for z = h W + b: grad_W = h^T grad_z, grad_b = the column sums of grad_z, grad_h = grad_z W^T"
MASK = "behind a ReLU, the gradient passes where z > 0 in the forward pass, and is 0 elsewhere"


def generator(rng):
    """A NumPy generator, seeded by the test's."""
    return np.random.default_rng(int(randint(rng, 0, 2**60, 1)))


def normal(rng, *shape, dtype=np.float64):
    return randn(rng, *shape).numpy().astype(dtype)


def layers(rng, *sizes, dtype=np.float64):
    """Random weights and biases."""
    return [(normal(rng, n, m, dtype=dtype), normal(rng, m, dtype=dtype)) for n, m in pairwise(sizes)]


def labels(rng, n, classes):
    return randint(rng, 0, classes, n).numpy()


def array(*rows):
    return np.array(rows, dtype=np.float64)


def expect_array(actual, expected, *, what, hint="", within=1e-12, dtype=None):
    """A NumPy array of this shape, and of `dtype` if given, equal within so many times the largest number expected."""
    expected = np.asarray(expected, np.float64)
    shape = list(expected.shape)
    kind = isinstance(actual, np.ndarray | np.generic)
    expect(kind, f"{what} should be an array of shape {shape}, but is {describe(actual)}", hint=hint)
    expect(list(actual.shape) == shape, f"{what} should have shape {shape}, but has {list(actual.shape)}", hint=hint)
    right = actual.dtype == (dtype or actual.dtype) and actual.dtype.kind == "f"
    expect(right, f"{what} should be of dtype {np.dtype(dtype or float)}, but is of {actual.dtype}", hint=hint)
    size = max(1.0, float(np.abs(expected).max(initial=0)))
    got, wanted = torch.from_numpy(np.array(actual, np.float64)), torch.from_numpy(expected.copy())
    expect_close(got, wanted, what=what, hint=hint, rtol=0.0, atol=within * size)


def expect_number(actual, expected, *, what, hint="", within=1e-12):
    """One number, within so much of itself and of 1."""
    number = isinstance(actual, int | float | np.number | np.ndarray) and np.ndim(actual) == 0
    expect(number, f"{what} should be one number, {expected:.6g}, but is {describe(actual)}", hint=hint)
    given = [torch.tensor(float(each), dtype=torch.float64) for each in (actual, expected)]
    expect_close(*given, what=what, hint=hint, rtol=within, atol=within)


def _pair(result, names, what):
    kind = f"{len(result)} results" if isinstance(result, tuple | list) else describe(result)
    good = isinstance(result, tuple | list) and len(result) == 2
    expect(good, f"{what} should return ({names}), but gave {kind}")
    return result


def loss_of(logits, targets, what="softmax_cross_entropy"):
    """(loss, gradient)"""
    loss, grad = _pair(softmax_cross_entropy(logits, targets), "loss, gradient", what)
    number = isinstance(loss, int | float | np.number | np.ndarray) and np.ndim(loss) == 0
    expect(number, f"the loss of {what} should be one number, but is {describe(loss)}")
    good = isinstance(grad, np.ndarray) and grad.shape == logits.shape
    sentence = f"the gradient of {what} should be an array of shape {list(logits.shape)}, but is {describe(grad)}"
    expect(good, sentence if not isinstance(grad, np.ndarray) else f"{sentence} of shape {list(grad.shape)}")
    return loss, grad


def forward(params, x):
    """(logits, cache)"""
    logits, cache = _pair(mlp_forward(params, x), "logits, cache", "mlp_forward")
    good = isinstance(logits, np.ndarray) and logits.shape == (len(x), params[-1][0].shape[1])
    expect(good, f"the logits of mlp_forward should be an array [n, classes], but are {describe(logits)}")
    return logits, cache


def expect_params(actual, like, what):
    """A list like `like`, of pairs of arrays with the same shapes."""
    good = isinstance(actual, tuple | list) and len(actual) == len(like)
    kind = f"{len(actual)} elements" if isinstance(actual, tuple | list) else describe(actual)
    expect(good, f"{what} should be a list with a pair for each of {len(like)} layers, but are {kind}")
    for layer, (pair, wanted) in enumerate(zip(actual, like, strict=True)):
        good = isinstance(pair, tuple | list) and len(pair) == 2 and all(isinstance(each, np.ndarray) for each in pair)
        shapes = [each.shape for each in wanted]
        expect(good, f"{what} of layer {layer} should be two arrays of shapes {shapes}, but are {describe(pair)}")
        got = [each.shape for each in pair]
        expect(got == shapes, f"{what} of layer {layer} should have the shapes {shapes} of W and b, but have {got}")


def backward(params, cache, grad_logits):
    """(gradients, grad_x)"""
    gradients, grad_x = _pair(mlp_backward(params, cache, grad_logits), "gradients, grad_x", "mlp_backward")
    expect_params(gradients, params, "the gradients of mlp_backward")
    shape = (len(grad_logits), params[0][0].shape[0])
    good = isinstance(grad_x, np.ndarray) and grad_x.shape == shape
    kind = f"an array of shape {grad_x.shape}" if isinstance(grad_x, np.ndarray) else describe(grad_x)
    expect(good, f"grad_x of mlp_backward should be an array of shape {shape}, but is {kind}")
    return gradients, grad_x


def both_passes(params, x, grad_logits):
    return backward(params, forward(params, x)[1], grad_logits)


def step(params, x, targets, **options):
    """(loss, new params)"""
    loss, new = _pair(train_step(params, x, targets, **options), "loss, new params", "train_step")
    number = isinstance(loss, int | float | np.number | np.ndarray) and np.ndim(loss) == 0
    expect(number, f"the loss of train_step should be one number, but is {describe(loss)}")
    expect_params(new, params, "the new params of train_step")
    return loss, new


def checked(loss, array, gradient, *eps):
    """The relative error, a number."""
    worst = gradient_check(loss, array, gradient, *eps)
    number = isinstance(worst, int | float | np.number) and np.ndim(worst) == 0
    expect(number, f"gradient_check should return one number, but gave {describe(worst)}")
    return float(worst)


def expect_layers(actual, expected, *, what, hint="", **options):
    """Weights and biases of all layers, the last layer first, since backward begins there."""
    for layer in reversed(range(len(expected))):
        for name, got, wanted in zip(("W", "b"), actual[layer], expected[layer], strict=True):
            place = f"{what} of {name} in layer {layer}" if len(expected) > 1 else f"{what} of {name}"
            expect_array(got, wanted, what=place, hint=hint, **options)


def by_autograd(params, x, targets):
    """(loss, gradients of the params, gradient of x), of torch's own functions, in float64."""
    leaves = [torch.tensor(each, dtype=torch.float64, requires_grad=True) for pair in params for each in pair]
    h = first = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    for layer, (w, b) in enumerate(zip(leaves[::2], leaves[1::2], strict=True)):
        h = F.linear(F.relu(h) if layer else h, w.T, b)
    loss = F.cross_entropy(h, torch.from_numpy(targets.astype(np.int64)))
    *grads, grad_x = (grad.numpy() for grad in torch.autograd.grad(loss, [*leaves, first]))
    return loss.item(), list(zip(grads[::2], grads[1::2], strict=True)), grad_x
