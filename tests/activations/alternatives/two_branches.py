"""Two formulas for the two sides, chosen by torch.where; e^y of y <= 0 only. GELU by the logarithm of its gate."""

import math

import torch

C = math.sqrt(2 / math.pi)


def narrow_like(function):
    def call(*tensors, **options):
        if len({t.shape for t in tensors}) > 1:
            raise ValueError("one shape for all")
        like = tensors[-1]
        wide = [t if t.dtype == torch.float64 else t.float() for t in tensors]
        result = function(*wide, **options)
        if isinstance(result, tuple):
            return tuple(part.to(like.dtype) for part in result)
        return result.to(like.dtype)

    return call


def sides(x, right, left):
    """`right` of e^-|x| where x >= 0, else `left` of it."""
    e = torch.exp(-x.abs())
    return torch.where(x >= 0, right(e), left(e))


def gate_of(x):
    return sides(x, lambda e: 1 / (1 + e), lambda e: e / (1 + e))


def times(x, gate):
    """x * gate, where a gate of 0 closes infinities, too. NaN is no 0."""
    return torch.where(gate == 0, torch.zeros_like(x), x * gate)


relu = narrow_like(lambda x: torch.maximum(x, torch.zeros_like(x)))
relu_backward = narrow_like(lambda grad, out: grad * (out != 0).to(grad.dtype))
sigmoid = narrow_like(gate_of)
sigmoid_backward = narrow_like(lambda grad, out: grad * (out * (1 - out)))
softplus = narrow_like(lambda x: torch.logaddexp(x, torch.zeros_like(x)))
softplus_backward = narrow_like(lambda grad, out: -(grad * torch.expm1(-out)))
silu = narrow_like(lambda x: times(x, gate_of(x)))


def slope_of_silu(x):
    s = gate_of(x)
    return s + times(times(x, 1 - s), s)


silu_backward = narrow_like(lambda grad, x: grad * slope_of_silu(x))


def gelu(x, *, approximate="none"):
    return narrow_like(gelu_of)(x, approximate=approximate)


def gelu_backward(grad, x, *, approximate="none"):
    return narrow_like(gelu_slope)(grad, x, approximate=approximate)


def known(approximate):
    if approximate not in ("none", "tanh"):
        raise ValueError(approximate)
    return approximate == "tanh"


def gelu_of(x, approximate):
    gate = gate_of(2 * C * (x + 0.044715 * x * x * x)) if known(approximate) else torch.special.log_ndtr(x).exp()
    return times(x, gate)


def gelu_slope(grad, x, approximate):
    if known(approximate):
        near = torch.minimum(x.abs(), torch.full_like(x, 50.0)) * x.sign()
        u = C * (near + 0.044715 * near**3)
        p, q = gate_of(2 * u), gate_of(-2 * u)
        return grad * (p + 2 * near * p * q * C * (1 + 0.134145 * near**2))
    density = torch.exp(-0.5 * x.square()) / (2 * math.pi) ** 0.5
    return grad * (torch.special.log_ndtr(x).exp() + torch.where(density == 0, density, x * density))


swiglu = narrow_like(lambda gate, up: gate * gate_of(gate) * up)


@narrow_like
def swiglu_backward(grad, gate, up):
    return grad * up * slope_of_silu(gate), grad * gate * gate_of(gate)
