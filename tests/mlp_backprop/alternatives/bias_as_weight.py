"""The bias is the last row of W, and each input gets a 1: one product for both gradients. Recursion instead of a loop."""

from functools import reduce

import numpy as np


def init_params(sizes, *, rng):
    if len(sizes) < 2:
        raise ValueError("one size")
    if 0 in sizes or min(sizes) < 0:
        raise ValueError("an empty layer")
    if len(sizes) == 2:
        return [(np.sqrt(2.0) * rng.normal(size=sizes) / np.sqrt(sizes[0]), np.full(sizes[1], 0.0))]
    return init_params(sizes[:2], rng=rng) + init_params(sizes[1:], rng=rng)


def one_hot(targets, classes):
    if targets.ndim != 1:
        raise ValueError("targets")
    table = np.zeros((len(targets), classes), dtype=bool)
    for label in range(classes):
        table[:, label] = targets == label
    if not table.any(axis=1).all():
        raise ValueError("a target is no class")
    return table


def softmax_cross_entropy(logits, targets):
    if logits.ndim != 2 or not len(logits):
        raise ValueError("logits")
    hot = one_hot(targets, logits.shape[1])
    if hot.shape != logits.shape:
        raise ValueError("targets")
    gap = logits - logits[hot][:, None]  # to the target's logit
    top = gap.max(axis=1, keepdims=True)
    weights = np.exp(gap - top)
    losses = np.log(weights.sum(axis=1)) + top[:, 0]
    grad = weights / weights.sum(axis=1, keepdims=True)
    grad[hot] = -(grad * ~hot).sum(axis=1)
    return losses.mean().item(), grad / len(logits)


def extended(h):
    return np.concatenate([h, np.ones((len(h), 1), h.dtype)], axis=1)


def mlp_forward(params, x):
    if not len(params) or np.ndim(x) != 2:
        raise ValueError("layers, x")
    (w, b), *rest = params
    if np.ndim(w) != 2 or np.shape(b) != (np.shape(w)[1],) or x.shape[1] != len(w):
        raise ValueError("layer")
    h = extended(x)
    z = h @ np.vstack([w, b])
    if not rest:
        return z, (h, z.shape, None)
    logits, cache = mlp_forward(rest, z * (z > 0))
    return logits, (h, z > 0, cache)


def mlp_backward(params, cache, grad_logits):
    h, passes, deeper = cache
    if deeper is None:
        if grad_logits.shape != passes:
            raise ValueError("grad_logits")
        gradients, grad = [], grad_logits
    else:
        gradients, grad = mlp_backward(params[1:], deeper, grad_logits)
        grad = grad * passes
    both = h.T @ grad
    return [(both[:-1].copy(), both[-1].copy()), *gradients], grad @ params[0][0].T


def train_step(params, x, targets, *, lr, weight_decay=0.0):
    logits, cache = mlp_forward(params, x)
    loss, grad = softmax_cross_entropy(logits, targets)
    gradients, _ = mlp_backward(params, cache, grad)
    move = lambda old, slope, decay: old - lr * slope - lr * decay * old  # noqa: E731
    pairs = zip(params, gradients, strict=True)
    return loss, [(move(w, gw, weight_decay), move(b, gb, 0.0)) for (w, b), (gw, gb) in pairs]


def gradient_check(loss, array, gradient, eps=1e-5):
    if array.shape != gradient.shape or not eps > 0:
        raise ValueError("arguments")

    def at(place, value):
        keep = array[place].copy()
        array[place] = value
        try:
            return loss()
        finally:
            array[place] = keep

    def error(place):
        a = (at(place, array[place] + eps) - at(place, array[place] - eps)) / (2 * eps)
        g = gradient[place].item()
        return abs(a - g) / np.max([abs(a), abs(g), 1e-8])

    return float(reduce(np.maximum, map(error, np.ndindex(*array.shape)), 0.0))
