"""Everything in float64, narrowed at the end. The KL as a cross-entropy minus an entropy; the noise from two uniform numbers
(Box and Muller); sums as dot products with ones; the loss as one sum over the batch that is divided."""

import math

import torch

LOG_2_PI = math.log(math.tau)


def narrowed(x, like):
    return x.to(torch.float64 if like.dtype is torch.float64 else torch.float32)


def rows(x):
    return x.double().reshape(x.shape[0], -1)


def totals(table):
    return table @ torch.ones(table.shape[1], dtype=table.dtype, device=table.device)


def equal(a, b):
    if list(a.shape) != list(b.shape):
        raise ValueError(f"{list(a.shape)} is not {list(b.shape)}")


def reparameterize(mean, logvar, *, generator=None):
    equal(mean, logvar)
    u, v = torch.rand((2, *mean.shape), generator=generator, dtype=torch.float64, device=mean.device)
    noise = torch.sqrt(-2 * torch.log1p(-u)) * torch.cos(math.tau * v)
    return (mean.double() + torch.pow(math.e, logvar.double() / 2) * noise).to(mean.dtype)


def _kl(mean, logvar):
    equal(mean, logvar)
    m, v = rows(mean), rows(logvar)
    cross_entropy = totals(LOG_2_PI + m**2 + v.exp()) / 2
    entropy = totals(LOG_2_PI + 1 + v) / 2
    return cross_entropy - entropy


def _nll(x, reconstruction, noise_std):
    equal(x, reconstruction)
    if not (noise_std > 0 and math.isfinite(noise_std)):
        raise ValueError("noise_std")
    errors = rows(x) - rows(reconstruction)
    return torch.einsum("bi,bi->b", errors, errors) / (2 * noise_std**2) + errors.shape[1] * math.log(
        noise_std * math.sqrt(math.tau)
    )


def kl_to_standard_normal(mean, logvar):
    return narrowed(_kl(mean, logvar), mean)


def gaussian_nll(x, reconstruction, noise_std=1.0):
    return narrowed(_nll(x, reconstruction, noise_std), x)


def negative_elbo(x, reconstruction, mean, logvar, *, noise_std=1.0, beta=1.0):
    if not (beta >= 0 and math.isfinite(beta)):
        raise ValueError("beta")
    batch = x.shape[0]
    if mean.shape[0] != batch:
        raise ValueError("batch")
    total = _nll(x, reconstruction, noise_std).sum() + beta * _kl(mean, logvar).sum()
    return narrowed(total / batch, x)
