"""What any right DDPM does. Noise is never compared under a fixed seed, except to cancel it: see `mean_of_step`."""

import torch

from dojo.testing import seeded
from katas.ddpm import p_sample

# Two steps with round numbers: abar = [0.64, 0.36], so sqrt(abar) = [0.8, 0.6] and sqrt(1 - abar) = [0.6, 0.8].
BETAS = torch.tensor([0.36, 0.4375], dtype=torch.float64)
ABAR = torch.tensor([0.64, 0.36], dtype=torch.float64)
BOTH = torch.tensor([0, 1])

MANY = (40, 100)  # for statistics


def schedule(steps, start=0.01, end=0.4, dtype=torch.float64):
    betas = torch.linspace(start, end, steps, dtype=torch.float64)
    return betas.to(dtype), (1 - betas).cumprod(0).to(dtype)


def says(eps):
    """A model that predicts `eps` whatever it is shown."""
    return lambda x, t: eps


def mean_of_step(eps, x_t, t, betas, **options):
    """p_sample without its noise: the mean is linear, so a step from zeros with the same seed is the noise alone."""

    def step(eps, x_t):
        torch.manual_seed(7)
        return p_sample(says(eps), x_t, t, betas, generator=seeded(7), **options)

    return step(eps, x_t) - step(torch.zeros_like(eps), torch.zeros_like(x_t))
