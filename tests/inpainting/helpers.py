"""What any right inpainting does, whether it puts the known region back before each step or after it, with fresh noise or
always the same. The noise cancels between equally seeded runs, or is measured."""

import torch

from dojo.testing import expect_equal, randint, seeded
from dojo.testing.diffusion import SIX, no_noise, recording
from katas.inpainting import inpaint

GRID = [5, 4, 2, 1]
HALF = torch.tensor([0, 1] * 100)  # every other number is known


def some_mask(rng, *shape):
    """0 or 1, at random, with both at the corners."""
    mask = randint(rng, 0, 2, *shape)
    mask.view(-1)[0], mask.view(-1)[-1] = 0, 1
    return mask


def shown(x0, mask, timesteps=GRID, eps_model=no_noise):
    """Every x that the model is shown, [calls, *x0.shape]. Equal noise in every run."""
    model, calls = recording(eps_model)
    inpaint(model, x0, mask, timesteps, SIX, generator=seeded(0))
    expect_equal(len(calls), len(timesteps), what=f"the number of model calls over timesteps {timesteps}")
    return torch.stack([x for x, _ in calls])
