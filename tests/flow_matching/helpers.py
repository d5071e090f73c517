"""Data whose velocity is known, calls that check what kind of thing came back, and what a model was shown."""

import torch

from dojo.testing import expect, expect_close, expect_equal, numbers
from dojo.testing.diffusion import column
from katas.flow_matching import interpolate

DIRECTION = "t = 0 is data and t = 1 is noise: x_t = (1 - t) x0 + t noise, velocity = noise - x0"
T = numbers(0.5, 0.125, 0.75, 0.25, 0.625, 0.875)  # six times that are not sorted, none like another


def line(x0, noise, t):
    """x_t and velocity, after a check that there are two of them."""
    pair = interpolate(x0, noise, t)
    expect(isinstance(pair, tuple) and len(pair) == 2, "interpolate should return a tuple of two, x_t and the velocity")
    return pair


def flow_of(mean, std):
    """The exact velocity of data from N(mean, std^2), E[noise - x0 | x_t]; with std 0, of the one picture `mean`."""

    def model(x, t):
        t = column(t, x)
        covariance, variance = (1 - t) * std**2 - t, (1 - t) ** 2 * std**2 + t**2  # of x0 - noise with x_t; of x_t
        return -(mean + covariance / variance * (x - (1 - t) * mean))

    return model


def noise_in(x, t, x0):
    """The noise in what the model is shown, for data that are known."""
    t = column(t, x).double()
    return (x - (1 - t) * x0) / t


def zeros(x, t):
    """A model that predicts no motion."""
    return torch.zeros_like(x)


def expect_times(calls, times, *, what, hint=""):
    """The t that the model was given, call by call: one for each element, all alike. Times in float32 know 7 digits."""
    expect_equal(len(calls), len(times), what=f"the number of model calls of {what}", hint=hint)
    for x, t in calls:
        expect_equal(list(t.shape), [len(x)], what=f"the shape of the t that the model is given, in {what},")
        expect(t.is_floating_point(), f"the t that the model is given should be a float in [0, 1], but is {t.dtype}")
    shown = torch.stack([t.double() for _, t in calls])
    want = torch.tensor(times, dtype=torch.float64)[:, None].expand_as(shown)
    expect_close(shown, want, what=f"the t of the model's calls, in {what},", hint=hint, rtol=0.0, atol=1e-6)
