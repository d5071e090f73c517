"""einsum for every product, log-sum-exp by logaddexp, a dictionary as cache, and uniform weights."""

import numpy as np


def init_params(sizes, *, rng):
    if len(sizes) < 2 or any(size < 1 for size in sizes):
        raise ValueError("sizes")
    params = []
    for layer in range(len(sizes) - 1):
        bound = np.sqrt(6 / sizes[layer])
        params.append((rng.uniform(-bound, bound, size=(sizes[layer], sizes[layer + 1])), np.zeros(sizes[layer + 1])))
    return params


def softmax_cross_entropy(logits, targets):
    if logits.ndim != 2 or targets.ndim != 1 or len(targets) != len(logits) or len(targets) == 0:
        raise ValueError("shapes")
    if not ((targets >= 0) & (targets < logits.shape[1])).all():
        raise ValueError("targets")
    log_z = np.logaddexp.reduce(logits, axis=1, keepdims=True)
    own = np.take_along_axis(logits, targets.astype(np.int64)[:, None], axis=1)
    hot = np.arange(logits.shape[1]) == targets.astype(np.int64)[:, None]
    return float(np.mean(log_z - own)), (np.exp(logits - log_z) - hot) / len(targets)


def mlp_forward(params, x):
    if len(params) == 0:
        raise ValueError("no layers")
    cache = {"z": [], "x": x}
    h = x
    for w, b in params:
        if h.ndim != 2 or w.ndim != 2 or h.shape[1] != w.shape[0] or b.shape != (w.shape[1],):
            raise ValueError("shapes")
        z = np.einsum("ni,io->no", h, w, optimize=True) + b
        cache["z"].append(z)
        h = np.clip(z, 0, None)
    return cache["z"][-1].copy(), cache


def mlp_backward(params, cache, grad_logits):
    z = cache["z"]
    if grad_logits.shape != z[-1].shape:
        raise ValueError("grad_logits")
    gradients = [None] * len(params)
    grad = grad_logits
    for layer in range(len(params) - 1, -1, -1):
        h = np.clip(z[layer - 1], 0, None) if layer else cache["x"]
        gradients[layer] = np.einsum("ni,no->io", h, grad, optimize=True), np.einsum("no->o", grad)
        grad = np.einsum("no,io->ni", grad, params[layer][0], optimize=True)
        if layer > 0:
            grad = np.where(z[layer - 1] > 0, grad, 0)
    return gradients, grad


def train_step(params, x, targets, *, lr, weight_decay=0.0):
    logits, cache = mlp_forward(params, x)
    loss, grad = softmax_cross_entropy(logits, targets)
    gradients, _ = mlp_backward(params, cache, grad)
    new = []
    for (w, b), (grad_w, grad_b) in zip(params, gradients, strict=True):
        new.append(((1 - lr * weight_decay) * w - lr * grad_w, b - lr * grad_b))
    return loss, new


def gradient_check(loss, array, gradient, eps=1e-5):
    if array.shape != gradient.shape or np.isnan(eps) or eps <= 0:
        raise ValueError("arguments")
    slopes = np.zeros(array.shape)
    for place, value in np.ndenumerate(array.copy()):
        ends = []
        for side in (eps, -eps):
            array[place] = value + side
            ends.append(loss())
        array[place] = value
        slopes[place] = (ends[0] - ends[1]) / eps / 2
    larger = np.maximum(np.maximum(np.abs(slopes), np.abs(gradient)), 1e-8)
    return float((np.abs(slopes - gradient) / larger).max(initial=0.0))
