"""The norms as small modules, in the form that model code has them; the mean is taken out by a projection."""

import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self, weight, eps, bias=None, centre=False):
        super().__init__()
        if not eps >= 0:
            raise ValueError("eps")
        self.weight, self.bias, self.eps, self.centre = weight, bias, eps, centre

    def start(self, x):
        for vector in (self.weight, self.bias):
            if vector is not None and (vector.ndim != 1 or len(vector) != x.shape[-1]):
                raise ValueError("the parameters do not fit the rows")
        self.dtype = torch.promote_types(x.dtype, torch.float32)
        x = x.to(self.dtype)
        self.r = 1.0
        x = self.project(x)
        self.r = x.square().mean(-1, keepdim=True).add(self.eps).pow(-0.5)
        return x * self.r

    def project(self, t):
        return t - t.mean(-1, keepdim=True) if self.centre else t

    def forward(self, x):
        y = self.start(x) * self.weight
        return (y if self.bias is None else y + self.bias).to(x.dtype)

    def gradients(self, grad, x):
        normed, grad = self.start(x), grad.to(self.dtype)
        inner = self.project(grad * self.weight)
        grad_x = (inner - normed * torch.mean(inner * normed, -1, True)) * self.r
        grad_weight = torch.sum((grad * normed).view(-1, x.shape[-1]), 0)
        grad_bias = torch.sum(grad.reshape(-1, x.shape[-1]), 0)
        return grad_x.to(x.dtype), grad_weight.to(self.weight.dtype), grad_bias.to(self.weight.dtype)


def rms_norm(x, weight, eps=1e-6):
    return Norm(weight, eps)(x)


def layer_norm(x, weight, bias, eps=1e-5):
    return Norm(weight, eps, bias, centre=True)(x)


def add_rms_norm(x, residual, weight, eps=1e-6):
    return Norm(weight, eps)(x + residual), x + residual


def rms_norm_backward(grad, x, weight, eps=1e-6):
    return Norm(weight, eps).gradients(grad, x)[:2]


def layer_norm_backward(grad, x, weight, eps=1e-5):
    return Norm(weight, eps, centre=True).gradients(grad, x)
