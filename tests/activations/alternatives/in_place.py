"""One buffer, which is a copy, and operators in place on it; the sides are filled by boolean masks."""

import math

import torch


def copy(x):
    return x.detach().to(torch.promote_types(x.dtype, torch.float32), copy=True).contiguous()


def same(first, *others):
    if not all(first.shape == other.shape for other in others):
        raise ValueError("shapes")


def logistic_(t):
    return t.neg_().exp_().add_(1).reciprocal_()


def relu(x):
    y = x.clone()
    y[y < 0] = 0
    return y


def relu_backward(grad, out):
    same(grad, out)
    g = grad.clone(memory_format=torch.contiguous_format)
    g[~(out > 0)] = 0
    return g


def sigmoid(x):
    return logistic_(copy(x)).to(x.dtype)


def sigmoid_backward(grad, out):
    same(grad, out)
    y = copy(out)
    return (1 - y).mul_(y).mul_(copy(grad)).to(out.dtype)


def softplus(x):
    y = copy(x).abs_().neg_().exp_().log1p_()
    return y.add_(copy(x).clamp_(min=0)).to(x.dtype)


def softplus_backward(grad, out):
    same(grad, out)
    return copy(out).neg_().expm1_().neg_().mul_(copy(grad)).to(out.dtype)


def silu(x):
    s = logistic_(copy(x))
    s.mul_(copy(x))
    s[x == -math.inf] = 0
    return s.to(x.dtype)


def silu_slope(x):
    wide = copy(x).clamp_(-800, 800)
    s = logistic_(wide.clone())
    return wide.mul_(1 - s).add_(1).mul_(s)


def silu_backward(grad, x):
    same(grad, x)
    return silu_slope(x).mul_(copy(grad)).to(x.dtype)


def cube(x):
    return x.square().mul_(0.044715).add_(1).mul_(x).mul_(math.sqrt(8 / math.pi))


def option(name):
    if name != "none" and name != "tanh":
        raise ValueError(name)
    return name == "tanh"


def gelu(x, *, approximate="none"):
    t = option(approximate)
    y = copy(x).clamp_(min=-500)
    gate = logistic_(cube(y.clamp(max=500))) if t else y.mul(-math.sqrt(1 / 2)).erfc_().div_(2)
    return gate.mul_(y).to(x.dtype)


def gelu_backward(grad, x, *, approximate="none"):
    same(grad, x)
    y = copy(x).clamp_(-500, 500)
    if option(approximate):
        gate = logistic_(cube(y))
        rest = logistic_(cube(-y))
        inner = y.square().mul_(3 * 0.044715).add_(1).mul_(math.sqrt(8 / math.pi))
        slope = inner.mul_(gate).mul_(rest)
    else:
        gate = y.mul(-math.sqrt(1 / 2)).erfc_().div_(2)
        slope = y.square().div_(-2).exp_().div_(math.sqrt(2 * math.pi))
    return slope.mul_(y).add_(gate).mul_(copy(grad)).to(x.dtype)


def swiglu(gate, up):
    same(gate, up)
    return logistic_(copy(gate)).mul_(copy(gate)).mul_(copy(up)).to(gate.dtype)


def swiglu_backward(grad, gate, up):
    same(grad, gate, up)
    grad_gate = silu_slope(gate).mul_(copy(up)).mul_(copy(grad))
    grad_up = logistic_(copy(gate)).mul_(copy(gate)).mul_(copy(grad))
    return grad_gate.to(gate.dtype), grad_up.to(up.dtype)
