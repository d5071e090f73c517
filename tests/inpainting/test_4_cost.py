"""Stage 4. Cost."""

import torch

from dojo.testing import expect, expect_equal, randn
from katas.inpainting import inpaint

from .helpers import no_noise, recording, some_mask


def test_inpainting_does_little_beside_calling_the_model(rng, cost):
    """One call a timestep with the whole batch, as for an ordinary sample; around it at most 200 operators."""
    model, calls = recording(no_noise)
    abar = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    with cost() as spent:
        inpaint(model, randn(rng, 8, 3, 6), some_mask(rng, 8, 1, 6), list(range(900, -1, -100)), abar)
    expect_equal([list(x.shape) for x, _ in calls], [[8, 3, 6]] * 10, what="the shapes that eps_model is given")
    per_step = spent.operators / 10
    sentence = f"inpaint should take at most 200 operators a timestep for 8 pictures, but took {per_step:.0f}"
    expect(per_step <= 200, sentence, hint="work on the whole batch at once, with one mask made before the loop")
