"""Activations and their gradients.

Write ReLU, sigmoid, softplus, SiLU and GELU (exact and with tanh), and their backward passes by hand; then SwiGLU. Which
saturate? Which overflow? What does each backward pass need to keep?

    relu(x)     = max(x, 0)
    sigmoid(x)  = 1 / (1 + e^-x)
    softplus(x) = log(1 + e^x)
    silu(x)     = x sigmoid(x)
    gelu(x)     = x Phi(x),    Phi(x) = (1 + erf(x / sqrt(2))) / 2, the normal distribution function
    its tanh approximation: x (1 + tanh(u)) / 2,    u = sqrt(2 / pi) (x + 0.044715 x^3)
    swiglu(gate, up) = silu(gate) up

A backward function takes grad, the gradient of a loss with respect to the forward function's result, and what was kept
from the forward pass, and returns the gradient with respect to the input. ReLU, sigmoid and softplus keep their result,
`out`, which the next layer keeps anyway. SiLU and GELU keep their input x: a result does not say which x it came from.

Shapes: any, also [] and those without elements. All tensors of a call have one shape, one dtype and one device, and results
have them, too. An argument may be a view, also one that is expanded from one number. No argument
is modified, and results share no memory with one.

Numbers: float16, bfloat16, float32 and float64. Everything is computed in float32 at least, and rounded to the dtype once,
at the end: float16 and bfloat16 results are off by 0.6 units in the last place at most. In the tails, where results are
small, their relative error stays small as well: below 1e-4 in float32 and 1e-10 in float64. Two things are exempt. Where a
slope crosses zero, its error may be 1e-4 or 1e-10 itself; and what has an absolute value below 1e-30, be it a result, a
slope or silu(gate), may as well be 0. Huge numbers make no NaN: x may also be infinite, where results and slopes are their
limits. grad, gate and up are finite, and so is grad * up in the dtype that is computed in. Where x is NaN, the forward
functions give NaN.

Rules: torch's ready-made activations are forbidden, in all their forms (torch.sigmoid, x.relu(), torch.nn.functional,
torch.special.expit, ...), and so are torch.autograd and torch.func. torch.exp, expm1, log1p, tanh, erf, erfc, clamp and
where are allowed. All functions work under torch.inference_mode(). Whether the forward functions are differentiable is
up to you. Compute with torch.

Stage 1: the five activations and their backward passes.  Stage 2: zeros, any shape and layout, SwiGLU, wrong arguments.
Stage 3: tails, huge and infinite numbers, every dtype.  Stage 4: no loop over elements, and no large tensors.

Sources: Hendrycks and Gimpel, "Gaussian Error Linear Units (GELUs)" (2016); Elfwing et al., "Sigmoid-Weighted Linear Units
for Neural Network Function Approximation in Reinforcement Learning" (2017), for SiLU; Shazeer, "GLU Variants Improve
Transformer" (2020), for SwiGLU.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor


def relu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """max(x, 0)."""
    raise NotImplementedError("activations.relu: write me")


def relu_backward(grad: Float[Tensor, "*shape"], out: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The gradient with respect to x, where out = relu(x). The slope at x = 0 is taken as 0.

    Raises ValueError if the two shapes differ.
    """
    raise NotImplementedError("activations.relu_backward: write me")


def sigmoid(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """1 / (1 + e^-x)."""
    raise NotImplementedError("activations.sigmoid: write me")


def sigmoid_backward(grad: Float[Tensor, "*shape"], out: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The gradient with respect to x, where out = sigmoid(x).

    Raises ValueError if the two shapes differ.
    """
    raise NotImplementedError("activations.sigmoid_backward: write me")


def softplus(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """log(1 + e^x)."""
    raise NotImplementedError("activations.softplus: write me")


def softplus_backward(grad: Float[Tensor, "*shape"], out: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The gradient with respect to x, where out = softplus(x).

    Raises ValueError if the two shapes differ.
    """
    raise NotImplementedError("activations.softplus_backward: write me")


def silu(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """x sigmoid(x), also called swish."""
    raise NotImplementedError("activations.silu: write me")


def silu_backward(grad: Float[Tensor, "*shape"], x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The gradient with respect to x.

    Raises ValueError if the two shapes differ.
    """
    raise NotImplementedError("activations.silu_backward: write me")


def gelu(x: Float[Tensor, "*shape"], *, approximate: Literal["none", "tanh"] = "none") -> Float[Tensor, "*shape"]:
    """x Phi(x), or its tanh approximation.

    Raises ValueError if approximate is anything else.
    """
    raise NotImplementedError("activations.gelu: write me")


def gelu_backward(
    grad: Float[Tensor, "*shape"], x: Float[Tensor, "*shape"], *, approximate: Literal["none", "tanh"] = "none"
) -> Float[Tensor, "*shape"]:
    """The gradient with respect to x: of the same function, so the slope of the approximation where that is asked for.

    Raises ValueError if the two shapes differ, or if approximate is anything else.
    """
    raise NotImplementedError("activations.gelu_backward: write me")


def swiglu(gate: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """silu(gate) up, which is rounded once: in float16 silu(gate) may be too small for a product that is not.

    Raises ValueError if the two shapes differ.
    """
    raise NotImplementedError("activations.swiglu: write me")


def swiglu_backward(
    grad: Float[Tensor, "*shape"], gate: Float[Tensor, "*shape"], up: Float[Tensor, "*shape"]
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """(grad_gate, grad_up). silu(gate) was not kept: it is computed again.

    Raises ValueError if the three shapes differ.
    """
    raise NotImplementedError("activations.swiglu_backward: write me")
