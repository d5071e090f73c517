"""What any right image-to-image does. The noise is the only chance in it: it cancels between equally seeded runs, is
recovered from what the model is shown, or is measured."""

from dojo.testing import expect, seeded
from dojo.testing.diffusion import no_noise, recording
from katas.image_to_image import image_to_image

GRID = [5, 4, 3, 1]


def first_shown(x0, strength, timesteps, abar, seed=0):
    """What the model is shown first: the noised picture. Equal seeds draw equal noise."""
    model, calls = recording(no_noise)
    image_to_image(model, x0, strength, timesteps, abar, generator=seeded(seed))
    expect(calls, f"the model should be called at strength={strength}, but is not")
    return calls[0][0]
