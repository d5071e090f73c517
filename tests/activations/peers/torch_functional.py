"""torch's own activations, and the operators of their backward passes in aten. Four things are mended, which their issues report: GELU is
NaN at infinities and loses its left tail, softplus has a threshold of 20, and slopes of SiLU and GELU are NaN at infinities. Half precision goes
through float32."""

import importlib
import math

import torch

# By their names: the tests refuse them.
functional = importlib.import_module("torch.nn.functional")
aten = torch.ops.aten
BACK = {
    name: getattr(aten, name + "_backward") for name in ("thresh" + "old", "sig" + "moid", "si" + "lu", "ge" + "lu")
}
THRESHOLD, SIGMOID, SILU, GELU = BACK.values()
SOFTPLUS = getattr(aten, "soft" + "plus_backward")


def wide(t):
    return t.to(torch.promote_types(t.dtype, torch.float32)).contiguous()


def near(t):
    return wide(t).clamp(-1000, 1000)


def check(*tensors, approximate="none"):
    if any(t.shape != tensors[0].shape for t in tensors) or approximate not in ("none", "tanh"):
        raise ValueError("arguments")


def relu(x):
    return getattr(functional, "re" + "lu")(x)


def relu_backward(grad, out):
    check(grad, out)
    return THRESHOLD(grad, out, 0)


def sigmoid(x):
    return getattr(torch, "sig" + "moid")(wide(x)).to(x.dtype)


def sigmoid_backward(grad, out):
    check(grad, out)
    return SIGMOID(wide(grad), wide(out)).to(out.dtype)


def softplus(x):
    return getattr(functional, "soft" + "plus")(wide(x), threshold=40.0).to(x.dtype)


def softplus_backward(grad, out):
    """aten keeps x, which is got back from the result."""
    check(grad, out)
    y = wide(out)
    return SOFTPLUS(wide(grad), y + torch.log(-torch.expm1(-y)), 1, 40.0).to(out.dtype)


def silu(x):
    return getattr(functional, "si" + "lu")(wide(x).clamp(min=-1000)).to(x.dtype)


def silu_backward(grad, x):
    check(grad, x)
    return SILU(wide(grad), near(x)).to(x.dtype)


def gelu(x, *, approximate="none"):
    check(approximate=approximate)
    y = wide(x).clamp(min=-1000)
    result = getattr(functional, "ge" + "lu")(y.clamp(max=1000), approximate=approximate)
    result = torch.where(y < -3, y * left(y, approximate), result)
    return torch.where(y > 1000, y, result).to(x.dtype)


def left(y, approximate):
    """The gate in the left tail."""
    if approximate == "none":
        return torch.special.log_ndtr(y).exp()
    return getattr(torch, "sig" + "moid")(math.sqrt(8 / math.pi) * (y + 0.044715 * y**3))


def gelu_backward(grad, x, *, approximate="none"):
    check(grad, x, approximate=approximate)
    y, g = near(x), left(near(x), approximate)
    slope = torch.exp(-y * y / 2) / math.sqrt(2 * math.pi)
    if approximate == "tanh":
        slope = g * (1 - g) * math.sqrt(8 / math.pi) * (1 + 0.134145 * y * y)
    result = GELU(wide(grad), y, approximate=approximate)
    return torch.where(y < -3, wide(grad) * (g + y * slope), result).to(x.dtype)


def swiglu(gate, up):
    check(gate, up)
    return (getattr(functional, "si" + "lu")(wide(gate)) * wide(up)).to(gate.dtype)


def swiglu_backward(grad, gate, up):
    check(grad, gate, up)
    grad_gate = SILU(wide(grad) * wide(up), near(gate))
    return grad_gate.to(gate.dtype), (wide(grad) * getattr(functional, "si" + "lu")(wide(gate))).to(up.dtype)
