"""Sums by einsum over [batch, features, positions], and the projection that takes mean and x-hat out of the gradient."""

import torch
from torch import nn


def flat(x):
    """[batch, features, positions] in float32 or better."""
    if x.dim() < 2:
        raise ValueError("x has no channels")
    return x.reshape(x.shape[0], x.shape[1], x[0, 0].numel() if x.shape[0] else 1).type(
        torch.promote_types(x.dtype, torch.float32)
    )


def centre(t):
    n = t.shape[0] * t.shape[2]
    if n < 2:
        raise ValueError("no variance")
    mean = torch.einsum("bcp->c", t) / n
    centred = t - mean[:, None]
    return mean, centred, torch.einsum("bcp->c", centred.square()) / n, n


class BatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        shares = [] if momentum is None else [momentum, 1 - momentum]
        if num_features < 1 or not all(v >= 0 for v in [eps, *shares]):
            raise ValueError("arguments")
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.eps, self.share = eps, (lambda count: 1 / count) if momentum is None else (lambda count: momentum)
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0, dtype=torch.int64))

    def forward(self, x):
        if x.dim() < 2 or x.size(1) != len(self.weight):
            raise ValueError("channels")
        if not self.training:
            t = x.movedim(1, -1).type(torch.promote_types(x.dtype, torch.float32)) - self.running_mean
            scale = (self.running_var.type(t.dtype) + self.eps).rsqrt() * self.weight
            return (t * scale + self.bias).type(x.dtype).movedim(-1, 1)
        mean, centred, var, n = centre(flat(x))
        self.num_batches_tracked.add_(1)
        share = self.share(self.num_batches_tracked.item())
        for buffer, new in ((self.running_mean, mean), (self.running_var, var * n / (n - 1))):
            buffer.data = torch.lerp(buffer, new.detach().type(buffer.dtype), share)
        factor = self.weight * (var + self.eps).rsqrt()
        return (centred * factor[:, None] + self.bias[:, None]).type(x.dtype).reshape(x.shape)


def batch_norm_backward(grad, x, weight, eps=1e-5):
    if not eps >= 0 or grad.shape != x.shape or weight.shape != x.shape[1:2]:
        raise ValueError("arguments")
    _, centred, var, n = centre(flat(x))
    g = flat(grad)
    along = torch.einsum("bcp,bcp->c", g, centred)
    total = torch.einsum("bcp->c", g)
    root = (var + eps).sqrt()
    out = (g - (total / n)[:, None] - centred * (along / (n * (var + eps)))[:, None]) * (weight / root)[:, None]
    return out.reshape(x.shape).type(x.dtype), (along / root).type(weight.dtype), total.type(weight.dtype)
