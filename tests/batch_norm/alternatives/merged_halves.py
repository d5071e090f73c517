"""The batch in two halves, whose means and sums of squares are merged (Chan's formula), as several devices would."""

import torch
from torch import nn


def parts(x, rows):
    """Count, mean and sum of squared deviations of some rows."""
    some = x[rows]
    count = some.numel() // some.shape[1]
    if count == 0:
        return 0, x.new_zeros(x.shape[1]), x.new_zeros(x.shape[1])
    var, mean = torch.var_mean(some, [0, *range(2, x.ndim)], correction=0)
    return count, mean, var * count


def spread(v, x):
    return v.reshape([-1] + [1] * (x.ndim - 2))


def statistics(x):
    half = x.shape[0] // 2
    (n1, mean1, m1), (n2, mean2, m2) = parts(x, slice(0, half)), parts(x, slice(half, None))
    n, delta = n1 + n2, mean2 - mean1
    if n < 2:
        raise ValueError("not enough values for a variance")
    return n, mean1 + delta * (n2 / n), (m1 + m2 + delta * delta * (n1 * n2 / n))


def checked(x, channels):
    if x.ndim < 2 or x.shape[1] != channels:
        raise ValueError("x")
    return x.double() if x.dtype == torch.float64 else x.float()


class BatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        if num_features < 1 or not 0 <= eps or (momentum is not None and not 0 <= momentum <= 1):
            raise ValueError("arguments")
        self.eps, self.momentum = eps, momentum
        self.register_parameter("weight", nn.Parameter(torch.ones(num_features)))
        self.register_parameter("bias", nn.Parameter(torch.zeros(num_features)))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    @torch.no_grad()
    def learn(self, mean, var):
        self.num_batches_tracked += 1
        m = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.item()
        for old, new in ((self.running_mean, mean), (self.running_var, var)):
            old.copy_(old + m * (new - old) if m < 1 else new)

    def forward(self, x):
        wide = checked(x, self.weight.numel())
        if self.training:
            n, mean, squares = statistics(wide)
            self.learn(mean, squares / (n - 1))
            var = squares / n
        else:
            mean, var = self.running_mean, self.running_var.to(wide.dtype)
        scale = self.weight.to(wide.dtype).div(torch.sqrt(var + self.eps))
        return (spread(self.bias, x) + spread(scale, x) * (wide - spread(mean, x))).to(x.dtype)


def batch_norm_backward(grad, x, weight, eps=1e-5):
    if weight.ndim != 1 or grad.shape != x.shape or not 0 <= eps:
        raise ValueError("arguments")
    wide, grad = checked(x, weight.numel()), checked(grad, weight.numel())
    n, mean, squares = statistics(wide)
    centred, dims = wide - spread(mean, x), [0, *range(2, x.ndim)]
    rstd = 1 / torch.sqrt(squares / n + eps)
    grad_bias, dot = grad.sum(dims), (grad * centred).sum(dims)
    first = grad - spread(grad_bias / n, x) - centred * spread(rstd * rstd * dot / n, x)
    grad_x = first * spread(weight * rstd, x)
    return grad_x.to(x.dtype), (dot * rstd).to(weight.dtype), grad_bias.to(weight.dtype)
