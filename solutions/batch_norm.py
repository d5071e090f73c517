"""BatchNorm, in training and in evaluation, with its backward pass.

Write BatchNorm for vectors and images: training, evaluation, the running statistics, and the backward pass by hand. Why
do training and evaluation disagree, and which variance goes where?

x is [batch, features, *spatial] with any number of spatial dimensions, also none. A channel's statistics run over the
batch and all spatial dimensions, n values in all:
    y = (x - mean) / sqrt(var + eps) * weight + bias
In training mode mean and var are those of the batch, and var is the biased one (divided by n). In evaluation mode they
are the running statistics. Each batch in training mode, with gradients enabled or not, moves these:
    running_mean = (1 - momentum) running_mean + momentum * mean
    running_var  = (1 - momentum) running_var  + momentum * var n / (n - 1)
So momentum is the weight of the new value (in Keras that of the old one), and the variance that is kept is the unbiased
one (in Keras 3 the biased one). With momentum None they are plain averages over the batches so far, whatever the size
of each batch; what they were before the first is forgotten.

Numbers: statistics, sums and products run in float32 at least, and the result has the dtype of x. x has the dtype of the
parameters, or is float16 or bfloat16 beside float32 parameters. Parameters and buffers keep their own dtype. In float16
and bfloat16, values up to 1e4 and down to 1e-4 give results as accurate as those around 1; in float32 a mean of 1e4
times the deviation hides nothing. eps may be 0; then no channel is constant. No argument is modified.

Rules: the ready-made norms are forbidden (F.batch_norm and nn.BatchNorm2d with their relatives, and the layer, group and
instance norms, which can be bent to it). So are torch.autograd and torch.func. BatchNorm is differentiable by the operators
that it uses, in training mode through the batch's mean and variance as well; batch_norm_backward is a formula, and works under
torch.inference_mode().

Stage 1: vectors, in training and in evaluation.  Stage 2: images, momentum None and other values, the state dict, one
value a channel, wrong arguments.  Stage 3: gradients of the layer, every floating dtype, large and small numbers, large
means.  Stage 4: the backward pass by hand; no loop, few passes over x, and a small graph.

Source: Ioffe and Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift"
(2015).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

# kata: begin


def _wide(x: Tensor) -> Tensor:
    """x in float32 or better."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _along(vector: Tensor, x: Tensor) -> Tensor:
    """A number for each channel as [features, 1, ...], which broadcasts against x."""
    return vector.view(-1, *[1] * (x.ndim - 2))


def _check(x: Tensor, num_features: int) -> None:
    """Raises ValueError if x is not [batch, num_features, *spatial]."""
    if x.ndim < 2 or x.shape[1] != num_features:
        raise ValueError(f"x must be [batch, {num_features}, *spatial], got {list(x.shape)}")


def _moments(x: Tensor) -> tuple[Tensor, Tensor, int, list[int]]:
    """Mean and biased variance of each channel, the number of values in each, and the dimensions that they run over."""
    dims = [dim for dim in range(x.ndim) if dim != 1]
    n = x.numel() // x.shape[1]
    if n < 2:
        raise ValueError(f"training needs 2 values or more a channel, got {list(x.shape)}: one has no variance")
    var, mean = torch.var_mean(x, dims, correction=0)
    return mean, var, n, dims


# kata: end


class BatchNorm(nn.Module):
    """BatchNorm of [batch, features, *spatial].

    Parameters: `weight` (ones) and `bias` (zeros), [num_features]. Buffers, all in the state dict: `running_mean` (zeros)
    and `running_var` (ones), [num_features], and `num_batches_tracked` (0, an int64 scalar), the number of batches in
    training mode, whatever momentum is. The floating ones are float32 until the module is converted. The state dict has
    these five entries and no others.
    """

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1) -> None:
        """Raises ValueError if num_features < 1, or eps is negative, or momentum lies outside [0, 1], or one is NaN."""
        # kata: begin
        super().__init__()
        if num_features < 1:
            raise ValueError(f"num_features must be at least 1, got {num_features}")
        if not eps >= 0:
            raise ValueError(f"eps must be at least 0, got {eps}")
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"momentum must be None or lie in [0, 1], got {momentum}")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        # kata: end

    def forward(self, x: Float[Tensor, "batch features *spatial"]) -> Float[Tensor, "batch features *spatial"]:
        """The normalised x, in its dtype; in training mode the buffers are updated, in evaluation mode nothing is.

        The buffers carry no graph. The number of operators does not depend on the size of x, and no new tensor has more
        elements than x. In float32 a pass in training mode moves (reads and writes) at most 16 times the bytes of x, one
        in evaluation mode 10 times. Beside the result, the graph of a pass in training mode keeps at most one new tensor
        of the size of x alive.
        Raises ValueError if x has fewer than 2 dimensions or other than num_features channels, and in training mode if a
        channel has fewer than 2 values (no variance); then the buffers stay as they are.
        """
        # kata: begin
        _check(x, self.num_features)
        wide = _wide(x)
        if self.training:
            mean, var, n, _ = _moments(wide)
            self._update(mean.detach(), var.detach() * n / (n - 1))
        else:
            mean, var = self.running_mean, self.running_var
        # One factor for each channel: the graph keeps x - mean, and not the normalised x as well.
        scale = self.weight * torch.rsqrt(_wide(var) + self.eps)
        return ((wide - _along(mean, x)) * _along(scale, x) + _along(self.bias, x)).to(x.dtype)
        # kata: end

    # kata: begin
    def _update(self, mean: Tensor, unbiased_var: Tensor) -> None:
        """Moves the running statistics towards those of a batch."""
        self.num_batches_tracked += 1
        share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_(unbiased_var.to(self.running_var.dtype), share)

    # kata: end


def batch_norm_backward(
    grad: Float[Tensor, "batch features *spatial"],
    x: Float[Tensor, "batch features *spatial"],
    weight: Float[Tensor, "features"],
    eps: float = 1e-5,
) -> tuple[Float[Tensor, "batch features *spatial"], Float[Tensor, "features"], Float[Tensor, "features"]]:
    """(grad_x, grad_weight, grad_bias) of BatchNorm in training mode, where grad is the gradient of its result.

    grad_x has the dtype of x, the others that of the weight. The number of operators does not depend on the size of x,
    and no new tensor has more elements than x.
    Raises ValueError if eps is negative or NaN, if x has fewer than 2 dimensions, if grad has another shape than x, if weight is
    not [features], or if a channel has fewer than 2 values.
    """
    # kata: begin
    if not eps >= 0:
        raise ValueError(f"eps must be at least 0, got {eps}")
    if weight.ndim != 1 or grad.shape != x.shape:
        raise ValueError(f"weight must be [features] and grad like x, got {list(weight.shape)} and {list(grad.shape)}")
    _check(x, len(weight))
    wide, grad = _wide(x), _wide(grad)
    mean, var, n, dims = _moments(wide)
    scale = torch.rsqrt(var + eps)
    normed = (wide - _along(mean, x)) * _along(scale, x)
    grad_weight, grad_bias = (grad * normed).sum(dims), grad.sum(dims)
    # x moves its own y, the mean and the variance. The last two take out of grad its mean and its part along normed.
    through = grad - _along(grad_bias / n, x) - normed * _along(grad_weight / n, x)
    grad_x = _along(scale * weight, x) * through
    return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)
    # kata: end
