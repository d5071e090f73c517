"""Everything by numpy.linalg.lstsq: rows for the penalty below the data, and Newton's step as a weighted least squares problem."""

import numpy as np


def check(x, y, l2, w=None):
    x, y = np.array(x, dtype=float), np.array(y, dtype=float)
    if x.ndim != 2 or y.ndim != 1 or len(x) != len(y) or len(y) < 1:
        raise ValueError("shapes of x and y")
    if w is not None and np.shape(w) != (x.shape[1],):
        raise ValueError("shape of weights")
    if l2 < 0 or l2 != l2:
        raise ValueError("l2")
    return x, y


def check_labels(y):
    if set(np.unique(y).tolist()) - {0.0, 1.0}:
        raise ValueError("labels")


def predict_proba(weights, bias, x):
    if np.ndim(x) != 2 or np.shape(weights) != np.shape(x)[1:]:
        raise ValueError("shapes")
    z = np.array(x, dtype=float) @ np.array(weights, dtype=float) + bias
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-z))


def linear_loss(weights, bias, x, y, l2=0.0):
    x, y = check(x, y, l2, weights)
    w = np.array(weights, dtype=float)
    error = np.einsum("nd,d->n", x, w) + bias - y
    return (
        float(np.mean(error**2) / 2 + l2 * np.sum(w**2) / 2),
        np.einsum("n,nd->d", error, x) / len(y) + l2 * w,
        float(np.mean(error)),
    )


def logistic_loss(weights, bias, x, y, l2=0.0):
    x, y = check(x, y, l2, weights)
    check_labels(y)
    w = np.array(weights, dtype=float)
    margin = (2 * y - 1) * (x @ w + bias)
    with np.errstate(over="ignore"):
        wrong = 1 / (1 + np.exp(margin))  # the probability of the other label
    loss = np.mean(np.maximum(-margin, 0) + np.log1p(np.exp(-abs(margin))))
    error = -(2 * y - 1) * wrong
    return float(loss + l2 * (w @ w) / 2), np.mean(error[:, None] * x, axis=0) + l2 * w, float(np.mean(error))


def gradient_descent(loss, weights, bias, *, lr, steps):
    if not (lr > 0 and steps >= 0):
        raise ValueError("lr or steps")
    at = np.append(np.asarray(weights, dtype=float), float(bias))
    losses = []
    while len(losses) < steps:
        value, slopes, slope = loss(at[:-1], at[-1])
        losses.append(value)
        at = at - lr * np.append(slopes, slope)
    return at[:-1].copy(), float(at[-1]), losses


def ridge(x, y, rows):
    """Least squares of y on x, each row weighted by its root, with further rows that should give 0."""
    return np.linalg.lstsq(np.vstack([x, rows]), np.append(y, np.zeros(len(rows))))[0]


def fit_linear(x, y, l2=0.0):
    x, y = check(x, y, l2)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("not finite")
    near = x - x[0]  # the mean of small numbers has small roundings
    w = ridge(near - near.mean(0), y - y.mean(), np.sqrt(len(y) * l2) * np.eye(x.shape[1]))
    return w, float(np.mean(y - x @ w))


def fit_logistic(x, y, l2, *, tol=1e-8):
    x, y = check(x, y, l2)
    check_labels(y)
    if not np.isfinite(x).all() or l2 == 0 or not tol > 0 or y.min() == y.max():
        raise ValueError("no minimum")
    n, d = x.shape
    middle = np.median(x, axis=0)
    centered = x - middle
    scale = np.abs(centered).max(axis=0) + (np.ptp(x, axis=0) == 0)
    a = np.hstack([centered / scale, np.ones((n, 1))])
    rows = np.sqrt(n * l2) * np.hstack([np.diag(1 / scale), np.zeros((d, 1))])
    v = np.zeros(d + 1)

    def unscaled(v):
        w = v[:-1] / scale
        return w, float(v[-1] - w @ middle)

    def value(v):
        return logistic_loss(v[:-1] / scale, v[-1], centered, y, l2)[0]

    for _ in range(300):
        w, b = unscaled(v)
        _, slopes, slope = logistic_loss(w, b, x, y, l2)
        if abs(slope) <= tol and np.max(np.abs(slopes)) <= tol:
            return w, b
        p = predict_proba(v[:-1], v[-1], a[:, :-1])
        root = np.sqrt(np.maximum(p * (1 - p), 1e-12))
        target = np.concatenate([(y - p) / root, -rows @ v])
        rest = np.linalg.lstsq(np.vstack([root[:, None] * a, rows]), target)[0]
        step, now = 1.0, value(v)
        while value(v + step * rest) > now + 1e-13 and step > 1e-12:
            step *= 0.5
        v = v + step * rest
    raise RuntimeError("not below tol")
