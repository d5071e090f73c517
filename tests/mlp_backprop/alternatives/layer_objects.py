"""A class for each kind of layer, as in a small framework: the cache is a list of objects that can go back."""

import math
from itertools import pairwise

import numpy as np


class Linear:
    def __init__(self, w, b):
        if w.ndim != 2 or b.ndim != 1 or len(b) != w.shape[1]:
            raise ValueError("a layer's shapes")
        self.w, self.b = w, b

    def forward(self, x):
        if x.ndim != 2 or x.shape[1] != len(self.w):
            raise ValueError("inputs")
        self.x = x
        return np.dot(x, self.w) + self.b

    def backprop(self, grad):
        return np.dot(self.x.T, grad), np.ones(len(grad), grad.dtype) @ grad, np.dot(grad, self.w.T)


class ReLU:
    def forward(self, x):
        self.on = x > 0
        return x * self.on

    def backprop(self, grad):
        return grad * self.on


def init_params(sizes, *, rng):
    if len(sizes) <= 1 or not all(size > 0 for size in sizes):
        raise ValueError("sizes")
    return [
        (rng.standard_normal((inputs, outputs)) * math.sqrt(2 / inputs), np.zeros((outputs,)))
        for inputs, outputs in pairwise(sizes)
    ]


def softmax_cross_entropy(logits, targets):
    if logits.ndim != 2 or targets.ndim != 1 or logits.shape[0] != targets.shape[0] or not logits.size:
        raise ValueError("shapes")
    n, classes = logits.shape
    index = targets.astype(np.int64)
    if (index < 0).any() or (index >= classes).any():
        raise ValueError("targets")
    e = np.exp(logits - np.max(logits, axis=1)[:, np.newaxis])
    total = e.sum(axis=1)
    p = e / total[:, np.newaxis]
    losses = np.log(total) + logits.max(axis=1) - logits[np.arange(n), index]
    onehot = np.eye(classes, dtype=logits.dtype)[index]
    return float(losses.sum() / n), (p - onehot) / n


def mlp_forward(params, x):
    if not params:
        raise ValueError("no layers")
    chain, h = [], x
    for number, (w, b) in enumerate(params):
        if number:
            chain.append(ReLU())
            h = chain[-1].forward(h)
        chain.append(Linear(w, b))
        h = chain[-1].forward(h)
    return h, (chain, h.shape)


def mlp_backward(params, cache, grad_logits):
    chain, shape = cache
    if grad_logits.shape != shape:
        raise ValueError("grad_logits")
    grad, gradients = grad_logits, []
    for layer in chain[::-1]:
        if isinstance(layer, Linear):
            grad_w, grad_b, grad = layer.backprop(grad)
            gradients.insert(0, (grad_w, grad_b))
        else:
            grad = layer.backprop(grad)
    return gradients, grad


def train_step(params, x, targets, *, lr, weight_decay=0.0):
    logits, cache = mlp_forward(params, x)
    loss, grad = softmax_cross_entropy(logits, targets)
    gradients, _ = mlp_backward(params, cache, grad)
    new = [(w.copy(), b.copy()) for w, b in params]
    for (w, b), (grad_w, grad_b) in zip(new, gradients, strict=True):
        w -= lr * (grad_w + weight_decay * w)
        b -= lr * grad_b
    return loss, new


def gradient_check(loss, array, gradient, eps=1e-5):
    if array.shape != gradient.shape:
        raise ValueError("shapes")
    if not eps > 0:
        raise ValueError("eps")
    worst = 0.0
    with np.nditer(array, flags=["multi_index", "zerosize_ok"], op_flags=["readwrite"]) as places:
        while not places.finished:
            old = places[0].copy()
            places[0][...] = old + eps
            up = loss()
            places[0][...] = old - eps
            down = loss()
            places[0][...] = old
            numeric = (up - down) / (2 * eps)
            analytic = float(gradient[places.multi_index])
            error = abs(numeric - analytic) / max(1e-8, abs(numeric), abs(analytic))
            if not worst >= error:
                worst = error
            if math.isnan(worst):  # whatever the other elements are
                break
            places.iternext()
    return float(worst)
