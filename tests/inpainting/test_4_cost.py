"""Stage 4. Cost."""

from dojo.testing import expect_equal, expect_operators, randn
from dojo.testing.diffusion import FINE, no_noise, recording
from katas.inpainting import inpaint

from .helpers import some_mask


def test_inpainting_does_little_beside_calling_the_model(rng, cost):
    """One call a timestep with the whole batch, as for an ordinary sample; around it at most 200 operators."""
    model, calls = recording(no_noise)
    with cost() as spent:
        inpaint(model, randn(rng, 8, 3, 6), some_mask(rng, 8, 1, 6), list(range(900, -1, -100)), FINE)
    expect_equal([list(x.shape) for x, _ in calls], [[8, 3, 6]] * 10, what="the shapes that eps_model is given")
    hint = "work on the whole batch at once, with one mask made before the loop"
    expect_operators(spent, 200 * 10, what="inpaint of 8 pictures in 10 steps", hint=hint, least=4 * 10)
