"""Random layers and batches, and the calls with a look at what comes back. Stages 1 and 2 take any floating dtype."""

from itertools import pairwise

import numpy as np
import torch
from torch.nn import functional as F

from dojo.testing import Wrong, expect, expect_close, randint, randn
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


def _kind(value):
    """What a value is, by its shape if it has one. The text of an array takes long, so it is not made."""
    return f"an array of shape {list(value.shape)}" if isinstance(value, np.ndarray) else describe(value)


def _expect_shape(value, shape, what, hint=""):
    good = isinstance(value, np.ndarray | np.generic) and value.shape == tuple(shape)
    if not good:
        raise Wrong(f"{what} should be an array of shape {list(shape)}, but is {_kind(value)}", hint=hint)


def _expect_number(value, what, hint=""):
    good = isinstance(value, int | float | np.number | np.ndarray) and np.ndim(value) == 0
    if not good:
        raise Wrong(f"{what} should be one number, but is {_kind(value)}", hint=hint)


def expect_array(actual, expected, *, what, hint="", within=1e-12, dtype=None):
    """A NumPy array of this shape, and of `dtype` if given, equal within so many times the largest number expected."""
    expected = np.asarray(expected, np.float64)
    _expect_shape(actual, expected.shape, what, hint)
    right = actual.dtype == (dtype or actual.dtype) and actual.dtype.kind == "f"
    expect(right, f"{what} should be of dtype {np.dtype(dtype or float)}, but is of {actual.dtype}", hint=hint)
    size = max(1.0, float(np.abs(expected).max(initial=0)))
    got, wanted = torch.from_numpy(np.array(actual, np.float64)), torch.from_numpy(expected.copy())
    expect_close(got, wanted, what=what, hint=hint, rtol=0.0, atol=within * size)


def expect_number(actual, expected, *, what, hint="", within=1e-12):
    """One number, within so much of itself and of 1."""
    _expect_number(actual, what, hint)
    given = [torch.tensor(float(each), dtype=torch.float64) for each in (actual, expected)]
    expect_close(*given, what=what, hint=hint, rtol=within, atol=within)


def _pair(result, names, what):
    if not (isinstance(result, tuple | list) and len(result) == 2):
        kind = f"{len(result)} results" if isinstance(result, tuple | list) else _kind(result)
        raise Wrong(f"{what} should return ({names}), but gave {kind}")
    return result


def expect_params(actual, like, what):
    """A list like `like`, of pairs of arrays with the same shapes."""
    if not (isinstance(actual, tuple | list) and len(actual) == len(like)):
        kind = f"{len(actual)} elements" if isinstance(actual, tuple | list) else _kind(actual)
        raise Wrong(f"{what} should be a list with a pair for each of {len(like)} layers, but are {kind}")
    for layer, (pair, wanted) in enumerate(zip(actual, like, strict=True)):
        _pair(pair, "that of W, that of b", f"{what}, in layer {layer},")
        for name, each, shape in zip("Wb", pair, (each.shape for each in wanted), strict=True):
            _expect_shape(each, shape, f"{what}, for {name} in layer {layer},")


def loss_of(logits, targets):
    """(loss, gradient)"""
    loss, grad = _pair(softmax_cross_entropy(logits, targets), "loss, gradient", "softmax_cross_entropy")
    _expect_number(loss, "the loss of softmax_cross_entropy")
    _expect_shape(grad, logits.shape, "the gradient of softmax_cross_entropy")
    return loss, grad


def forward(params, x):
    """(logits, cache)"""
    logits, cache = _pair(mlp_forward(params, x), "logits, cache", "mlp_forward")
    _expect_shape(logits, (len(x), params[-1][0].shape[1]), "the logits of mlp_forward")
    return logits, cache


def backward(params, cache, grad_logits):
    """(gradients, grad_x)"""
    gradients, grad_x = _pair(mlp_backward(params, cache, grad_logits), "gradients, grad_x", "mlp_backward")
    expect_params(gradients, params, "the gradients of mlp_backward")
    _expect_shape(grad_x, (len(grad_logits), params[0][0].shape[0]), "grad_x of mlp_backward")
    return gradients, grad_x


def both_passes(params, x, grad_logits):
    return backward(params, forward(params, x)[1], grad_logits)


def step(params, x, targets, **options):
    """(loss, new params)"""
    loss, new = _pair(train_step(params, x, targets, **options), "loss, new params", "train_step")
    _expect_number(loss, "the loss of train_step")
    expect_params(new, params, "the new params of train_step")
    return loss, new


def checked(loss, array, gradient, *eps):
    """The relative error, a number."""
    worst = gradient_check(loss, array, gradient, *eps)
    _expect_number(worst, "the result of gradient_check")
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
