"""torch.var and a table of settings; the backward pass as the paper has it, path by path."""

import torch
from torch import nn


def channels(vector, x):
    return vector[(None, slice(None)) + (None,) * (x.ndim - 2)]


def others(x):
    return tuple(set(range(x.ndim)) - {1})


def check(x, weight):
    if x.ndim < 2 or list(weight.shape) != [x.shape[1]]:
        raise ValueError(f"{list(x.shape)} does not fit {list(weight.shape)}")


def check_count(x):
    n = x.numel() // x.shape[1]
    if n < 2:
        raise ValueError(f"{n} values in a channel")
    return n


class BatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        if not (num_features >= 1 and eps >= 0 and (momentum is None or 0.0 <= momentum <= 1.0)):
            raise ValueError(f"{num_features=}, {eps=}, {momentum=}")
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.empty(num_features))
        self.bias = nn.Parameter(torch.empty(num_features))
        self.register_buffer("running_mean", torch.empty(num_features))
        self.register_buffer("running_var", torch.empty(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        for tensor, value in ((self.weight, 1), (self.bias, 0), (self.running_mean, 0), (self.running_var, 1)):
            nn.init.constant_(tensor, value)

    def forward(self, x):
        check(x, self.weight)
        return self.normalise(x, *(self.measure(x) if self.training else (self.running_mean, self.running_var)))

    def measure(self, x):
        n = check_count(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean, unbiased = wide.mean(others(x)), wide.var(others(x), unbiased=True)
        with torch.no_grad():
            self.num_batches_tracked += 1
            new = 1 / self.num_batches_tracked.double().item() if self.momentum is None else self.momentum
            for name, value in (("running_mean", mean), ("running_var", unbiased)):
                old = getattr(self, name)
                setattr(self, name, old + (value.to(old.dtype) - old) * new if new != 1 else value.to(old.dtype))
        return mean, unbiased - unbiased / n

    def normalise(self, x, mean, var):
        work = torch.promote_types(x.dtype, torch.float32)
        scale = torch.exp(-0.5 * torch.log(var.to(work) + self.eps)) * self.weight.to(work)
        centred = torch.sub(x.to(work), channels(mean.to(work), x))
        return centred.mul(channels(scale, x)).add(channels(self.bias.to(work), x)).to(x.dtype)


def batch_norm_backward(grad, x, weight, eps=1e-5):
    if not eps >= 0 or grad.shape != x.shape:
        raise ValueError("eps, or the shape of grad")
    check(x, weight)
    n, dims = check_count(x), others(x)
    work = torch.promote_types(x.dtype, torch.float32)
    dy, x_wide, gamma = grad.to(work), x.to(work), channels(weight.to(work), x)
    mean = x_wide.mean(dims, True)
    centred = x_wide - mean
    inverse = (centred.pow(2).mean(dims, True) + eps) ** -0.5
    dnormed = dy * gamma
    dvar = (dnormed * centred * inverse).sum(dims, True) * inverse * inverse / -2
    dmean = -(dnormed * inverse).sum(dims, True)
    dx = dnormed * inverse + dvar * (2 / n) * centred + dmean / n
    grads = dx.to(x.dtype), (dy * centred * inverse).sum(dims), dy.sum(dims)
    return grads[0], grads[1].to(weight.dtype), grads[2].to(weight.dtype)
