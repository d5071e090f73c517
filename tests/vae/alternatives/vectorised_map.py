"""Written for one element, and mapped over the batch by torch.func.vmap. sinh for the exponential minus one."""

import math

import torch
from torch.func import vmap


def one_kl(mean, logvar):
    half = logvar / 2
    # e^v - 1 = 2 e^(v/2) sinh(v/2)
    return torch.dot(mean, mean) / 2 + (half.exp() * half.sinh() - half).sum()


def promoted(*tensors):
    return [each.to(torch.promote_types(torch.float32, each.dtype)).flatten(1) for each in tensors]


def same(one, other):
    if one.shape != other.shape:
        raise ValueError("one shape for both")


def reparameterize(mean, logvar, *, generator=None):
    same(mean, logvar)
    noise = torch.normal(0.0, 1.0, tuple(mean.shape), generator=generator, dtype=mean.dtype, device=mean.device)
    return vmap(lambda m, v, e: torch.lerp(m, m + torch.exp(v.div(2)) * e, 1.0))(mean, logvar, noise)


def kl_to_standard_normal(mean, logvar):
    same(mean, logvar)
    return vmap(one_kl)(*promoted(mean, logvar))


def gaussian_nll(x, reconstruction, noise_std=1.0):
    same(x, reconstruction)
    if not 0.0 < noise_std < float("inf"):
        raise ValueError("noise_std must be positive")
    precision = noise_std**-2

    def one(x, r):
        error = x - r
        return (precision * torch.dot(error, error) + len(x) * math.log(math.tau / precision)) / 2

    return vmap(one)(*promoted(x, reconstruction))


def negative_elbo(x, reconstruction, mean, logvar, *, noise_std=1.0, beta=1.0):
    if not 0.0 <= beta < float("inf"):
        raise ValueError("beta must not be negative")
    if x.size(0) != mean.size(0):
        raise ValueError("as many latents as images")
    each = gaussian_nll(x, reconstruction, noise_std), kl_to_standard_normal(mean, logvar)
    return torch.stack([each[0], beta * each[1]]).sum(0).mean()
