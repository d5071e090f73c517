"""Gradients by hand, in autograd functions; the noise is the quantile of a uniform number; no widening but inside."""

import math

import torch
from torch.autograd import Function


def wide(*tensors):
    return [each if each.dtype == torch.float64 else each.to(torch.float32) for each in tensors]


def per_row(row, like):
    return row.view(-1, *[1] * (like.dim() - 1))


def other_axes(x):
    return list(range(1, x.dim()))


class Sample(Function):
    @staticmethod
    def forward(ctx, mean, logvar, noise):
        step = torch.exp(logvar.to(noise.dtype) * 0.5) * noise
        ctx.save_for_backward(step)
        return (mean.to(noise.dtype) + step).to(mean.dtype)

    @staticmethod
    def backward(ctx, grad):
        (step,) = ctx.saved_tensors
        return grad, (grad * step / 2).to(grad.dtype), None


class KL(Function):
    @staticmethod
    def forward(ctx, mean, logvar):
        ctx.save_for_backward(mean, logvar)
        m, v = wide(mean, logvar)
        return 0.5 * torch.sum(torch.square(m) - v + torch.expm1(v), other_axes(m))

    @staticmethod
    def backward(ctx, grad):
        m, v = ctx.saved_tensors
        grad = per_row(grad, m)
        return (grad * wide(m)[0]).to(m.dtype), (0.5 * grad * torch.expm1(*wide(v))).to(v.dtype)


class NLL(Function):
    @staticmethod
    def forward(ctx, x, r, std):
        a, b = wide(x, r)
        z = (a - b) / std
        ctx.save_for_backward(z)
        ctx.std, ctx.dtype = std, x.dtype
        return torch.sum(0.5 * z * z + math.log(std) + 0.5 * math.log(2 * math.pi), other_axes(z))

    @staticmethod
    def backward(ctx, grad):
        (z,) = ctx.saved_tensors
        slope = per_row(grad, z) * z / ctx.std
        return slope.to(ctx.dtype), (-slope).to(ctx.dtype), None


def reparameterize(mean, logvar, *, generator=None):
    if mean.shape != logvar.shape:
        raise ValueError("shapes")
    u = torch.empty_like(wide(mean)[0], requires_grad=False).uniform_(generator=generator)
    noise = math.sqrt(2) * torch.erfinv(2 * u.double() - 1 + 2**-26)  # never at -1
    return Sample.apply(mean, logvar, noise.to(u.dtype))


def kl_to_standard_normal(mean, logvar):
    if mean.shape != logvar.shape:
        raise ValueError("shapes")
    return KL.apply(mean, logvar)


def gaussian_nll(x, reconstruction, noise_std=1.0):
    if x.shape != reconstruction.shape or not math.isfinite(noise_std) or noise_std <= 0:
        raise ValueError("shapes or noise_std")
    return NLL.apply(x, reconstruction, float(noise_std))


def negative_elbo(x, reconstruction, mean, logvar, *, noise_std=1.0, beta=1.0):
    if not math.isfinite(beta) or beta < 0 or len(x) - len(mean):
        raise ValueError("beta or batch")
    terms = torch.stack([gaussian_nll(x, reconstruction, noise_std), kl_to_standard_normal(mean, logvar)])
    return terms[0].mean() + float(beta) * terms[1].mean()
