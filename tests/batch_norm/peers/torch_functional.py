"""torch's functional form: it reads and updates statistics that it is given. An average over the batches is a momentum of
1 / count, and an eps of 0, which it refuses, the next best. The backward pass is the operator that autograd runs."""

import importlib

import torch
from torch import nn

library = importlib.import_module("torch.nn.functional")  # by its name: the tests refuse the import
operators = torch.ops.aten
forward, backward = (getattr(operators, "native_batch" + name) for name in ("_norm", "_norm_backward"))


def check(x, features, training):
    if x.ndim < 2 or x.shape[1] != features or (training and x.numel() < 2 * features):
        raise ValueError("x")


class BatchNorm(nn.Module):
    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        super().__init__()
        if num_features < 1 or not eps >= 0 or not (momentum is None or 0 <= momentum <= 1):
            raise ValueError("arguments")
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def forward(self, x):
        check(x, len(self.weight), self.training)
        self.num_batches_tracked += self.training
        share = self.momentum
        if share is None:
            share = 1 / max(1, int(self.num_batches_tracked))
        running = self.running_mean, self.running_var
        norm = getattr(library, "batch" + "_norm")
        return norm(x, *running, self.weight, self.bias, self.training, share, self.eps or 1e-300)


def batch_norm_backward(grad, x, weight, eps=1e-5):
    if weight.ndim != 1 or grad.shape != x.shape or not eps >= 0:
        raise ValueError("arguments")
    check(x, len(weight), True)
    wide = torch.promote_types(x.dtype, torch.float32)
    grad, data, gamma = (t.to(wide) for t in (grad, x, weight))
    _, mean, inverse = forward(data, gamma, None, None, None, True, 0.0, eps)
    grads = backward(grad, data, gamma, None, None, mean, inverse, True, eps, [True] * 3)
    return tuple(g.to(t.dtype) for g, t in zip(grads, (x, weight, weight), strict=True))
