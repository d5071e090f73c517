"""Stage 3. Huge scores, nearly dependent columns, unequal scales, every dtype."""

import numpy as np
import pytest

from .helpers import (
    CENTERED,
    LOGISTIC,
    array,
    descended,
    expect_array,
    expect_minimum,
    expect_number,
    labels,
    linear,
    logistic,
    loss_of,
    normal,
    probs,
)
from .test_1_core import bowl

STABLE = "exp only of numbers that are not positive: exp(-|z|), np.logaddexp"
FLOAT64 = "turn x, y and weights into float64 first: float16 overflows at 65504, unsigned integers wrap below 0"
DTYPES = ["float16", "float32", "uint8", "int8", "int64"]


@pytest.mark.parametrize("score", [30.0, 800.0, 1e4])
def test_probabilities_of_huge_scores(score):
    got = probs(array(score), 0.0, array([1], [-1], [0]))
    expect_array(got, [1, 0, 0.5], what=f"the probabilities for scores {score:g}, {-score:g}, 0", hint=STABLE)


@pytest.mark.parametrize("score", [20.0, 40.0, 800.0, 1e4])
@pytest.mark.parametrize("label", [0, 1])
def test_the_loss_of_huge_scores(score, label):
    """A row that is wrong costs its score, whatever its size. One that is right costs nothing."""
    for sign in (1, -1):
        wrong = (sign > 0) != label
        loss, slopes, slope = loss_of("logistic_loss", array(sign), 0.0, array([score]), array(label))
        # log(1 + exp(z)) is z up to exp(-z), of which 2e-9 is left at 20
        wanted = (score if wrong else 0.0) + np.log1p(np.exp(-score))
        what = f"logistic_loss for the score {sign * score:g} and label {label}"
        expect_number(loss, wanted, what=what, hint=f"{LOGISTIC}; {STABLE}")
        error = sign if wrong else 0.0
        expect_number(slope, error, what=f"the derivative of {what} by the bias", hint=STABLE, within=1e-8)
        expect_array(slopes, [error * score], what=f"the gradient of {what}", hint=STABLE, within=1e-7)


@pytest.mark.parametrize("l2", [0.0, 1e-20])
@pytest.mark.parametrize("apart", [1e-4, 1e-6])
def test_columns_that_nearly_depend_on_each_other(rng, l2, apart):
    """a and a + b / 1 000 000: the condition is a few millions, and its square would take nearly all of float64's digits."""
    for a, b in normal(rng, 5, 2, 40):
        x = np.stack([a - a.mean(), a - a.mean() + apart * (b - b.mean())], 1)
        w, _ = linear(x, x @ array(2, -1), l2, what=f"columns that are {apart:g} apart")
        hint = (
            "solve with x (lstsq, svd, qr of the centred columns), and never with x^T x, whose condition is the square"
        )
        what = f"the weights of columns that are {apart:g} apart"
        expect_array(w, [2, -1], what=what, hint=hint, within=1e-5)


@pytest.mark.parametrize("far", [1e4, -1e6])
def test_columns_far_from_0(rng, far):
    """A mean of a million times the spread."""
    x = normal(rng, 30, 2) + array(far, 0)
    y = (x - array(far, 0)) @ array(3, -2) + 1
    w, b = linear(x, y, what=f"a column around {far:g}")
    expect_array(w, [3, -2], what=f"the weights of a column around {far:g}", hint=CENTERED, within=1e-6)
    expect_array(x @ w + b, y, what=f"predictions for a column around {far:g}", hint=CENTERED, within=1e-6)


def test_columns_of_unequal_scales(rng):
    """Grams and dollars: 0.01 and 10 000. Both weights are right to six digits of their own."""
    x = normal(rng, 25, 3) * array(1e-2, 1, 1e4)
    w, b = linear(x, x @ array(300, -2, 1e-4) + 5, what="columns of unequal scales")
    hint = "no step size fits all columns: solve, and drop no singular value that is above rounding"
    expect_array(w * array(1e-2, 1, 1e4), [3, -2, 1], what="weights times scales", hint=hint, within=1e-6)
    expect_number(b, 5.0, what="the bias beside columns of unequal scales", hint=hint, within=1e-6)


@pytest.mark.parametrize("l2", [1.0, 1e-4, 1e-8])
def test_a_logistic_fit_of_columns_as_measured(rng, l2):
    """A year, an income, a share in thousandths."""
    z = normal(rng, 40, 3)
    x = array(2000, 3e4, 0) + z * array(2, 1e4, 1e-3)
    y = labels(rng, z, [1, -1, 0.5])
    w, b = logistic(x, y, l2, what="columns of unequal scales")
    hint = "Newton's step does not depend on the scales of columns; gradient descent does"
    expect_minimum(w, b, x, y, l2, what=f"columns of unequal scales, l2 = {l2:g}", hint=hint)


