"""diffusers' DiagonalGaussianDistribution, of the latents and, with a fixed logvar, of the pictures. It sums over the three
dimensions of a picture, and has no promise for narrow dtypes: it is handed rows of wide numbers."""

import math

import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution


def distribution(mean, logvar):
    if mean.shape != logvar.shape:
        raise ValueError("shapes")
    return DiagonalGaussianDistribution(torch.cat([rows(mean), rows(logvar)], 1))


def rows(x):
    """[batch, numbers, 1, 1], in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).reshape(len(x), -1, 1, 1)


def reparameterize(mean, logvar, *, generator=None):
    return distribution(mean, logvar).sample(generator).reshape(mean.shape).to(mean.dtype)


def kl_to_standard_normal(mean, logvar):
    return distribution(mean, logvar).kl()


def gaussian_nll(x, reconstruction, noise_std=1.0):
    if not 0 < noise_std < math.inf:
        raise ValueError("noise_std")
    if x.shape != reconstruction.shape:
        raise ValueError("shapes")
    mean = rows(reconstruction)
    return distribution(mean, torch.full_like(mean, 2 * math.log(noise_std))).nll(rows(x))


def negative_elbo(x, reconstruction, mean, logvar, *, noise_std=1.0, beta=1.0):
    if len(x) != len(mean) or not 0 <= beta < math.inf:
        raise ValueError("batch or beta")
    return (gaussian_nll(x, reconstruction, noise_std) + beta * kl_to_standard_normal(mean, logvar)).mean()
