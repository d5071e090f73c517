"""Linear and logistic regression.

NumPy: linear regression in closed form and by gradient descent, then logistic regression. Where does the regularisation
go, what happens with columns that depend on each other, and with classes that a plane separates?

Both models score the n rows of x, of d numbers each, by z = x w + b, with weights w of shape [d] and a bias b, a number. Both
minimise a mean over the rows plus a penalty on the weights. The bias is not in the penalty:

    linear      J(w, b) = 1/(2 n) sum of (z_i - y_i)^2                + l2/2 |w|^2
    logistic    J(w, b) = 1/n sum of log(1 + exp(z_i)) - y_i z_i      + l2/2 |w|^2        y_i is 0 or 1

The second term of the logistic loss makes it -log p_i where y_i is 1 and -log(1 - p_i) where it is 0, with
p_i = 1 / (1 + exp(-z_i)), the probability of label 1. In scikit-learn's terms this is Ridge(alpha=n * l2), and
LogisticRegression(C=1 / (n * l2)).

Numbers: x, y and weights may have any floating or integer dtype (float16, float32, float64, uint8, int64, ...), labels also bool.
Everything is computed in float64. Arrays that come back are float64, biases and losses are Python floats (NumPy's float64 is
one). Scores of a loss and of probabilities may be as large as 1e4: the results are then right as well, within some roundings
of the largest score. n and d are at least 1, but for predict_proba, where n may be 0. No argument is modified, any may be a
view, and no result shares memory with one. A call holds at most 10 (n + d) (d + 1) numbers in arrays at a time: x some times
over and matrices [d, d], but nothing of size [n, n].

Rules: NumPy with numpy.linalg (svd, lstsq, solve, pinv, ...) and the standard library; neither scikit-learn nor scipy.

Stage 1: probabilities, both losses with their gradients, gradient descent, both fits.  Stage 2: dependent columns, fewer rows
than columns, separable classes, rare labels, Newton's step too far, wrong arguments.  Stage 3: huge scores, nearly dependent
columns, unequal scales, every dtype.  Stage 4: memory, and no loop over rows.

Sources: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning" (2009), sections 3.4 and 4.4.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Real, Shaped

Loss = Callable[[Float64[np.ndarray, " d"], float], tuple[float, Float64[np.ndarray, " d"], float]]


def predict_proba(
    weights: Real[np.ndarray, " d"], bias: float, x: Real[np.ndarray, "n d"]
) -> Float64[np.ndarray, " n"]:
    """The probability of label 1 for each row. n may be 0.

    Raises ValueError if x is not [n, d], or if weights are not [d].
    """
    # kata: begin
    if x.ndim != 2 or weights.shape != x.shape[1:]:
        raise ValueError(f"x {x.shape} and weights {weights.shape} must be [n, d] and [d]")
    z = np.asarray(x, np.float64) @ np.asarray(weights, np.float64) + bias
    e = np.exp(-np.abs(z))  # never above 1
    return np.where(z < 0, e, 1) / (1 + e)
    # kata: end


def linear_loss(
    weights: Real[np.ndarray, " d"], bias: float, x: Real[np.ndarray, "n d"], y: Real[np.ndarray, " n"], l2: float = 0.0
) -> tuple[float, Float64[np.ndarray, " d"], float]:
    """(J, its gradient with respect to the weights, its derivative with respect to the bias) of linear regression.

    Raises ValueError if x is not [n, d] with n > 0, y not [n] or weights not [d] (also where NumPy would broadcast), and if
    l2 is negative.
    """
    # kata: begin
    x, y, weights = _arguments(x, y, l2, weights)
    error = x @ weights + bias - y
    loss = error @ error / (2 * len(y)) + l2 / 2 * (weights @ weights)
    return float(loss), error @ x / len(y) + l2 * weights, float(error.mean())
    # kata: end


def logistic_loss(
    weights: Real[np.ndarray, " d"],
    bias: float,
    x: Real[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " n"],
    l2: float = 0.0,
) -> tuple[float, Float64[np.ndarray, " d"], float]:
    """(J, its gradient with respect to the weights, its derivative with respect to the bias) of logistic regression.

    Raises ValueError as linear_loss does, and for a label that is neither 0 nor 1.
    """
    # kata: begin
    x, y, weights = _arguments(x, y, l2, weights, labels=True)
    z = x @ weights + bias
    # log(1 + exp(z)) - y z is log(1 + exp(z)) for label 0, and log(1 + exp(-z)) for label 1. logaddexp does not overflow.
    loss = np.logaddexp(0, np.where(y == 1, -z, z)).mean() + l2 / 2 * (weights @ weights)
    error = predict_proba(weights, bias, x) - y
    return float(loss), error @ x / len(y) + l2 * weights, float(error.mean())
    # kata: end


def gradient_descent(
    loss: Loss, weights: Real[np.ndarray, " d"], bias: float, *, lr: float, steps: int
) -> tuple[Float64[np.ndarray, " d"], float, list[float]]:
    """(weights, bias, losses) after so many steps from these weights and this bias.

    loss(weights, bias) returns what linear_loss and logistic_loss return for their data: the loss, its gradient, and its
    derivative with respect to the bias. Each step calls it once, and moves weights and bias together, by -lr times the
    gradient there. `losses` has the loss before each step. It is always the last step whose result comes back.
    Raises ValueError if lr is not above 0, or if steps is negative.
    """
    # kata: begin
    if not lr > 0 or steps < 0:
        raise ValueError(f"lr must be above 0 and steps at least 0, got {lr} and {steps}")
    weights, bias, losses = np.array(weights, np.float64), float(bias), []
    for _ in range(steps):
        value, slopes, slope = loss(weights, bias)
        losses.append(float(value))
        weights, bias = weights - lr * slopes, bias - lr * slope
    return weights, bias, losses
    # kata: end


def fit_linear(
    x: Real[np.ndarray, "n d"], y: Real[np.ndarray, " n"], l2: float = 0.0
) -> tuple[Float64[np.ndarray, " d"], float]:
    """(weights, bias) with the smallest linear J. If several have it, those whose weights have the smallest |w|.

    Several have it if l2 is 0 and the columns of x, each less its mean, depend on each other, as they do for d >= n. The
    bias does not count in |w|. A column that is constant gets the weight 0.

    Let the condition be the ratio of the largest singular value of x, each column less its mean, to the smallest. Up to a
    condition of 5e6, weights that fit a y of mean 0 exactly are right to five digits. So are they where the mean of a
    column is up to 1e6 times its spread. Where columns depend on each other exactly, the singular values that should be 0
    are roundings, and count as 0, whatever the units of x, and also where the means are 1000 times the spread.
    Raises ValueError if x is not [n, d] with n > 0, if y is not [n], if l2 is negative, and for NaN and infinity.
    """
    # kata: begin
    x, y, _ = _arguments(x, y, l2, finite=True)
    x, mean = _centered(x)  # the bias is free, so it takes up any shift
    u, s, vt = np.linalg.svd(x, full_matrices=False)  # x^T x would square the condition
    keep = s > 1e-12 * s[0]
    along = u[:, keep].T @ (y - y.mean())
    weights = vt[keep].T @ (along * s[keep] / (s[keep] ** 2 + len(y) * l2))
    return weights, float(y.mean() - mean @ weights)
    # kata: end


def fit_logistic(
    x: Real[np.ndarray, "n d"], y: Shaped[np.ndarray, " n"], l2: float, *, tol: float = 1e-8
) -> tuple[Float64[np.ndarray, " d"], float]:
    """(weights, bias) of the smallest logistic J: there, each of the d + 1 derivatives is at most tol in absolute value.

    l2 is positive, so there is one minimum, also where a plane separates the classes: without a penalty the weights would
    grow for ever. Any algorithm is right that gets there from any data. Columns may come as they were measured, one in
    thousandths and one in tens of thousands, or with a mean of a thousand times their spread.

    Raises ValueError as fit_linear does, and for a label that is neither 0 nor 1, if all labels are equal (the bias would
    grow for ever), and if l2 or tol is not above 0. Raises RuntimeError if the derivatives do not get below tol, as for a tol
    far below the roundings of a derivative.
    """
    # kata: begin
    x, y, _ = _arguments(x, y, l2, labels=True, finite=True)
    if not (l2 > 0 and tol > 0) or y.min() == y.max():
        raise ValueError(f"l2 {l2} and tol {tol} must be above 0, and y must have both labels")
    x, mean = _centered(x)
    n, d = len(x), len(mean)
    with_ones = np.column_stack([x, np.ones(n)])
    at = np.zeros(d + 1)  # the weights, and the bias of centered columns
    for _ in range(60):
        value, slopes, slope = logistic_loss(at[:d], at[d], x, y, l2)
        if max(abs(slope), *abs(slopes + slope * mean)) <= tol:  # of the columns as they came
            return at[:d].copy(), float(at[d] - mean @ at[:d])
        p = predict_proba(at[:d], at[d], x)
        hessian = with_ones.T @ (with_ones * (p * (1 - p) / n)[:, None])
        hessian[range(d), range(d)] += l2
        gradient = np.append(slopes, slope)
        step = np.linalg.solve(hessian, gradient)
        # Where the probabilities are nearly 0 or 1 the curvature is too small, and a whole step goes too far. Close to the
        # minimum a step gains less than a rounding of the loss, which must not shorten it.
        gain = gradient @ step / 4
        for share in 0.5 ** np.arange(100):
            new = at - share * step
            if share * gain <= 1e-13 or logistic_loss(new[:d], new[d], x, y, l2)[0] <= value - share * gain:
                break
        if share * gain <= 1e-13 < gain:
            break  # no part of the step lowers the loss
        at = new
    raise RuntimeError(f"the derivatives do not get below {tol}")
    # kata: end


# kata: begin
def _arguments(
    x: Real[np.ndarray, "n d"],
    y: Shaped[np.ndarray, " n"],
    l2: float,
    weights: Real[np.ndarray, " d"] | None = None,
    *,
    labels: bool = False,
    finite: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y and weights in float64. Raises ValueError if they do not fit together, and for values that are not allowed."""
    if x.ndim != 2 or len(x) == 0 or y.shape != x.shape[:1] or (weights is not None and weights.shape != x.shape[1:]):
        shape = None if weights is None else weights.shape
        raise ValueError(f"x {x.shape}, y {y.shape} and weights {shape} must be [n, d], [n] and [d], with n > 0")
    if not l2 >= 0:
        raise ValueError(f"l2 must be at least 0, got {l2}")
    if labels and not np.isin(y, (0, 1)).all():
        raise ValueError("labels must be 0 or 1")
    if finite and not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x or y holds NaN or infinity")
    return np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(weights, np.float64)


def _centered(
    x: Float64[np.ndarray, "n d"],
) -> tuple[Float64[np.ndarray, "n d"], Float64[np.ndarray, " d"]]:
    """(x with each column less its mean, the means). Constant columns become exactly 0, whatever a mean rounds to."""
    shifted = x - x[0]
    return shifted - shifted.mean(axis=0), x[0] + shifted.mean(axis=0)


# kata: end
