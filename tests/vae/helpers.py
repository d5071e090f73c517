"""Inputs, the noise in a sample, and a check that it is standard normal."""

import math

import torch

from dojo.testing import Wrong, expect_distribution, expect_equal, randn
from dojo.testing.describe import describe
from katas.vae import gaussian_nll, kl_to_standard_normal, negative_elbo, reparameterize

SIGMA = "sigma is exp(logvar / 2): a logvar is log sigma^2"
DIRECTLY = "mean + sigma * noise, with noise from torch.randn: one number for each latent, in every mode"
KL = "(mean^2 + exp(logvar) - 1 - logvar) / 2, summed over the latents of an element"
NLL = "(x - r)^2 / (2 s^2) + log(2 pi s^2) / 2, summed over the numbers of an element"
ELBO = "(gaussian_nll(x, reconstruction, noise_std) + beta * kl_to_standard_normal(mean, logvar)).mean()"
LATENTS = [(1, 4), (3, 1), (5, 5), (3, 2, 4, 5), (2, 3, 2)]
KINDS = [((3, 4), (3, 2)), ((2, 3, 4, 5), (2, 4, 2, 2)), ((4, 1, 6, 6), (4, 5)), ((3, 7), (3, 2, 2)), ((1, 2), (1, 1))]


def sample(mean, logvar, **options):
    """reparameterize, after a check that the result is a tensor of the latents' shape."""
    got = reparameterize(mean, logvar, **options)
    if not isinstance(got, torch.Tensor):
        raise Wrong(f"reparameterize should return a tensor, but returned {describe(got)}", hint=DIRECTLY)
    what = f"the shape of a sample for latents {list(mean.shape)}"
    expect_equal(list(got.shape), list(mean.shape), what=what, hint="one number for each latent")
    return got


def noise_in(mean, logvar, **options):
    """What a sample has instead of standard normal noise, in float64."""
    got = sample(mean, logvar, **options)
    return (got.double() - mean.double()) / torch.exp(0.5 * logvar.double())


def expect_standard_normal(noise, *, what, hint):
    """Chi-square over eight parts of the line that are equally likely; false alarm 1e-6."""
    parts = (8 * torch.special.ndtr(noise.nan_to_num(0.0))).long().clamp(0, 7)
    what = f"(sample - mean) / sigma of {what}, by which eighth of N(0, 1) it lies in,"
    expect_distribution(parts, torch.full((8,), 1 / 8), what=what, hint=hint)


def shared(x, latents, rng, scale=1.0):
    """x, reconstruction, mean and logvar of these shapes."""
    return [scale * randn(rng, *shape) for shape in (x, x, latents, latents)]


def kl(mean, logvar):
    """kl_to_standard_normal, after a check that there is one number for each element."""
    got = kl_to_standard_normal(mean, logvar)
    what = f"the shape of kl_to_standard_normal for latents {list(mean.shape)}"
    expect_equal(list(getattr(got, "shape", "?")), [len(mean)], what=what, hint=f"one number for each element: {KL}")
    return got


def nll(x, reconstruction, *noise_std):
    """gaussian_nll, after a check that there is one number for each element."""
    got = gaussian_nll(x, reconstruction, *noise_std)
    what = f"the shape of gaussian_nll for x {list(x.shape)}"
    expect_equal(list(getattr(got, "shape", "?")), [len(x)], what=what, hint=f"one number for each element: {NLL}")
    return got


def elbo(*given, **options):
    """negative_elbo, after a check that it is one number."""
    got = negative_elbo(*given, **options)
    expect_equal(list(getattr(got, "shape", "?")), [], what="the shape of negative_elbo", hint=f"one number: {ELBO}")
    return got


def half_log(squared):
    """log(2 pi squared) / 2, the NLL of a number that is reconstructed perfectly, at s^2 = squared."""
    return math.log(2 * math.pi * squared) / 2
