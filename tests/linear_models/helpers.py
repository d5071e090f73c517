"""Random data, and the calls with a look at what comes back."""

import numpy as np
import torch

from dojo.testing import Wrong, called_for, expect, expect_close, randn
from dojo.testing.describe import describe
from katas.linear_models import fit_linear, fit_logistic, gradient_descent, linear_loss, logistic_loss, predict_proba

LINEAR = "1/(2 n) times the sum of squared errors, plus l2/2 times the sum of squared weights"
LOGISTIC = (
    "the mean of -log p where y is 1 and of -log(1 - p) where it is 0, plus l2/2 times the sum of squared weights"
)
GRADIENT = "for both models: x^T error / n + l2 w, and the mean error for the bias, where error is prediction less y"
FREE_BIAS = "the bias is not in the penalty: the errors have the mean 0 at the minimum, whatever l2 is"
CENTERED = "the bias is free, so fit x and y less their means, and take the bias from the means"

# Rows from which Newton's whole steps, begun at 0, do not get to the minimum. With four, halves of them don't either.
OVERSHOOT = {
    "seven rows": ([[-27, 2], [0, -1], [0, 0], [0, 0], [33, -66], [0, 0], [0, 0]], [0, 0, 1, 1, 0, 0, 0], 0.005),
    "six rows": ([[-1, 0], [0, 0], [0, 0], [-17, -10], [1, 0], [1, 5]], [0, 1, 1, 0, 1, 0], 0.001),
    "four rows": ([[36, 0], [-117, 66], [1, -2], [0, -1]], [0, 0, 1, 0], 0.001),
}


def normal(rng, *shape):
    return randn(rng, *shape).numpy()


def array(*rows):
    return np.array(rows, dtype=np.float64)


def labels(rng, x, weights, bias=0.0):
    """Labels drawn around a plane, both of them present."""
    y = (x @ array(*weights) + bias + normal(rng, len(x)) > 0).astype(np.float64)
    y[:2] = 0, 1
    return y


def _kind(value):
    return f"an array of shape {list(value.shape)}" if isinstance(value, np.ndarray) else describe(value)


def expect_array(actual, expected, *, what, hint="", within=1e-12):
    """A NumPy array of floats with this shape, within so many times the largest number expected, or 1."""
    expected = np.asarray(expected, np.float64)
    if not (isinstance(actual, np.ndarray) and actual.shape == expected.shape):
        raise Wrong(f"{what} should be an array of shape {list(expected.shape)}, but is {_kind(actual)}", hint=hint)
    expect(actual.dtype == "float64", f"{what} should be of dtype float64, but is of {actual.dtype}", hint=hint)
    size = max(1.0, float(np.abs(expected).max(initial=0)))
    got, wanted = torch.from_numpy(actual.copy()), torch.from_numpy(expected.copy())
    expect_close(got, wanted, what=what, hint=hint, rtol=0.0, atol=within * size)


def expect_number(actual, expected, *, what, hint="", within=1e-12):
    """One Python float (NumPy's float64 is one), within so much of itself and of 1."""
    if not isinstance(actual, float):
        kind = f"a {type(actual).__name__}" if np.ndim(actual) == 0 else _kind(actual)
        raise Wrong(f"{what} should be a Python float, but is {kind}", hint=hint)
    given = [torch.tensor(float(each), dtype=torch.float64) for each in (actual, expected)]
    expect_close(*given, what=what, hint=hint, rtol=within, atol=within)


def _parts(result, names, what):
    if not (isinstance(result, tuple | list) and len(result) == len(names)):
        kind = f"{len(result)} results" if isinstance(result, tuple | list) else _kind(result)
        raise Wrong(f"{what} should return ({', '.join(names)}), but gave {kind}")
    return result


def _shaped(value, shape, what):
    if not (isinstance(value, np.ndarray) and value.shape == shape):
        raise Wrong(f"{what} should be an array of shape {list(shape)}, but {_kind(value)} came back")


def _number(value, what):
    if not (isinstance(value, int | float | np.number)):
        raise Wrong(f"{what} should be a number, but {_kind(value)} came back")


def probs(weights, bias, x):
    p = predict_proba(weights, bias, x)
    _shaped(p, (len(x),), "predict_proba")
    return p


def loss_of(model, weights, bias, x, y, *l2):
    """(loss, gradient, derivative) of linear_loss or logistic_loss."""
    function = {"linear_loss": linear_loss, "logistic_loss": logistic_loss}[model]
    with called_for(f"{model} with x of {x.dtype}{list(x.shape)} and y of {y.dtype}"):
        result = function(weights, bias, x, y, *l2)
    loss, slopes, slope = _parts(result, ("loss", "gradient", "derivative of the bias"), model)
    _number(loss, f"the loss of {model}")
    _shaped(slopes, (x.shape[1],), f"the gradient of {model}")
    _number(slope, f"the derivative with respect to the bias of {model}")
    return loss, slopes, slope


def descended(loss, weights, bias, **options):
    """(weights, bias, losses) of gradient_descent."""
    result = gradient_descent(loss, weights, bias, **options)
    new, bias, losses = _parts(result, ("weights", "bias", "losses"), "gradient_descent")
    _shaped(new, weights.shape, "the weights of gradient_descent")
    _number(bias, "the bias of gradient_descent")
    expect(isinstance(losses, list), f"the losses of gradient_descent should be a list, but are {_kind(losses)}")
    return new, bias, losses


def _fitted(function, x, y, *l2, what="", **options):
    name = function.__name__
    with called_for(what or f"x of shape {list(x.shape)}"):
        result = function(x, y, *l2, **options)
    weights, bias = _parts(result, ("weights", "bias"), name)
    _shaped(weights, (x.shape[1],), f"the weights of {name}")
    _number(bias, f"the bias of {name}")
    return weights, bias


def linear(x, y, *l2, what=""):
    """(weights, bias) of fit_linear."""
    return _fitted(fit_linear, x, y, *l2, what=what)


def logistic(x, y, l2, what="", **options):
    """(weights, bias) of fit_logistic."""
    return _fitted(fit_logistic, x, y, l2, what=what, **options)


def expect_minimum(weights, bias, x, y, l2, *, what, tol=1e-8, hint=""):
    """The mean probability is the share of label 1, and each column's pull on the loss is in balance with the penalty's."""
    rest = array(*y) - probs(weights, bias, x)
    bound = 1.5 * tol
    sentence = (
        f"{what}: the mean probability should be the share of label 1 within {tol:g}, but is off by {rest.mean():g}"
    )
    expect(abs(rest.mean()) <= bound, sentence, hint=hint or FREE_BIAS)
    for column, (values, weight) in enumerate(zip(x.T, weights, strict=True)):
        pull = (rest * values).mean()
        sentence = (
            f"{what}: the mean of (y - p) x should be l2 w within {tol:g} for column {column}, "
            f"but is {pull:.10g} where l2 w is {l2 * weight:.10g}"
        )
        expect(abs(pull - l2 * weight) <= bound, sentence, hint=hint or "the minimum of J: mean loss + l2/2 |w|^2")
