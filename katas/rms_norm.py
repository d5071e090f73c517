"""LayerNorm and RMSNorm, forward and backward.

Write the two norms of the transformer, then their backward passes by hand. Where must it be float32?

Along the last dimension, of size d:
    rms_norm(x)   = x / sqrt(mean(x^2) + eps) * weight
    layer_norm(x) = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias,    var(x) = mean((x - mean(x))^2)
So eps stands inside the root, the variance is the biased one (divided by d, not by d - 1), and the weight multiplies as
it is (some models store weight - 1). `*batch` is any number of leading dimensions, also none.

Numbers: statistics and sums run in float32 at least. Results have the dtype of x, also where the weight's dtype is
another one; gradients of weight and bias have the dtype of the weight. Whether the result is rounded before it is
multiplied by the weight, as in Llama, or after it, is up to you. float16 and bfloat16 inputs up to 1e4 and down to 1e-4
give results as accurate as those around 1, and in float32 layer_norm still works where the mean is 1e4 times the deviation. eps may
be 0; then no row is all zeros (for layer_norm: no row is constant). No argument is modified.

Rules: the ready-made norms are forbidden (F.rms_norm, F.layer_norm, their modules, and the group, batch and instance
norms, which can be bent to it). So are torch.autograd and torch.func: the backward functions are formulas, and work
under torch.inference_mode(). Whether the forward functions are differentiable is up to you.

Stage 1: both forward passes.  Stage 2: any leading dimensions, small and missing eps, zeros, the residual, wrong
arguments.  Stage 3: every floating dtype, large and small numbers, large means.  Stage 4: both backward passes; no loop
over rows, and few passes over x.

Sources: Ba, Kiros and Hinton, "Layer Normalization" (2016); Zhang and Sennrich, "Root Mean Square Layer Normalization"
(2019).
"""

import torch
from jaxtyping import Float
from torch import Tensor


def rms_norm(
    x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], eps: float = 1e-6
) -> Float[Tensor, "*batch dim"]:
    """x / sqrt(mean(x^2) + eps) * weight, in the dtype of x. In float32 it moves (reads and writes)
    at most 8.5 times the bytes of x.

    Raises ValueError if eps is negative or NaN, or if the weight's shape is not [dim].
    """
    raise NotImplementedError("rms_norm.rms_norm: write me")


def layer_norm(
    x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], bias: Float[Tensor, "dim"], eps: float = 1e-5
) -> Float[Tensor, "*batch dim"]:
    """(x - mean(x)) / sqrt(var(x) + eps) * weight + bias, in the dtype of x. In float32 it moves at most
    13.5 times the bytes of x.

    Raises ValueError if eps is negative or NaN, or if the shape of weight or bias is not [dim].
    """
    raise NotImplementedError("rms_norm.layer_norm: write me")


def add_rms_norm(
    x: Float[Tensor, "*batch dim"],
    residual: Float[Tensor, "*batch dim"],
    weight: Float[Tensor, "dim"],
    eps: float = 1e-6,
) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "*batch dim"]]:
    """(rms_norm of the new residual, the new residual): one step of a pre-norm block.

    The new residual is x + residual. x, residual and both results are of one dtype. In float32 it moves at
    most 13.5 times the bytes of x.
    Raises ValueError as rms_norm does.
    """
    raise NotImplementedError("rms_norm.add_rms_norm: write me")


def rms_norm_backward(
    grad: Float[Tensor, "*batch dim"], x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], eps: float = 1e-6
) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "dim"]]:
    """(grad_x, grad_weight) of rms_norm(x, weight, eps), where grad is the gradient of its result.

    grad_weight is summed over all but the last dimension. No new tensor has more elements than x.
    Raises ValueError as rms_norm does.
    """
    raise NotImplementedError("rms_norm.rms_norm_backward: write me")


def layer_norm_backward(
    grad: Float[Tensor, "*batch dim"], x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], eps: float = 1e-5
) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "dim"], Float[Tensor, "dim"]]:
    """(grad_x, grad_weight, grad_bias) of layer_norm(x, weight, bias, eps), where grad is the gradient of its result.

    grad_weight and grad_bias are summed over all but the last dimension. No new tensor has more elements than x.
    Raises ValueError as rms_norm does.
    """
    raise NotImplementedError("rms_norm.layer_norm_backward: write me")
