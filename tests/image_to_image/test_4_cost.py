"""Stage 4. Cost."""

import pytest
import torch

from dojo.testing import expect_equal, expect_operators
from dojo.testing.diffusion import FINE, no_noise, recording
from katas.image_to_image import image_to_image


@pytest.mark.parametrize(("strength", "run"), [(1.0, 20), (0.3, 6), (0.05, 1)])
def test_work_is_in_proportion_to_the_steps_that_are_run(cost, strength, run):
    """One model call with the whole batch for each step that is run; around it at most 200 operators for 8 pictures.
    Steps that are skipped cost nothing: strength 0.3 takes a third of the time."""
    model, calls = recording(no_noise)
    with cost() as spent:
        image_to_image(model, torch.ones(8, 3), strength, list(range(950, -1, -50)), FINE)
    shapes = [list(x.shape) for x, _ in calls]
    expect_equal(shapes, [[8, 3]] * run, what=f"the shapes that eps_model is given at strength={strength}")
    hint = "work on the whole batch at once, and only on the steps that are run"
    expect_operators(spent, 200 * run, what=f"image_to_image in {run} steps", hint=hint, least=4 * run)
