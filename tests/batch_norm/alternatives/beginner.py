"""Step by step, with shapes that are written out, assigned buffers, and the variance from its definition."""

import math

import torch
from torch import nn


def wide_dtype(x):
    return torch.float64 if x.dtype == torch.float64 else torch.float32


class BatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        if num_features <= 0:
            raise ValueError("there should be a channel")
        if math.isnan(eps) or eps < 0:
            raise ValueError("eps is negative")
        if momentum is not None and (math.isnan(momentum) or momentum < 0 or momentum > 1):
            raise ValueError("momentum lies in [0, 1]")
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.zeros((), dtype=torch.long))

    def forward(self, x):
        if x.dim() < 2:
            raise ValueError("x needs a batch and channels")
        if x.size(1) != self.num_features:
            raise ValueError("another number of channels")
        dtype, input_dtype = wide_dtype(x), x.dtype
        x = x.to(dtype)
        shape = [1, self.num_features] + [1] * (x.dim() - 2)
        if self.training:
            count = x.numel() // self.num_features
            if count <= 1:
                raise ValueError("one value has no variance")
            dims = [0, *range(2, x.dim())]
            mean = x.mean(dim=dims, keepdim=True)
            centred = x - mean
            var = (centred**2).mean(dim=dims, keepdim=True)
            with torch.no_grad():
                self.num_batches_tracked = self.num_batches_tracked + 1
                m = self.momentum
                if m is None:
                    m = 1.0 / float(self.num_batches_tracked)
                new_mean = mean.reshape(-1)
                new_var = var.reshape(-1) * count / (count - 1)
                old_mean = self.running_mean.to(dtype)
                old_var = self.running_var.to(dtype)
                self.running_mean = ((1 - m) * old_mean + m * new_mean).to(self.running_mean.dtype)
                self.running_var = ((1 - m) * old_var + m * new_var).to(self.running_var.dtype)
        else:
            centred = x - self.running_mean.view(shape)
            var = self.running_var.view(shape).to(dtype)
        factor = self.weight.view(shape) / torch.sqrt(var + self.eps)
        return (centred * factor + self.bias.view(shape)).to(input_dtype)


def batch_norm_backward(grad, x, weight, eps=1e-5):
    if math.isnan(eps) or eps < 0:
        raise ValueError("eps is negative")
    if x.dim() < 2:
        raise ValueError("x needs a batch and channels")
    if grad.shape != x.shape:
        raise ValueError("grad has another shape")
    if weight.shape != (x.size(1),):
        raise ValueError("another number of weights")
    count = x.numel() // x.size(1)
    if count <= 1:
        raise ValueError("one value has no variance")
    dtype = wide_dtype(x)
    shape = [1, x.size(1)] + [1] * (x.dim() - 2)
    dims = [0, *range(2, x.dim())]
    dy, w = grad.to(dtype), weight.to(dtype).view(shape)
    centred = x.to(dtype) - x.to(dtype).mean(dim=dims, keepdim=True)
    std = torch.sqrt((centred**2).mean(dim=dims, keepdim=True) + eps)
    normed = centred / std
    dnormed = dy * w
    mean_of_dnormed = dnormed.mean(dim=dims, keepdim=True)
    mean_of_product = (dnormed * normed).mean(dim=dims, keepdim=True)
    dx = (dnormed - mean_of_dnormed - normed * mean_of_product) / std
    dweight = (dy * normed).sum(dim=dims)
    dbias = dy.sum(dim=dims)
    return dx.to(x.dtype), dweight.to(weight.dtype), dbias.to(weight.dtype)
