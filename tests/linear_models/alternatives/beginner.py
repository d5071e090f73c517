"""Written out: sums for each weight, QR with a penalty and the pseudoinverse without one, and Newton with more curvature (Levenberg and
Marquardt) as long as a step does not lower the loss."""

import numpy as np


def to_float(a):
    return np.asarray(a).astype(np.float64)


def same_rows(x, y):
    if x.ndim != 2:
        raise ValueError("x must be a matrix")
    if y.ndim != 1:
        raise ValueError("y must be a vector")
    if x.shape[0] != y.shape[0]:
        raise ValueError("x and y must have the same number of rows")
    if x.shape[0] == 0:
        raise ValueError("no data")


def sigmoid(z):
    out = np.zeros_like(z)
    pos = z >= 0
    out[pos] = 1 / (1 + np.exp(-z[pos]))
    e = np.exp(z[~pos])
    out[~pos] = e / (1 + e)
    return out


def predict_proba(weights, bias, x):
    if x.ndim != 2 or weights.ndim != 1 or len(weights) != x.shape[1]:
        raise ValueError("shapes do not match")
    return sigmoid(to_float(x).dot(to_float(weights)) + bias)


def linear_loss(weights, bias, x, y, l2=0.0):
    same_rows(x, y)
    if weights.shape != (x.shape[1],) or not l2 >= 0:
        raise ValueError("weights or l2")
    x, y, weights = to_float(x), to_float(y), to_float(weights)
    n, d = x.shape
    prediction = x.dot(weights) + bias
    diff = prediction - y
    loss = np.sum(diff * diff) / n / 2
    grad = np.zeros(d)
    for j in range(d):
        loss += 0.5 * l2 * weights[j] ** 2
        grad[j] = np.sum(diff * x[:, j]) / n + l2 * weights[j]
    return float(loss), grad, float(np.sum(diff) / n)


def logistic_loss(weights, bias, x, y, l2=0.0):
    same_rows(x, y)
    if weights.shape != (x.shape[1],) or not l2 >= 0:
        raise ValueError("weights or l2")
    x, y, weights = to_float(x), to_float(y), to_float(weights)
    if not np.all((y == 0) | (y == 1)):
        raise ValueError("labels must be 0 and 1")
    n, d = x.shape
    z = x.dot(weights) + bias
    diff = sigmoid(z) - y
    each = np.where(z > 0, z, 0) - y * z + np.log(1 + np.exp(-np.abs(z)))
    loss = np.sum(each) / n
    grad = np.zeros(d)
    for j in range(d):
        loss += 0.5 * l2 * weights[j] ** 2
        grad[j] = np.sum(diff * x[:, j]) / n + l2 * weights[j]
    return float(loss), grad, float(np.sum(diff) / n)


def gradient_descent(loss, weights, bias, *, lr, steps):
    if lr <= 0 or lr != lr or steps < 0:
        raise ValueError("lr and steps")
    w, b = to_float(weights).copy(), float(bias)
    history = []
    for _ in range(steps):
        value, dw, db = loss(w, b)
        history.append(value)
        w -= lr * dw
        b -= lr * db
    return w, b, history


def fit_linear(x, y, l2=0.0):
    same_rows(x, y)
    if not l2 >= 0:
        raise ValueError("l2")
    x, y = to_float(x), to_float(y)
    if np.isnan(x).any() or np.isinf(x).any() or np.isnan(y).any() or np.isinf(y).any():
        raise ValueError("not finite")
    n, d = x.shape
    x_mean, y_mean = x.mean(axis=0), y.mean()
    xc, yc = x - x_mean, y - y_mean
    if l2 > 0:
        q, r = np.linalg.qr(np.concatenate([xc, np.sqrt(n * l2) * np.identity(d)]))
        w = np.linalg.solve(r, q[:n].T.dot(yc))
    else:
        w = np.linalg.pinv(xc, rcond=1e-11).dot(yc)
    return w, float(y_mean - x_mean.dot(w))


def fit_logistic(x, y, l2, *, tol=1e-8):
    same_rows(x, y)
    if not l2 > 0 or not tol > 0:
        raise ValueError("l2 and tol must be positive")
    x, y = to_float(x), to_float(y)
    if not np.isfinite(x).all() or not np.isfinite(y).all():
        raise ValueError("not finite")
    if np.any((y != 0) & (y != 1)) or len(np.unique(y)) < 2:
        raise ValueError("labels must be 0 and 1, both of them")
    n, d = x.shape
    mean = x.mean(axis=0)
    xc = x - mean
    w, b = np.zeros(d), np.log(np.sum(y) / (n - np.sum(y)))
    for _ in range(500):
        value, dw, db = logistic_loss(w, b, xc, y, l2)
        if np.all(np.abs(dw + mean * db) <= tol) and abs(db) <= tol:
            return w, float(b - mean.dot(w))
        p = sigmoid(xc.dot(w) + b)
        c = p * (1 - p)
        h = np.zeros((d + 1, d + 1))
        for j in range(d):
            for k in range(d):
                h[j, k] = np.sum(c * xc[:, j] * xc[:, k]) / n
            h[j, j] += l2
            h[j, d] = h[d, j] = np.sum(c * xc[:, j]) / n
        h[d, d] = np.sum(c) / n
        # a little more curvature as long as the step does not lower the loss
        more = 0.0
        while True:
            move = np.linalg.solve(h + more * np.diag(np.diag(h)), np.concatenate([dw, [db]]))
            after = logistic_loss(w - move[:d], b - move[d], xc, y, l2)[0]
            if after <= value + 1e-13:
                break
            more = 10 * more + 1e-3
        w, b = w - move[:d], b - move[d]
    raise RuntimeError("did not converge")
