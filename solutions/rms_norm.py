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

# kata: begin


def _wide(x: Tensor) -> Tensor:
    """x in float32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check(x: Tensor, eps: float, *parameters: Tensor) -> None:
    """Raises ValueError for a wrong eps, or a weight or bias of another length than the rows of x."""
    if not eps >= 0:
        raise ValueError(f"eps must be at least 0, got {eps}")
    for parameter in parameters:
        if parameter.shape != x.shape[-1:]:
            raise ValueError(f"weight and bias must be {list(x.shape[-1:])}, got {list(parameter.shape)}")


def _normed(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """x / sqrt(mean(x^2) + eps), and one over that root, [*batch, 1]."""
    scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
    return x * scale, scale


# kata: end


def rms_norm(
    x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], eps: float = 1e-6
) -> Float[Tensor, "*batch dim"]:
    """x / sqrt(mean(x^2) + eps) * weight, in the dtype of x. In float32 it moves (reads and writes)
    at most 8.5 times the bytes of x.

    Raises ValueError if eps is negative or NaN, or if the weight's shape is not [dim].
    """
    # kata: begin
    _check(x, eps, weight)
    return (_normed(_wide(x), eps)[0] * weight).to(x.dtype)
    # kata: end


def layer_norm(
    x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], bias: Float[Tensor, "dim"], eps: float = 1e-5
) -> Float[Tensor, "*batch dim"]:
    """(x - mean(x)) / sqrt(var(x) + eps) * weight + bias, in the dtype of x. In float32 it moves at most
    13.5 times the bytes of x.

    Raises ValueError if eps is negative or NaN, or if the shape of weight or bias is not [dim].
    """
    # kata: begin
    _check(x, eps, weight, bias)
    wide = _wide(x)
    # Of the centred x the variance is the mean square. mean(x^2) - mean(x)^2 would lose it behind a large mean.
    return (_normed(wide - wide.mean(-1, keepdim=True), eps)[0] * weight + bias).to(x.dtype)
    # kata: end


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
    # kata: begin
    total = x + residual
    return rms_norm(total, weight, eps), total
    # kata: end


def rms_norm_backward(
    grad: Float[Tensor, "*batch dim"], x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], eps: float = 1e-6
) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "dim"]]:
    """(grad_x, grad_weight) of rms_norm(x, weight, eps), where grad is the gradient of its result.

    grad_weight is summed over all but the last dimension. No new tensor has more elements than x.
    Raises ValueError as rms_norm does.
    """
    # kata: begin
    _check(x, eps, weight)
    normed, scale = _normed(_wide(x), eps)
    grad = _wide(grad)
    inner = grad * weight  # the gradient of normed
    # scale depends on x, too, which takes the part along normed out of the gradient.
    grad_x = scale * (inner - normed * (inner * normed).mean(-1, keepdim=True))
    grad_weight = (grad * normed).reshape(-1, x.shape[-1]).sum(0)
    return grad_x.to(x.dtype), grad_weight.to(weight.dtype)
    # kata: end


def layer_norm_backward(
    grad: Float[Tensor, "*batch dim"], x: Float[Tensor, "*batch dim"], weight: Float[Tensor, "dim"], eps: float = 1e-5
) -> tuple[Float[Tensor, "*batch dim"], Float[Tensor, "dim"], Float[Tensor, "dim"]]:
    """(grad_x, grad_weight, grad_bias) of layer_norm(x, weight, bias, eps), where grad is the gradient of its result.

    grad_weight and grad_bias are summed over all but the last dimension. No new tensor has more elements than x.
    Raises ValueError as rms_norm does.
    """
    # kata: begin
    # The norm of the centred x, so one more part is taken out: the mean, along which centring is blind.
    wide = _wide(x)
    centred = wide - wide.mean(-1, keepdim=True)
    grad_centred, grad_weight = rms_norm_backward(_wide(grad), centred, weight, eps)
    grad_x = grad_centred - grad_centred.mean(-1, keepdim=True)
    grad_bias = _wide(grad).reshape(-1, x.shape[-1]).sum(0)
    return grad_x.to(x.dtype), grad_weight, grad_bias.to(weight.dtype)
    # kata: end
