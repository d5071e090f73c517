"""The cache is a function that goes back. Everything is computed in float64 and rounded at the end."""

import numpy as np


def linear(w, b, h):
    return h @ w + b, lambda g: (h.T @ g, g.sum(0), g @ w.T)


def relu(z):
    return np.where(z > 0, z, 0.0), lambda g: np.where(z > 0, g, 0.0)


def init_params(sizes, *, rng):
    sizes = [int(size) for size in sizes]
    if len(sizes) < 2 or sorted(sizes)[0] < 1:
        raise ValueError("sizes")

    def layer(n, m):  # the sum of two uniform numbers is not normal, but has the variance
        return (rng.random((n, m)) - rng.random((n, m))) * np.sqrt(12 / n), np.zeros(m)

    return list(map(layer, sizes[:-1], sizes[1:]))


def softmax_cross_entropy(logits, targets):
    if len(logits.shape) != 2 or len(logits) == 0 or targets.shape != (logits.shape[0],):
        raise ValueError("shapes")
    if np.isin(targets, np.arange(logits.shape[1]), invert=True).any():
        raise ValueError("targets")
    z = logits.astype(np.float64)
    z = z - z.max(1)[:, None]
    z -= np.log(np.exp(z).sum(1))[:, None]
    place = np.arange(len(z)), targets.astype(int)
    grad = np.exp(z)
    grad[place] = np.expm1(z[place])
    return -z[place].sum() / len(z), (grad / len(z)).astype(logits.dtype)


def mlp_forward(params, x):
    if not params or x.ndim != 2:
        raise ValueError("layers, x")
    h, steps = x.astype(np.float64), []
    for number, (w, b) in enumerate(params):
        if w.ndim != 2 or b.shape != w.shape[-1:] or h.shape[-1] != w.shape[0]:
            raise ValueError("layer")
        if number:
            h, back = relu(h)
            steps.append(back)
        h, back = linear(w.astype(np.float64), b.astype(np.float64), h)
        steps.append(back)

    def backward(grad):
        if grad.shape != (len(x), params[-1][0].shape[1]):
            raise ValueError("grad_logits")
        gradients, g = [], grad.astype(np.float64)
        for step in reversed(steps):
            result = step(g)
            if isinstance(result, tuple):
                gradients = [tuple(each.astype(x.dtype) for each in result[:2]), *gradients]
                result = result[2]
            g = result
        return gradients, g.astype(x.dtype)

    return h.astype(x.dtype), backward


def mlp_backward(params, cache, grad_logits):
    return cache(grad_logits)


def train_step(params, x, targets, *, lr, weight_decay=0.0):
    logits, back = mlp_forward(params, x)
    loss, grad = softmax_cross_entropy(logits, targets)
    penalty = [(weight_decay * w, 0.0 * b) for w, b in params]
    slopes = [[a + b for a, b in zip(*pairs, strict=True)] for pairs in zip(back(grad)[0], penalty, strict=True)]
    return loss, [tuple(p - lr * g for p, g in zip(*pairs, strict=True)) for pairs in zip(params, slopes, strict=True)]


def gradient_check(loss, array, gradient, eps=1e-5):
    if np.shape(array) != np.shape(gradient) or not eps > 0:
        raise ValueError("arguments")
    errors, original = np.zeros(array.shape), array.copy()
    for place in np.ndindex(array.shape):
        moved = original.copy()
        moved[place] = original[place] + eps
        array[...] = moved
        slope = loss() / (2 * eps)
        moved[place] = original[place] - eps
        array[...] = moved
        slope -= loss() / (2 * eps)
        size = np.nanmax([abs(slope), abs(gradient[place]), 1e-8])
        errors[place] = abs(slope - gradient[place]) / size
    array[...] = original
    return float(np.amax(errors, initial=0.0))