def small(rng, dtype, *shape):
    """Numbers of this dtype, the larger ones too large for a float16 square or for a uint8 sum."""
    x = normal(rng, *shape) * (300 if dtype == "float16" else 50)
    return (np.abs(x).clip(0, 255) if dtype == "uint8" else x.clip(-120, 120) if dtype == "int8" else x).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_is_computed_in_float64(rng, dtype):
    """As if x, y and weights had been float64 from the start."""
    x, y, w = small(rng, dtype, 30, 3), small(rng, dtype, 30), small(rng, dtype, 3)
    wide = [each.astype(np.float64) for each in (x, y, w)]
    for l2 in (0.0, 100.0):
        got, wanted = linear(x, y, l2, what=f"{dtype}"), linear(wide[0], wide[1], l2)
        expect_array(got[0], wanted[0], what=f"the weights of fit_linear of {dtype}", hint=FLOAT64, within=1e-9)
        expect_number(got[1], wanted[1], what=f"the bias of fit_linear of {dtype}", hint=FLOAT64, within=1e-9)
    got, wanted = loss_of("linear_loss", w, 0.5, x, y, 0.1), loss_of("linear_loss", wide[2], 0.5, *wide[:2], 0.1)
    expect_number(got[0], wanted[0], what=f"linear_loss of {dtype}", hint=FLOAT64, within=1e-10)
    expect_array(got[1], wanted[1], what=f"the gradient of linear_loss of {dtype}", hint=FLOAT64, within=1e-10)
    expect_number(got[2], wanted[2], what=f"the derivative of linear_loss of {dtype}", hint=FLOAT64, within=1e-10)
    got, wanted = probs(w, 0.5, x), probs(wide[2], 0.5, wide[0])
    expect_array(got, wanted, what=f"predict_proba of {dtype}", hint=FLOAT64)
    got, wanted = (descended(bowl, each[:2], 0.5, lr=0.25, steps=3) for each in (w, wide[2]))
    expect_array(got[0], wanted[0], what=f"gradient_descent from {dtype} weights", hint=FLOAT64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_logistic_regression_of_every_dtype(rng, dtype):
    x = small(rng, dtype, 30, 2)
    z = x.astype(np.float64) / 100
    y, w = labels(rng, z - z.mean(), [1, -1]), np.array([1, 2], dtype)
    got = loss_of("logistic_loss", w, 0.5, x, y, 0.1)
    wanted = loss_of("logistic_loss", w.astype(np.float64), 0.5, x.astype(np.float64), y, 0.1)
    expect_number(got[0], wanted[0], what=f"logistic_loss of {dtype}", hint=FLOAT64, within=1e-10)
    expect_array(got[1], wanted[1], what=f"the gradient of logistic_loss of {dtype}", hint=FLOAT64, within=1e-10)
    expect_number(got[2], wanted[2], what=f"the derivative of logistic_loss of {dtype}", hint=FLOAT64, within=1e-10)
    w, b = logistic(x, y, 0.1, what=f"{dtype}")
    expect_array(w, w.astype(np.float64), what=f"the weights of fit_logistic of {dtype}", hint=FLOAT64)
    expect_number(b, float(b), what=f"the bias of fit_logistic of {dtype}", hint=FLOAT64)
    expect_minimum(w, b, x.astype(np.float64), y, 0.1, what=f"fit_logistic of {dtype}", hint=FLOAT64)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int64", "float16", "float32"])
def test_labels_of_every_dtype(rng, dtype):
    """-y wraps for unsigned integers, and NumPy has no minus for bool."""
    x = normal(rng, 12, 2)
    y = labels(rng, x, [1, 1])
    w = array(1, -2)
    got, wanted = loss_of("logistic_loss", w, 0.3, x, y.astype(dtype), 0.1), loss_of("logistic_loss", w, 0.3, x, y, 0.1)
    hint = "turn labels into float64 first"
    expect_number(got[0], wanted[0], what=f"logistic_loss with labels of {dtype}", hint=hint)
    expect_array(got[1], wanted[1], what=f"the gradient of logistic_loss with labels of {dtype}", hint=hint)
    expect_number(got[2], wanted[2], what=f"the derivative of logistic_loss with labels of {dtype}", hint=hint)
    w, b = logistic(x, y.astype(dtype), 0.1, what=f"labels of {dtype}", tol=1e-10)
    expect_minimum(w, b, x, y, 0.1, what=f"fit_logistic with labels of {dtype}", tol=1e-10, hint=hint)


@pytest.mark.parametrize("view", ["of every second row and column", "from the end", "in Fortran's order"])
def test_arguments_may_be_views(rng, view):
    """Same numbers, same results."""
    make = {
        "of every second row and column": lambda a: (
            np.repeat(np.repeat(a, 2, 0), 2, -1)[::2, ..., ::2] if a.ndim == 2 else np.repeat(a, 2)[::2]
        ),
        "from the end": lambda a: a[::-1].copy()[::-1],
        "in Fortran's order": np.asfortranarray,
    }[view]
    x, w = normal(rng, 9, 3), normal(rng, 3)
    y = labels(rng, x, [1, 0, -1])
    vx, vy, vw = make(x), make(y), make(w)
    expect_array(probs(vw, 0.5, vx), probs(w, 0.5, x), what=f"predict_proba of views {view}")
    for model in ("linear_loss", "logistic_loss"):
        got, wanted = loss_of(model, vw, 0.5, vx, vy, 0.1), loss_of(model, w, 0.5, x, y, 0.1)
        expect_array(got[1], wanted[1], what=f"the gradient of {model} of views {view}")
    for fit in (linear, logistic):
        got, wanted = fit(vx, vy, 0.5), fit(x, y, 0.5)
        expect_array(got[0], wanted[0], what=f"the weights of fit_{fit.__name__} of views {view}", within=1e-6)


def test_a_second_call_gives_the_same(rng):
    """Nothing is kept between calls."""
    x = normal(rng, 10, 2)
    y = labels(rng, x, [1, -1])
    first = logistic(x, y, 0.1, tol=1e-10)
    logistic(x + 3, 1 - y, 1.0)
    again = logistic(x, y, 0.1, tol=1e-10)  # a start may be drawn, so not to the last digit
    expect_array(again[0], first[0], what="the weights of fit_logistic in a second call", within=1e-6)
    expect_number(again[1], first[1], what="the bias of fit_logistic in a second call", within=1e-6)
