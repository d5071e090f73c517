"""What any right image-to-image does. The noise is the only chance in it: it cancels between equally seeded runs, is
recovered from what the model is shown, or is measured."""

import torch

from dojo.testing import expect, seeded
from katas.image_to_image import image_to_image

SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
GRID = [5, 4, 3, 1]

FINE = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)


def column(values, x):
    """[batch] numbers that multiply [batch, ...] images."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def no_noise(x, t):
    return torch.zeros_like(x)


def knows(mean, std, abar):
    """The exact noise prediction for data from N(mean, std^2); with std 0, for the one picture `mean`."""

    def model(x, t):
        a = column(abar[t], x)
        eps = (1 - a).sqrt() * (x - a.sqrt() * mean) / (a * std**2 + 1 - a)
        return eps.to(x.dtype)

    return model


def recording(eps_model):
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x, t):
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def first_shown(x0, strength, timesteps, abar, seed=0):
    """What the model is shown first: the noised picture. Equal seeds draw equal noise."""
    model, calls = recording(no_noise)
    image_to_image(model, x0, strength, timesteps, abar, generator=seeded(seed))
    expect(calls, f"the model should be called at strength={strength}, but is not")
    return calls[0][0]
