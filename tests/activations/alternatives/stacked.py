"""The sigmoid as a softmax of x and 0, softplus by the smaller of the two; Phi by the scaled erfcx. Numbers far out are clipped first."""

import torch

ROOT_2PI = 2.5066282746310002


def prepared(*tensors):
    if any(t.size() != tensors[0].size() for t in tensors):
        raise ValueError("different shapes")
    return [t.to(torch.float64 if t.dtype is torch.float64 else torch.float32) for t in tensors]


def near(x):
    return torch.clip(x, -2000, 2000)


def both(x):
    """[2, ...]: the sigmoids of x and of -x."""
    return torch.stack([near(x), torch.zeros_like(x)]).softmax(0)


def relu(x):
    return x.masked_fill(x < 0, 0)


def relu_backward(grad, out):
    prepared(grad, out)
    return grad.masked_fill(out == 0, 0)


def sigmoid(x):
    return both(*prepared(x))[0].type_as(x)


def sigmoid_backward(grad, out):
    g, s = prepared(grad, out)
    return g.mul(s).mul(1 - s).type_as(out)


def softplus(x):
    (wide,) = prepared(x)
    return (wide.clip(min=0) - torch.log1p(-both(-wide.abs())[0])).type_as(x)


def softplus_backward(grad, out):
    g, y = prepared(grad, out)
    return g.mul(torch.expm1(-y).neg()).type_as(out)


def silu(x):
    (wide,) = prepared(x)
    return (wide.clip(min=-2000) * both(wide)[0]).type_as(x)


def silu_slope(x):
    p, q = both(x)
    return p + near(x) * p * q


def silu_backward(grad, x):
    g, wide = prepared(grad, x)
    return (g * silu_slope(wide)).type_as(x)


def phi(x):
    return torch.exp(x.square().mul(-0.5)) / ROOT_2PI


def cdf(x):
    """erfc(z) = erfcx(z) e^-z^2 on the left, and by symmetry on the right."""
    z = x.abs() * 0.5**0.5
    upper = torch.special.erfcx(z) * torch.exp(-x * x / 2) / 2
    return torch.where(x > 0, 1 - upper, upper)


def curve(x, approximate):
    match approximate:
        case "none":
            return cdf(x), phi(x)
        case "tanh":
            k = 2 * (2 / torch.pi) ** 0.5
            p, q = both(k * x + k * 0.044715 * x.pow(3))
            return p, p * q * (k + k * 0.134145 * x.square())
        case _:
            raise ValueError(f"{approximate}?")


def gelu(x, *, approximate="none"):
    (wide,) = prepared(x)
    return (wide.clip(min=-2000) * curve(near(wide), approximate)[0]).type_as(x)


def gelu_backward(grad, x, *, approximate="none"):
    g, wide = prepared(grad, x)
    p, dp = curve(near(wide), approximate)
    return (g * torch.addcmul(p, near(wide), dp)).type_as(x)


def swiglu(gate, up):
    a, b = prepared(gate, up)
    return (a * both(a)[0] * b).type_as(gate)


def swiglu_backward(grad, gate, up):
    g, a, b = prepared(grad, gate, up)
    return (g * b * silu_slope(a)).type_as(gate), (g * a * both(a)[0]).type_as(up)
