"""What any right DDPM does. Noise is never compared under a fixed seed, except to cancel it: see `mean_of_step`."""

import torch

from dojo.testing import expect, seeded
from katas.ddpm import p_sample

# Two steps with round numbers: abar = [0.64, 0.36], so sqrt(abar) = [0.8, 0.6] and sqrt(1 - abar) = [0.6, 0.8].
BETAS = torch.tensor([0.36, 0.4375], dtype=torch.float64)
ABAR = torch.tensor([0.64, 0.36], dtype=torch.float64)
BOTH = torch.tensor([0, 1])

MANY = (40, 100)  # for statistics


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


def schedule(steps, start=0.01, end=0.4, dtype=torch.float64):
    betas = torch.linspace(start, end, steps, dtype=torch.float64)
    return betas.to(dtype), (1 - betas).cumprod(0).to(dtype)


def says(eps):
    """A model that predicts `eps` whatever it is shown."""
    return lambda x, t: eps


def no_noise(x, t):
    return torch.zeros_like(x)


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def mean_of_step(eps, x_t, t, betas, **options):
    """p_sample without its noise: the mean is linear, so a step from zeros with the same seed is the noise alone."""

    def step(eps, x_t):
        torch.manual_seed(7)
        return p_sample(says(eps), x_t, t, betas, generator=seeded(7), **options)

    return step(eps, x_t) - step(torch.zeros_like(eps), torch.zeros_like(x_t))


def expect_normal(draws, mean, std, *, what, hint):
    """Mean and standard deviation lie within 5.7 standard errors of theirs: a false alarm of 5e-8 at most for each."""
    got_mean, got_std, n = draws.mean().item(), draws.std().item(), draws.numel()
    sentence = f"{what} should have mean {mean:.4f}, but have {got_mean:.4f}"
    expect(abs(got_mean - mean) <= 5.7 * std / n**0.5, sentence, hint=hint)
    sentence = f"{what} should have standard deviation {std:.4f}, but have {got_std:.4f}"
    expect(abs(got_std / std - 1) <= 5.7 / (2 * n) ** 0.5, sentence, hint=hint)
