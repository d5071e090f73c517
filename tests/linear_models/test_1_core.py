"""Stage 1. Probabilities, both losses with their gradients, gradient descent, both fits."""

import numpy as np
import pytest

from dojo.testing import expect, expect_own_work
from katas import linear_models as kata

from .helpers import (
    CENTERED,
    FREE_BIAS,
    GRADIENT,
    LINEAR,
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
from .probe import FORBIDDEN

MODELS = ["linear_loss", "logistic_loss"]
STEP = "w - lr * gradient and b - lr * derivative, both from one call of loss"


def test_probabilities_of_known_odds():
    """A score of log 3 is odds of 3 to 1."""
    got = probs(array(np.log(3)), 0.0, array([0], [1], [-1]))
    expect_array(got, [0.5, 0.75, 0.25], what="the probabilities for scores 0, log 3, -log 3", hint="1 / (1 + exp(-z))")


def test_the_bias_is_in_the_score(rng):
    """Odds are exp(x w + b)."""
    x, w = normal(rng, 7, 3), normal(rng, 3)
    got = probs(w, 0.5, x)
    expect_array(np.log(got / (1 - got)), x @ w + 0.5, what="the log-odds", hint="z = x w + b", within=1e-10)


def test_linear_loss_by_hand():
    """Predictions 3 and 7, errors 2 and -1: (4 + 1) / (2 * 2)."""
    loss, slopes, slope = loss_of("linear_loss", array(2), 1.0, array([1], [3]), array(1, 8))
    expect_number(loss, 1.25, what="linear_loss with errors 2 and -1", hint=LINEAR)
    expect_array(slopes, [-0.5], what="the gradient of linear_loss, (2 * 1 - 1 * 3) / 2", hint=GRADIENT)
    expect_number(slope, 0.5, what="the derivative of linear_loss with respect to the bias", hint=GRADIENT)


def test_logistic_loss_by_hand():
    """Scores log 3, 0 and 0 with labels 0, 1 and 1: minus the logarithms of 1/4, 1/2 and 1/2."""
    x, y = array([1, 0], [0, 0], [0, 1]), array(0, 1, 1)
    loss, slopes, slope = loss_of("logistic_loss", array(np.log(3), 0), 0.0, x, y)
    expect_number(loss, 4 * np.log(2) / 3, what="logistic_loss with p = 3/4, 1/2, 1/2 and y = 0, 1, 1", hint=LOGISTIC)
    expect_array(slopes, [0.25, -1 / 6], what="the gradient of logistic_loss", hint=GRADIENT)
    expect_number(slope, -0.25 / 3, what="the derivative of logistic_loss with respect to the bias", hint=GRADIENT)


def test_losses_with_a_bias():
    """All columns are 0. Scores of log 3 with label 0 cost log 4, and predictions of 3 for 1 cost 2 squared by 2."""
    loss, _, slope = loss_of("logistic_loss", array(1), np.log(3), array([0], [0]), array(0, 0))
    expect_number(loss, np.log(4), what="logistic_loss at x = 0, b = log 3, y = 0", hint="z = x w + b")
    expect_number(slope, 0.75, what="the derivative of logistic_loss by the bias at x = 0, b = log 3", hint=GRADIENT)
    loss, _, slope = loss_of("linear_loss", array(1), 3.0, array([0], [0]), array(1, 1))
    expect_number(loss, 2.0, what="linear_loss at x = 0, b = 3, y = 1", hint="z = x w + b")
    expect_number(slope, 2.0, what="the derivative of linear_loss by the bias at x = 0, b = 3", hint=GRADIENT)


@pytest.mark.parametrize("model", MODELS)
def test_the_penalty_by_itself(model):
    """All columns are 0, so the data pull on no weight: J is that of the bias, plus 0.5/2 * (9 + 16)."""
    x, y, w = np.zeros((4, 2)), array(0, 1, 0, 1), array(3, -4)
    plain, _, _ = loss_of(model, 0 * w, 0.0, x, y)
    loss, slopes, slope = loss_of(model, w, 0.0, x, y, 0.5)
    hint = "l2/2 times the sum of squared weights, without 1/n; its gradient is l2 * w"
    expect_number(loss - plain, 6.25, what=f"the penalty in {model} for weights 3 and -4 with l2 = 0.5", hint=hint)
    expect_array(slopes, [1.5, -2], what=f"the gradient of the penalty in {model}, l2 = 0.5", hint=hint)
    expect_number(slope, 0 if model == "logistic_loss" else -0.5, what=f"the derivative of {model} by the bias")


@pytest.mark.parametrize("model", MODELS)
def test_the_bias_is_not_in_the_penalty(rng, model):
    """Whatever l2 is, loss and derivative are the same when all weights are 0."""
    x, y = normal(rng, 5, 2), array(0, 1, 1, 1, 0)
    plain = loss_of(model, np.zeros(2), -1.5, x, y, 0.0)
    for number, name in ((0, "the loss"), (2, "the derivative with respect to the bias")):
        got = loss_of(model, np.zeros(2), -1.5, x, y, 3.0)[number]
        what = f"{name} of {model} at w = 0, b = -1.5 with l2 = 3, compared with l2 = 0"
        expect_number(got, plain[number], what=what, hint="the sum of the penalty goes over the weights only")


@pytest.mark.parametrize("model", MODELS)
def test_gradients_are_slopes_of_the_loss(rng, model):
    """Central differences, for every weight and for the bias, at a random place."""
    x, y, w, b, l2, eps = normal(rng, 6, 3), array(0, 1, 1, 0, 1, 1), normal(rng, 3), 0.3, 0.7, 1e-5
    _, slopes, slope = loss_of(model, w, b, x, y, l2)

    def difference(dw, db):
        return (loss_of(model, w + dw, b + db, x, y, l2)[0] - loss_of(model, w - dw, b - db, x, y, l2)[0]) / (2 * eps)

    wanted = [difference(eps * row, 0.0) for row in np.eye(3)]
    expect_array(slopes, wanted, what=f"the gradient of {model}", hint=GRADIENT, within=1e-8)
    what = f"the derivative of {model} with respect to the bias"
    expect_number(slope, difference(np.zeros(3), eps), what=what, hint=GRADIENT, within=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_the_data_twice_are_the_same_loss(rng, model):
    """A mean over rows, in the loss and in its gradient; l2 does not weigh less for more rows."""
    x, y, w = normal(rng, 5, 2), array(0, 1, 1, 1, 0), normal(rng, 2)
    once, twice = (loss_of(model, w, 0.2, np.tile(x, (k, 1)), np.tile(y, k), 0.4) for k in (1, 2))
    hint = "divide the sum over rows by n, and nothing else"
    expect_number(twice[0], once[0], what=f"{model} of the data twice", hint=hint)
    expect_array(twice[1], once[1], what=f"the gradient of {model} of the data twice", hint=hint)
    expect_number(twice[2], once[2], what=f"the derivative of {model} by the bias, of the data twice", hint=hint)


def bowl(weights, bias):
    """(|w - (3, -1)|^2 + (b - 2)^2) / 2"""
    return float(((weights - array(3, -1)) ** 2).sum() + (bias - 2) ** 2) / 2, weights - array(3, -1), bias - 2.0


def valley(weights, bias):
    """(w + 2 b)^2 / 2: weights and bias depend on each other."""
    total = float(weights[0]) + 2 * bias
    return total**2 / 2, array(total), 2 * total


def test_steps_of_gradient_descent():
    """In a bowl with lr = 1/2, each step goes half of the way to the middle."""
    for steps in (1, 2, 5):
        w, b, _ = descended(bowl, array(0, 1), 0.0, lr=0.5, steps=steps)
        left = 0.5**steps
        what = f"after {steps} steps with lr = 0.5"
        expect_array(w, [3 - 3 * left, -1 + 2 * left], what=f"the weights {what}", hint=STEP)
        expect_number(b, 2 - 2 * left, what=f"the bias {what}", hint=STEP)


def test_weights_and_bias_move_together():
    """From w = 1, b = 1 with J = (w + 2 b)^2 / 2: both derivatives are taken before either moves."""
    w, b, _ = descended(valley, array(1), 1.0, lr=0.125, steps=1)
    hint = "take both derivatives first, then move both"
    expect_array(w, [1 - 0.375], what="the weight after a step in a valley", hint=hint)
    expect_number(b, 1 - 0.75, what="the bias after a step in a valley", hint=hint)


def test_losses_are_those_before_each_step():
    """In the bowl, each is a quarter of the one before. With too large a step, they rise, and the last step counts."""
    for lr, ratio in ((0.5, 0.25), (3.0, 4.0)):
        w, _, losses = descended(bowl, array(0, 1), 0.0, lr=lr, steps=4)
        wanted = [8.5 * ratio**i for i in range(4)]
        what = f"the losses of 4 steps with lr = {lr}"
        expect_array(array(*losses), wanted, what=what, hint="the loss that comes with the gradient of a step")
        expect_array(w[:1], [3 - 3 * (1 - lr) ** 4], what=f"the first weight after 4 steps with lr = {lr}", hint=STEP)


def test_a_line_through_points():
    """y = 2 x + 1."""
    w, b = linear(array([0], [1], [4]), array(1, 3, 9))
    expect_array(w, [2], what="the weight of a line of slope 2", hint=CENTERED)
    expect_number(b, 1.0, what="the bias of a line through (0, 1)", hint="mean(y) - mean(x) w")


def test_a_plane_through_points(rng):
    """Three columns, and a bias that is not 0."""
    x, w = normal(rng, 9, 3) + array(5, -3, 1), normal(rng, 3)
    got, b = linear(x, x @ w - 4)
    expect_array(got, w, what="the weights of a plane", hint=CENTERED, within=1e-10)
    expect_number(b, -4.0, what="the bias of a plane", hint="mean(y) - mean(x) w", within=1e-10)


def test_the_best_plane_is_where_errors_lean_on_nothing(rng):
    """The errors of the least squares have the mean 0, and no column of x says anything about them."""
    x, y = normal(rng, 12, 3) + 2, normal(rng, 12) + 3
    w, b = linear(x, y)
    errors = x @ w + b - y
    expect_number(errors.mean(), 0.0, what="the mean error of fit_linear", hint=FREE_BIAS, within=1e-10)
    expect_array(x.T @ errors, np.zeros(3), what="x^T errors of fit_linear", hint="least squares", within=1e-10)


def test_a_ridge_by_hand():
    """x = -1 and 1, y = -3 and 5. At w the mean error leans on x by w - 4, and the penalty by l2 w: so w = 4 / (1 + l2)."""
    for l2 in (0.0, 1.0, 3.0):
        w, b = linear(array([-1], [1]), array(-3, 5), l2)
        what = f"fit_linear of (-1, -3) and (1, 5) with l2 = {l2:g}"
        expect_array(w, [4 / (1 + l2)], what=f"the weight of {what}", hint="x^T x + n l2, since J has 1/(2 n) and l2/2")
        expect_number(b, 1.0, what=f"the bias of {what}", hint=FREE_BIAS)


def test_a_ridge_does_not_hold_the_bias(rng):
    """y moved by 100 moves the bias by 100; x moved changes no weight."""
    x, y = normal(rng, 8, 2), normal(rng, 8)
    w, b = linear(x, y, 0.5)
    up, moved = linear(x, y + 100, 0.5), linear(x + array(10, -20), y, 0.5)
    expect_array(up[0], w, what="the weights for y + 100", hint=FREE_BIAS, within=1e-10)
    expect_number(up[1], b + 100, what="the bias for y + 100", hint=FREE_BIAS, within=1e-10)
    expect_array(moved[0], w, what="the weights for moved columns", hint=CENTERED, within=1e-10)
    what = "the bias for moved columns"
    expect_number(moved[1], b - 10 * w[0] + 20 * w[1], what=what, hint="mean(y) - mean(x) w", within=1e-10)


def test_the_penalty_is_on_the_weights_that_come_back():
    """Two columns, of spread 1 and 2, that do not correlate: w = cov / (var + l2), in the columns' own units."""
    x = array([-1, -2], [-1, 2], [1, -2], [1, 2])
    w, _ = linear(x, x @ array(3, 3), 2.0)
    hint = "columns that are standardised first get a penalty in other units"
    expect_array(w, [3 * 1 / (1 + 2), 3 * 4 / (4 + 2)], what="the weights for columns of spread 1 and 2", hint=hint)


def test_the_ridge_is_the_minimum_of_the_loss(rng):
    """At the fit, the derivatives of linear_loss are 0."""
    x, y = normal(rng, 10, 3) + 1, normal(rng, 10) - 2
    w, b = linear(x, y, 0.3)
    _, slopes, slope = loss_of("linear_loss", w, b, x, y, 0.3)
    expect_array(slopes, np.zeros(3), what="the gradient of linear_loss at fit_linear", hint=LINEAR, within=1e-10)
    expect_number(slope, 0.0, what="the derivative by the bias at fit_linear", hint=FREE_BIAS, within=1e-10)


def test_a_logistic_fit_by_hand():
    """x = -1 and 1, each four times; label 1 in one of four, and in three of four. The bias is 0, and l2 w = 3/4 - p, where
    p = sigmoid(w) at x = 1: for p = 0.6, w is log 1.5."""
    x, y = array(*4 * [[-1]], *4 * [[1]]), array(1, 0, 0, 0, 1, 1, 1, 0)
    wanted = np.log(1.5)
    w, b = logistic(x, y, 0.15 / wanted, tol=1e-10)
    hint = "the minimum of the mean loss + l2/2 |w|^2: here the mean of (y - p) x is 3/4 - sigmoid(w)"
    expect_array(w, [wanted], what="the weight of fit_logistic", hint=hint, within=1e-8)
    expect_number(b, 0.0, what="the bias of fit_logistic", hint=hint, within=1e-8)


@pytest.mark.parametrize("l2", [2.0, 0.1, 1e-3])
def test_a_logistic_fit_is_the_minimum(rng, l2):
    """Of columns and labels that are not centred."""
    x = normal(rng, 20, 3) + array(2, 0, -1)
    y = labels(rng, x, [1, -1, 1], -2)
    w, b = logistic(x, y, l2, tol=1e-10)
    expect_minimum(w, b, x, y, l2, what=f"fit_logistic with l2 = {l2:g}", tol=1e-10)


def test_descent_arrives_at_the_closed_form(rng):
    """400 steps with lr = 0.3 on columns of spread 1, for the linear loss; so the two ways agree on J."""
    x = normal(rng, 40, 2)
    y = x @ array(1, -2) + 3 + normal(rng, 40)
    w, b, losses = descended(lambda w, b: loss_of("linear_loss", w, b, x, y, 0.2), np.zeros(2), 0.0, lr=0.3, steps=400)
    closed = linear(x, y, 0.2)
    expect_array(w, closed[0], what="the weights after 400 steps", hint="both minimise the same J", within=1e-8)
    expect_number(b, closed[1], what="the bias after 400 steps", hint="both minimise the same J", within=1e-8)
    expect(losses[-1] < losses[0], f"the loss should fall, but goes from {losses[0]} to {losses[-1]}", hint=STEP)


def test_the_work_is_done_here():
    """With NumPy, without scikit-learn and scipy."""
    linear(array([0], [1]), array(1, 3))
    logistic(array([0], [1]), array(0, 1), 1.0)
    expect_own_work(kata, FORBIDDEN)
