"""As tutorials write it: std = exp(0.5 logvar), -0.5 (1 + logvar - mean^2 - exp(logvar)), torch's Gaussian NLL."""

import torch
from torch.nn import functional as F


def reparameterize(mean, logvar, *, generator=None):
    if mean.shape != logvar.shape:
        raise ValueError("mean and logvar must have the same shape")
    std = torch.exp(0.5 * logvar)
    if generator is None:
        eps = torch.randn_like(std)
    else:
        eps = torch.randn(std.shape, generator=generator, device=std.device).to(std.dtype)
    return mean + eps * std


def kl_to_standard_normal(mean, logvar):
    if mean.shape != logvar.shape:
        raise ValueError("mean and logvar must have the same shape")
    if mean.dtype != torch.float64:
        mean, logvar = mean.float(), logvar.float()
    kld = -0.5 * (1 + logvar - mean.pow(2) - logvar.exp())
    return kld.sum(dim=tuple(range(1, kld.ndim)))


def gaussian_nll(x, reconstruction, noise_std=1.0):
    if x.shape != reconstruction.shape:
        raise ValueError("x and reconstruction must have the same shape")
    if not (noise_std > 0) or noise_std == float("inf"):
        raise ValueError("noise_std must be positive and finite")
    if x.dtype != torch.float64:
        x, reconstruction = x.float(), reconstruction.float()
    variance = torch.full_like(x, noise_std**2)
    nll = F.gaussian_nll_loss(reconstruction, x, variance, full=True, eps=1e-30, reduction="none")
    return nll.sum(dim=tuple(range(1, nll.ndim)))


def negative_elbo(x, reconstruction, mean, logvar, *, noise_std=1.0, beta=1.0):
    if len(x) != len(mean):
        raise ValueError("x and mean must have the same batch size")
    if not beta >= 0 or beta == float("inf"):
        raise ValueError("beta must not be negative")
    reconstruction_loss = gaussian_nll(x, reconstruction, noise_std).mean()
    kld = kl_to_standard_normal(mean, logvar).mean()
    return reconstruction_loss + beta * kld
