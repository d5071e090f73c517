"""Forward and backward through three layers, and the loss of many classes. FLOPs are those of the products of matrices, of which
backward has two for each of forward's."""

from functools import partial

import numpy as np
import torch

from dojo.testing.bench import work


def drawn(bench, *shape):
    return bench.randn(*shape, dtype=torch.float64).cpu().numpy()


def both_passes(kata, params, x, grad_logits):
    _, cache = kata.mlp_forward(params, x)
    return torch.from_numpy(kata.mlp_backward(params, cache, grad_logits)[1])


def autograd(params, x, grad_logits):
    leaves = [torch.from_numpy(each).requires_grad_() for pair in params for each in pair]
    h = first = torch.from_numpy(x).requires_grad_()
    for layer, (w, b) in enumerate(zip(leaves[::2], leaves[1::2], strict=True)):
        h = torch.addmm(b, h.relu() if layer else h, w)
    return torch.autograd.grad(h, [first, *leaves], torch.from_numpy(grad_logits))[0]


def sample_by_sample(params, x, grad_logits):
    rows = []
    for h, grad in zip(x, grad_logits, strict=True):
        inputs = [h]
        for w, b in params[:-1]:
            inputs.append(np.maximum(inputs[-1] @ w + b, 0))
        for layer in reversed(range(len(params))):
            np.outer(inputs[layer], grad)  # the gradient of W, which would be added up
            grad = params[layer][0] @ grad
            if layer:
                grad = grad * (inputs[layer] > 0)
        rows.append(grad)
    return torch.from_numpy(np.stack(rows))


@work(samples=512, width=256, sweep={"samples": (64, 2048), "width": (64,)}, tiny={"samples": 32, "width": 16})
def passes(bench, samples, width):
    """Both passes; the result is grad_x."""
    params = [(drawn(bench, width, width) / width**0.5, drawn(bench, width)) for _ in range(3)]
    x, grad_logits = drawn(bench, samples, width), drawn(bench, samples, width)
    bench.katas(lambda kata: partial(both_passes, kata, params, x, grad_logits))
    bench.way("autograd", partial(autograd, params, x, grad_logits))
    if samples * width <= 512 * 256:
        bench.way("naive: sample by sample", partial(sample_by_sample, params, x, grad_logits))
    bench.same(rtol=1e-9)
    numbers = 2 * x.size + 2 * grad_logits.size + 2 * sum(each.size for pair in params for each in pair)
    bench.floor(bytes=8 * numbers, flops=3 * 3 * 2 * samples * width * width)


def gradient(kata, logits, targets):
    return torch.from_numpy(kata.softmax_cross_entropy(logits, targets)[1])


def through_the_jacobian(logits, targets):
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    jacobian = p[:, :, None] * (np.eye(p.shape[1]) - p[:, None, :])
    slope = np.zeros_like(p)
    slope[np.arange(len(p)), targets] = -1 / p[np.arange(len(p)), targets] / len(p)
    return torch.from_numpy(np.einsum("nij,nj->ni", jacobian, slope))


@work(samples=1000, classes=100, sweep={"classes": (10, 1000)}, tiny={"samples": 50, "classes": 10})
def loss(bench, samples, classes):
    """The gradient of the loss."""
    logits, targets = drawn(bench, samples, classes), bench.randint(classes, samples).cpu().numpy()
    bench.katas(lambda kata: partial(gradient, kata, logits, targets))
    if classes <= 100:
        bench.way("naive: softmax's Jacobian", partial(through_the_jacobian, logits, targets))
    bench.same(rtol=1e-9)
    bench.floor(bytes=2 * logits.nbytes + targets.nbytes)
