"""A class for each activation, with a value and a slope; the module's functions are made of them."""

import math

import torch


class Activation:
    """`value` and `slope` are of wide numbers; `slope` is given what is kept."""

    def forward(self, x):
        return self.value(self.wide(x)).to(x.dtype)

    def backward(self, grad, kept):
        if grad.shape != kept.shape:
            raise ValueError("grad has another shape")
        return torch.mul(self.wide(grad), self.slope(self.wide(kept))).to(kept.dtype)

    @staticmethod
    def wide(x):
        return x.double() if x.dtype == torch.float64 else x.float()


class ReLU(Activation):
    def value(self, x):
        return torch.fmax(x, torch.zeros_like(x)) + 0 * x.nan_to_num(posinf=0, neginf=0, nan=math.nan)

    def slope(self, out):
        return torch.sign(out)


class Sigmoid(Activation):
    def value(self, x):
        return torch.pow(torch.exp(-x) + 1, -1)

    def slope(self, out):
        return out - out**2


class Softplus(Activation):
    def value(self, x):
        # log(1 + e^x) = x + log(1 + e^-x), of which the one without an overflow is taken
        return torch.where(x > 0, x + torch.log1p(torch.exp(-x)), torch.log1p(torch.exp(x.clamp(max=0))))

    def slope(self, out):
        return torch.exp(-out).sub(1).neg().where(out > 1, -torch.expm1(-out))


class SiLU(Activation):
    inner = Sigmoid()

    def value(self, x):
        finite = torch.nan_to_num(x, nan=math.nan, posinf=math.inf, neginf=-1e4)
        return finite * self.inner.value(finite)

    def slope(self, x):
        x = x.nan_to_num(posinf=1e4, neginf=-1e4)
        y = self.value(x)
        return y * self.inner.value(-x) + self.inner.value(x)


class GELU(Activation):
    def gate(self, x):
        return 0.5 * torch.special.erfc(x * -0.7071067811865476)

    def gate_slope(self, x):
        return torch.exp(-(x**2) / 2 - math.log(2 * math.pi) / 2)

    def value(self, x):
        return x.nan_to_num(nan=math.nan, posinf=math.inf, neginf=-1e4) * self.gate(x)

    def slope(self, x):
        x = x.nan_to_num(posinf=1e4, neginf=-1e4).clamp(-1e4, 1e4)
        return self.gate(x) + x * self.gate_slope(x)


class TanhGELU(GELU):
    K = math.sqrt(2 / math.pi)

    def u(self, x):
        return self.K * x * (1 + 0.044715 * x * x)

    def gate(self, x):
        return Sigmoid().value(2 * self.u(x))

    def gate_slope(self, x):
        # half of sech^2(u)
        return torch.cosh(self.u(x)).reciprocal().square() / 2 * self.K * (1 + 3 * 0.044715 * x * x)


def relu(x):
    return ReLU().forward(x)


def relu_backward(grad, out):
    return ReLU().backward(grad, out)


def sigmoid(x):
    return Sigmoid().forward(x)


def sigmoid_backward(grad, out):
    return Sigmoid().backward(grad, out)


def softplus(x):
    return Softplus().forward(x)


def softplus_backward(grad, out):
    return Softplus().backward(grad, out)


def silu(x):
    return SiLU().forward(x)


def silu_backward(grad, x):
    return SiLU().backward(grad, x)


def of(approximate):
    try:
        return {"none": GELU, "tanh": TanhGELU}[approximate]()
    except KeyError as error:
        raise ValueError("approximate") from error


def gelu(x, *, approximate="none"):
    return of(approximate).forward(x)


def gelu_backward(grad, x, *, approximate="none"):
    return of(approximate).backward(grad, x)


def swiglu(gate, up):
    if gate.shape != up.shape:
        raise ValueError("up has another shape")
    activation = SiLU()
    return (activation.value(activation.wide(gate)) * activation.wide(up)).to(up.dtype)


def swiglu_backward(grad, gate, up):
    if not (grad.shape == gate.shape == up.shape):
        raise ValueError("one of the shapes is another one")
    activation = SiLU()
    g, a, b = map(activation.wide, (grad, gate, up))
    return (activation.slope(a) * (g * b)).to(gate.dtype), (activation.value(a) * g).to(up.dtype)
