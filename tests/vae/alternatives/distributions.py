"""torch.distributions: two normal distributions, their divergence and their density; rsample where no generator is given."""

import torch
from torch.distributions import Independent, Normal, kl_divergence


def normal(mean, scale):
    """A distribution over everything but the batch."""
    return Independent(Normal(mean, scale, validate_args=False), mean.dim() - 1)


def single(x):
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def check(one, other):
    if one.size() != other.size():
        raise ValueError("sizes differ")


def reparameterize(mean, logvar, *, generator=None):
    check(mean, logvar)
    if generator is None:
        return normal(mean, torch.exp(0.5 * logvar)).rsample()
    return torch.addcmul(mean, torch.exp(0.5 * logvar), torch.empty_like(mean).normal_(generator=generator))


def kl_to_standard_normal(mean, logvar):
    check(mean, logvar)
    mean, logvar = single(mean), single(logvar)
    prior = normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(normal(mean, torch.exp(0.5 * logvar)), prior)


def gaussian_nll(x, reconstruction, noise_std=1.0):
    check(x, reconstruction)
    if noise_std != noise_std or noise_std <= 0.0 or noise_std == float("inf"):
        raise ValueError("noise_std")
    x, reconstruction = single(x), single(reconstruction)
    return -normal(reconstruction, torch.full_like(reconstruction, noise_std)).log_prob(x)


def negative_elbo(x, reconstruction, mean, logvar, *, noise_std=1.0, beta=1.0):
    if beta != beta or beta < 0 or beta == float("inf") or x.shape[0] != mean.shape[0]:
        raise ValueError("beta or batch")
    return (gaussian_nll(x, reconstruction, noise_std) + beta * kl_to_standard_normal(mean, logvar)).mean(0)
