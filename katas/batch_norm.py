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
        raise NotImplementedError("batch_norm.BatchNorm.__init__: write me")

    def forward(self, x: Float[Tensor, "batch features *spatial"]) -> Float[Tensor, "batch features *spatial"]:
        """The normalised x, in its dtype; in training mode the buffers are updated, in evaluation mode nothing is.

        The buffers carry no graph. The number of operators does not depend on the size of x, and no new tensor has more
        elements than x. In float32 a pass in training mode moves (reads and writes) at most 16 times the bytes of x, one
        in evaluation mode 10 times. Beside the result, the graph of a pass in training mode keeps at most one new tensor
        of the size of x alive.
        Raises ValueError if x has fewer than 2 dimensions or other than num_features channels, and in training mode if a
        channel has fewer than 2 values (no variance); then the buffers stay as they are.
        """
        raise NotImplementedError("batch_norm.BatchNorm.forward: write me")


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
    raise NotImplementedError("batch_norm.batch_norm_backward: write me")
