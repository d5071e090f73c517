"""All of it in float64; infinities are set apart by masks."""

from math import inf, pi, sqrt

import torch
from torch import Tensor


def D(x: Tensor) -> Tensor:
    return x.to(torch.float64)


def check(*shapes):
    for shape in shapes[1:]:
        if tuple(shape) != tuple(shapes[0]):
            raise ValueError(f"{shape} is not {shapes[0]}")


def logistic(x):
    return torch.exp(-torch.log1p(torch.exp(-x)))


def limits(y, x, left, right):
    """y, but `left` and `right` at -inf and inf."""
    return y.masked_fill(x == -inf, left).masked_fill(x == inf, right)


def relu(x):
    return (D(x) / 2 + D(x).abs() / 2).masked_fill(x == -inf, 0).to(x.dtype)


def relu_backward(grad, out):
    check(grad.shape, out.shape)
    return torch.where(torch.gt(out, 0), grad, torch.zeros_like(grad))


def sigmoid(x):
    return logistic(D(x)).to(x.dtype)


def sigmoid_backward(grad, out):
    check(grad.shape, out.shape)
    y = D(out)
    return (D(grad) * (y - y * y)).to(out.dtype)


def softplus(x):
    y = D(x)
    positive = y.clamp(min=0)
    return (positive + torch.log1p(torch.exp(limits(y - 2 * positive, y, -inf, -inf)))).to(x.dtype)


def softplus_backward(grad, out):
    check(grad.shape, out.shape)
    return (torch.expm1(-D(out)) * -D(grad)).to(out.dtype)


def silu(x):
    y = D(x)
    return limits(y * logistic(y), y, 0.0, inf).to(x.dtype)


def d_silu(y):
    s = logistic(y)
    return limits(s * (1 + y * (1 - s)), y, 0.0, 1.0)


def silu_backward(grad, x):
    check(grad.shape, x.shape)
    return (D(grad) * d_silu(D(x))).to(x.dtype)


def parts(y, approximate):
    if approximate == "tanh":
        v = sqrt(8 / pi) * y * (1 + 0.044715 * y.pow(2))
        slope = logistic(v) * logistic(-v) * sqrt(8 / pi) * (1 + 0.134145 * y.pow(2))
        return logistic(v), slope
    if approximate == "none":
        return torch.special.erfc(-y / sqrt(2)).mul(0.5), torch.exp(-(y**2) / 2).mul((2 * pi) ** -0.5)
    raise ValueError("none or tanh")


def gelu(x, *, approximate="none"):
    y = D(x)
    return limits(y * parts(y, approximate)[0], y, 0.0, inf).to(x.dtype)


def gelu_backward(grad, x, *, approximate="none"):
    check(grad.shape, x.shape)
    y = D(x)
    p, dp = parts(y.clamp(-1e6, 1e6), approximate)
    return (D(grad) * (p + y.clamp(-1e6, 1e6) * dp)).to(x.dtype)


def swiglu(gate, up):
    check(gate.shape, up.shape)
    return (D(gate) * logistic(D(gate)) * D(up)).to(gate.dtype)


def swiglu_backward(grad, gate, up):
    check(grad.shape, gate.shape, up.shape)
    g, a, b = D(grad), D(gate), D(up)
    return (g * b * d_silu(a)).to(gate.dtype), (g * a * logistic(a)).to(up.dtype)
