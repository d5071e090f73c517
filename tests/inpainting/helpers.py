"""What any right inpainting does, whether it puts the known region back before each step or after it, with fresh noise or
always the same. The noise cancels between equally seeded runs, or is measured."""

import torch

from dojo.testing import expect_equal, randint, seeded
from katas.inpainting import inpaint

SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
GRID = [5, 4, 2, 1]
HALF = torch.tensor([0, 1] * 100)  # every other number is known


def column(values, x):
    """[batch] numbers that multiply [batch, ...] images."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def some_mask(rng, *shape):
    """0 or 1, at random, with both at the corners."""
    mask = randint(rng, 0, 2, *shape)
    mask.view(-1)[0], mask.view(-1)[-1] = 0, 1
    return mask


def no_noise(x, t):
    return torch.zeros_like(x)


def knows(x0, abar=SIX):
    """The exact noise prediction for data that are always x0."""

    def model(x, t):
        a = column(abar[t], x)
        return ((x - a.sqrt() * x0) / (1 - a).sqrt()).to(x.dtype)

    return model


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def shown(x0, mask, timesteps=GRID, eps_model=no_noise):
    """Every x that the model is shown, [calls, *x0.shape]. Equal noise in every run."""
    model, calls = recording(eps_model)
    inpaint(model, x0, mask, timesteps, SIX, generator=seeded(0))
    expect_equal(len(calls), len(timesteps), what=f"the number of model calls over timesteps {timesteps}")
    return torch.stack([x for x, _ in calls])
