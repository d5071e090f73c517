"""One loss for both models, singular vectors added up one after another, and Newton with steps of limited length,
found from the eigenvectors of the curvature."""

import math

import numpy as np


class Data:
    def __init__(self, x, y, l2, weights=None, labels=False, fit=False):
        shapes = (np.shape(x), np.shape(y))
        if len(shapes[0]) != 2 or len(shapes[1]) != 1 or shapes[0][0] != shapes[1][0] or shapes[0][0] == 0:
            raise ValueError(f"x and y have shapes {shapes}")
        if weights is not None and np.shape(weights) != shapes[0][1:]:
            raise ValueError(f"weights have the shape {np.shape(weights)}")
        if math.isnan(l2) or l2 < 0:
            raise ValueError(f"l2 is {l2}")
        self.x, self.y = np.array(x, np.float64), np.array(y, np.float64)
        self.n, self.d = self.x.shape
        if labels and ((self.y - 0) * (self.y - 1)).any():
            raise ValueError("labels")
        if fit and not np.isfinite(self.x).all() & np.isfinite(self.y).all():
            raise ValueError("not finite")


def predict_proba(weights, bias, x):
    if np.ndim(x) != 2 or np.shape(weights) != np.shape(x)[1:]:
        raise ValueError("shapes")
    z = np.clip(np.dot(np.array(x, np.float64), np.array(weights, np.float64)) + bias, -700, 700)
    return 1 / (1 + np.exp(-z))


def _loss(data, weights, bias, l2, kind):
    w = np.array(weights, np.float64)
    z = np.dot(data.x, w) + bias
    if kind == "linear":
        error, values = z - data.y, (z - data.y) ** 2 / 2
    else:
        error = predict_proba(w, bias, data.x) - data.y
        values = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))) - np.where(data.y == 1, z, 0)
    slopes = np.tensordot(error, data.x, 1) / data.n
    return float(np.average(values) + l2 * np.square(w).sum() / 2), slopes + l2 * w, float(np.average(error))


def linear_loss(weights, bias, x, y, l2=0.0):
    return _loss(Data(x, y, l2, weights), weights, bias, l2, "linear")


def logistic_loss(weights, bias, x, y, l2=0.0):
    return _loss(Data(x, y, l2, weights, labels=True), weights, bias, l2, "logistic")


def gradient_descent(loss, weights, bias, *, lr, steps):
    if not lr > 0 or steps < 0:
        raise ValueError("lr, steps")

    def walk(w, b, left, losses):
        while left:
            value, slopes, slope = loss(w, b)
            w, b, left, losses = w - lr * slopes, b - lr * slope, left - 1, [*losses, value]
        return w, float(b), losses

    return walk(np.array(weights, np.float64), float(bias), steps, [])


def fit_linear(x, y, l2=0.0):
    data = Data(x, y, l2, fit=True)
    means = np.array([math.fsum(column) / data.n for column in data.x.T])
    a = data.x - means
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    w = np.zeros(data.d)
    for k in range(len(s)):
        if s[k] > 1e-12 * s[0]:
            w += vt[k] * (u[:, k] @ data.y) / (s[k] + data.n * l2 / s[k])
    return w, float(data.y.mean() - means @ w)


def fit_logistic(x, y, l2, *, tol=1e-8):
    data = Data(x, y, l2, labels=True, fit=True)
    if l2 == 0 or not tol > 0 or data.y.mean() in (0, 1):
        raise ValueError("no minimum")
    means = np.average(data.x, axis=0)
    original = data.x
    data.x = original - means
    scale = np.sqrt((data.x**2).mean(0) + l2)
    at, radius = np.zeros(data.d + 1), 1.0
    value, slopes, slope = _loss(data, at[:-1], at[-1], l2, "logistic")
    for _ in range(1000):
        if abs(slope) <= tol and (abs(slopes + means * slope) <= tol).all():
            return at[:-1].copy(), float(at[-1] - means @ at[:-1])
        p = predict_proba(at[:-1], at[-1], data.x)
        a = np.column_stack([data.x / scale, np.ones(data.n)])
        curvature = np.einsum("ni,n,nj->ij", a, p * (1 - p), a) / data.n + np.diag([*(l2 / scale**2), 0])
        gradient = np.array([*(slopes / scale), slope])
        values, vectors = np.linalg.eigh(curvature)
        along, shift = vectors.T @ gradient, 0.0
        values = np.maximum(values, 1e-300)
        while np.linalg.norm(along / (values + shift)) > radius:
            shift = 2 * shift + 1e-6 * values[-1]
        move = vectors @ (along / (values + shift))
        new = at - move / np.append(scale, 1)
        after = _loss(data, new[:-1], new[-1], l2, "logistic")
        if after[0] <= value + 1e-13:
            at, (value, slopes, slope), radius = new, after, 2 * radius
        else:
            radius = min(radius, np.linalg.norm(move)) / 4
    raise RuntimeError("no end")
