"""One vector for weights and bias. The logistic fit is BFGS on columns of spread 1, with the penalty in their own units; the linear
fit goes through the smaller side's eigenvectors only after a QR."""

import numpy as np


def prepared(x, y, l2, weights=None, binary=False):
    good = x.ndim == 2 and y.ndim == 1 and 0 < x.shape[0] == y.shape[0] and l2 >= 0
    good = good and (weights is None or weights.shape == (x.shape[1],))
    if not good or (binary and not ((y == 0) | (y == 1)).all()):
        raise ValueError("arguments")
    return np.asarray(x, "float64"), np.asarray(y, "float64")


def predict_proba(weights, bias, x):
    if x.ndim != 2 or weights.shape != (x.shape[1],):
        raise ValueError("arguments")
    z = np.asarray(x, "float64") @ np.asarray(weights, "float64") + bias
    return np.exp(-np.logaddexp(0, -z))


def linear_loss(weights, bias, x, y, l2=0.0):
    x, y = prepared(x, y, l2, weights)
    w = np.asarray(weights, "float64")
    r = y - (x @ w + bias)
    return float(0.5 * (r @ r / len(r) + l2 * w @ w)), l2 * w - x.T @ r / len(r), float(-r.mean())


def logistic_loss(weights, bias, x, y, l2=0.0):
    x, y = prepared(x, y, l2, weights, binary=True)
    w = np.asarray(weights, "float64")
    p = predict_proba(w, bias, x)
    z = x @ w + bias
    value = -np.where(y > 0, -np.logaddexp(0, -z), -np.logaddexp(0, z)).mean()
    return float(value + 0.5 * l2 * w @ w), x.T @ (p - y) / len(y) + l2 * w, float((p - y).mean())


def gradient_descent(loss, weights, bias, *, lr, steps):
    if not lr > 0 or steps < 0:
        raise ValueError("arguments")
    path = [(np.array(weights, "float64"), float(bias))]
    losses = []
    for _ in range(steps):
        w, b = path[-1]
        value, gw, gb = loss(w, b)
        losses.append(float(value))
        path.append((w - lr * np.asarray(gw), b - lr * gb))
    return (*path[-1], losses)


def fit_linear(x, y, l2=0.0):
    x, y = prepared(x, y, l2)
    if not np.isfinite(np.column_stack([x, y])).all():
        raise ValueError("arguments")
    mean = x.mean(0)
    centered = x - mean
    centered[:, (x == x[0]).all(0)] = 0
    q, r = np.linalg.qr(centered)
    u, s, vt = np.linalg.svd(r)
    u, vt = u[:, : len(s)], vt[: len(s)]
    small = s <= 1e-11 * s.max()
    gains = np.where(small, 0, s) / np.where(small, 1, s * s + len(y) * l2)
    w = vt.T @ (gains * (u.T @ (q.T @ y)))
    return w, float(y.mean() - mean @ w)


def fit_logistic(x, y, l2, *, tol=1e-8):
    x, y = prepared(x, y, l2, binary=True)
    if not (l2 > 0 and tol > 0 and np.isfinite(x).all()) or len({*y.tolist()}) == 1:
        raise ValueError("arguments")
    d = x.shape[1]
    mean, spread = x.mean(0), x.std(0)
    spread = np.where(spread > 1e-12 * abs(mean), spread, 1)
    z = (x - mean) / spread
    penalty = np.append(l2 / spread**2, 0)

    def loss(v):
        value, slopes, slope = logistic_loss(v[:d], v[d], z, y)
        return value + penalty @ v**2 / 2, np.append(slopes, slope) + penalty * v

    v = np.zeros(d + 1)
    value, g = loss(v)
    start = inverse = np.diag(1 / (0.25 + penalty))
    for count in range(4000):
        slope = g[d]
        if np.abs(g[:d] * spread + mean * slope).max() <= tol and abs(slope) <= tol:
            w = v[:d] / spread
            return w, float(v[d] - mean @ w)
        direction = -inverse @ g
        if direction @ g >= 0 or count % 200 == 199:
            inverse, direction = start, -start @ g
        low, high, t = 0.0, np.inf, 1.0
        for _ in range(60):  # a step that lowers the loss and flattens the slope
            new, new_g = loss(v + t * direction)
            if new > value + 1e-4 * t * (g @ direction) + 1e-15:
                high = t
            elif new_g @ direction < 0.9 * (g @ direction):
                low = t
            else:
                break
            t = (low + high) / 2 if high < np.inf else 2 * t
        s, change = t * direction, new_g - g
        if s @ change > 0:
            rho = 1 / (s @ change)
            left = np.eye(d + 1) - rho * np.outer(s, change)
            inverse = left @ inverse @ left.T + rho * np.outer(s, s)
        v, value, g = v + s, new, new_g
    raise RuntimeError("tol was not reached")
