"""Everything as a matrix of rows, [n, features]: the channel goes last, and back again. A scale and a shift for each channel."""

import torch
from torch import nn


def rows_of(x):
    return x.movedim(1, -1).reshape(-1, x.shape[1]).to(torch.promote_types(x.dtype, torch.float32))


def back(rows, x):
    return rows.unflatten(0, (x.shape[0], *x.shape[2:])).movedim(-1, 1).to(x.dtype)


def refuse(wrong, words):
    if wrong:
        raise ValueError(words)


class BatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        refuse(num_features < 1 or not eps >= 0, "num_features or eps")
        refuse(not (momentum is None or 0 <= momentum <= 1), "momentum")
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = (nn.Parameter(torch.full((num_features,), v)) for v in (1.0, 0.0))
        for name, value in (("running_mean", 0.0), ("running_var", 1.0)):
            self.register_buffer(name, torch.full((num_features,), value))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.int64))

    def forward(self, x):
        refuse(x.ndim < 2 or x.shape[1] != len(self.weight), "shape")
        rows = rows_of(x)
        if not self.training:
            scale = self.weight / (self.running_var.to(rows.dtype) + self.eps).sqrt()
            return back((rows - self.running_mean) * scale + self.bias, x)
        refuse(len(rows) < 2, "one value")
        var, mean = rows.var(0, correction=1), rows.mean(0)
        self.num_batches_tracked.add_(1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        for old, new in ((self.running_mean, mean), (self.running_var, var)):
            old.mul_(1 - share).add_(new.detach().to(old.dtype), alpha=share)
        scale = self.weight * (var * (len(rows) - 1) / len(rows) + self.eps).pow(-0.5)
        return back(rows * scale + (self.bias - mean * scale), x)


def batch_norm_backward(grad, x, weight, eps=1e-5):
    refuse(x.ndim < 2 or weight.shape != x.shape[1:2] or grad.shape != x.shape or not eps >= 0, "arguments")
    refuse(x.numel() < 2 * x.shape[1], "one value")
    rows, dy = rows_of(x), rows_of(grad)
    std = (rows.var(0, correction=0) + eps).sqrt()
    normed = (rows - rows.mean(0)) / std
    dgamma, dbeta = (normed * dy).sum(0), dy.sum(0)
    dx = weight / (len(rows) * std) * (len(rows) * dy - dbeta - normed * dgamma)
    return back(dx, x), dgamma.to(weight.dtype), dbeta.to(weight.dtype)
