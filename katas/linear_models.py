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
    raise NotImplementedError("linear_models.predict_proba: write me")


def linear_loss(
    weights: Real[np.ndarray, " d"], bias: float, x: Real[np.ndarray, "n d"], y: Real[np.ndarray, " n"], l2: float = 0.0
) -> tuple[float, Float64[np.ndarray, " d"], float]:
    """(J, its gradient with respect to the weights, its derivative with respect to the bias) of linear regression.

    Raises ValueError if x is not [n, d] with n > 0, y not [n] or weights not [d] (also where NumPy would broadcast), and if
    l2 is negative.
    """
    raise NotImplementedError("linear_models.linear_loss: write me")


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
    raise NotImplementedError("linear_models.logistic_loss: write me")


def gradient_descent(
    loss: Loss, weights: Real[np.ndarray, " d"], bias: float, *, lr: float, steps: int
) -> tuple[Float64[np.ndarray, " d"], float, list[float]]:
    """(weights, bias, losses) after so many steps from these weights and this bias.

    loss(weights, bias) returns what linear_loss and logistic_loss return for their data: the loss, its gradient, and its
    derivative with respect to the bias. Each step calls it once, and moves weights and bias together, by -lr times the
    gradient there. `losses` has the loss before each step. It is always the last step whose result comes back.
    Raises ValueError if lr is not above 0, or if steps is negative.
    """
    raise NotImplementedError("linear_models.gradient_descent: write me")


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
    raise NotImplementedError("linear_models.fit_linear: write me")


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
    raise NotImplementedError("linear_models.fit_logistic: write me")
