"""The logistic fit by its quadratic upper bound: the curvature p (1 - p) is at most 1/4, so a step with that always
lowers the loss. A part of Newton's step replaces it where that does so too."""

import numpy as np


def cast(*arrays):
    return [np.array(a, dtype=np.double) for a in arrays]


def validate(x, y, l2, w=None):
    if x.ndim != 2 or x.shape[0] < 1 or y.shape != (x.shape[0],):
        raise ValueError(f"{x.shape} {y.shape}")
    if w is not None and (w.ndim != 1 or w.size != x.shape[1]):
        raise ValueError(f"{w.shape}")
    if not l2 >= 0:
        raise ValueError(f"{l2}")


def half_tanh(z):
    return 0.5 + 0.5 * np.tanh(0.5 * z)


def predict_proba(weights, bias, x):
    if x.ndim != 2 or weights.ndim != 1 or weights.size != x.shape[1]:
        raise ValueError(f"{x.shape} {weights.shape}")
    x, w = cast(x, weights)
    return half_tanh(x @ w + bias)


def linear_loss(weights, bias, x, y, l2=0.0):
    validate(x, y, l2, weights)
    w, x, y = cast(weights, x, y)
    a = np.column_stack([x, np.ones(len(x))])
    v = np.append(w, bias)
    r = a @ v - y
    g = a.T @ r / len(y) + np.append(l2 * w, 0)
    return float(np.linalg.norm(r) ** 2 / (2 * len(y)) + l2 / 2 * np.linalg.norm(w) ** 2), g[:-1].copy(), float(g[-1])


def logistic_loss(weights, bias, x, y, l2=0.0):
    validate(x, y, l2, weights)
    w, x, y = cast(weights, x, y)
    if ((y != 0) & (y != 1)).any():
        raise ValueError("labels")
    a = np.column_stack([x, np.ones(len(x))])
    z = a @ np.append(w, bias)
    g = a.T @ (half_tanh(z) - y) / len(y) + np.append(l2 * w, 0)
    value = np.logaddexp(0, z).mean() - y @ z / len(y)
    return float(value + l2 / 2 * np.linalg.norm(w) ** 2), g[:-1].copy(), float(g[-1])


def gradient_descent(loss, weights, bias, *, lr, steps):
    if not lr > 0:
        raise ValueError("lr")
    if steps < 0:
        raise ValueError("steps")
    (w,), losses = cast(weights), []
    b = float(bias)
    for _ in range(steps):
        value, *gradient = loss(w.copy(), b)
        losses.append(value)
        w, b = (now - lr * g for now, g in zip((w, b), gradient, strict=True))
    return w, float(b), losses


def fit_linear(x, y, l2=0.0):
    validate(x, y, l2)
    x, y = cast(x, y)
    if not (np.abs(x) < np.inf).all() or not (np.abs(y) < np.inf).all():
        raise ValueError("finite")
    n, d = x.shape
    middle = x[n // 2]  # any row; a column of ones does the rest, once it is projected out
    a = x - middle
    a = a - a.sum(0) / n
    if l2:
        a_and_penalty = np.vstack([a, np.sqrt(n * l2) * np.eye(d)])
        w = np.linalg.pinv(a_and_penalty)[:, :n] @ y
    else:
        w = np.linalg.lstsq(a, y, rcond=1e-12)[0]
    return w, float(((y - x @ w).sum()) / n)


def fit_logistic(x, y, l2, *, tol=1e-8):
    validate(x, y, l2)
    x, y = cast(x, y)
    if not np.isfinite(x).all() or not np.isin(y, [0, 1]).all() or l2 <= 0 or not tol > 0 or not 0 < y.sum() < len(y):
        raise ValueError("arguments")
    n, d = x.shape
    mean = x.mean(0)
    a = np.column_stack([x - mean, np.ones(n)])
    penalty = np.diag(np.append(np.full(d, l2), 0))
    bound = np.linalg.inv(a.T @ a / (4 * n) + penalty)

    def gradient(v):
        return a.T @ (half_tanh(a @ v) - y) / n + penalty @ v

    def value(v):
        z = a @ v
        return np.mean(np.logaddexp(0, z) - y * z) + v @ penalty @ v / 2

    v = np.zeros(d + 1)
    for _ in range(3000):
        g = gradient(v)
        if max(abs(g[d]), *abs(g[:d] + mean * g[d])) <= tol:
            return v[:d].copy(), float(v[d] - mean @ v[:d])
        p = half_tanh(a @ v)
        curvature = (a.T * (p * (1 - p))) @ a / n + penalty
        newton, share = np.linalg.lstsq(curvature, g)[0], 1.0
        while share > 1e-3 and value(v - share * newton) > value(v):
            share /= 4
        v = v - share * newton if share > 1e-3 else v - bound @ g
    raise RuntimeError("tol")
