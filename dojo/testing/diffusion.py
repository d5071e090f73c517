"""Models, schedules and checks for the tests of diffusion katas. A model is a function of (x, t), as eps_model is."""

from collections.abc import Callable

import torch
from torch import Tensor

from dojo.testing.checks import expect

EpsModel = Callable[[Tensor, Tensor], Tensor]

# alphas_cumprod of six steps that are unequal and not sorted, so that no two steps can be mistaken for each other.
SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
# alphas_cumprod of DDPM's own schedule: 1 - FINE[0] is 0 in half precision.
FINE = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)

SHAPES = [(6,), (6, 2), (6, 6), (6, 1, 6, 6), (6, 3, 4, 5)]  # scalars, vectors and images; batch == width

# Absolute and relative, for one step under FINE: a float32 schedule differs by 4e-4 where 1 - abar is small, and half
# precision keeps 3 (or 2) digits.
STEP_TOLERANCE = {torch.float16: 1e-2, torch.bfloat16: 6e-2, torch.float32: 1e-3, torch.float64: 1e-3}
# The same for the few steps of a sampler under SIX, in float64 or float32, with a model that knows the answer.
SAMPLER_TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4, torch.float64: 1e-6}


def column(values: Tensor, x: Tensor) -> Tensor:
    """[batch] numbers in the shape [batch, 1, ..., 1] that multiplies x, [batch, ...]."""
    return values.reshape(-1, *[1] * (x.dim() - 1))


def no_noise(x: Tensor, t: Tensor) -> Tensor:
    """A model that predicts zeros."""
    return torch.zeros_like(x)


def knows(mean: Tensor | float, std: Tensor | float = 0.0, abar: Tensor = SIX) -> EpsModel:
    """The exact model of data from N(mean, std^2), E[eps | x_t]; with std 0, of the one picture `mean`."""

    def model(x: Tensor, t: Tensor) -> Tensor:
        a = column(abar[t], x)
        return ((1 - a).sqrt() * (x - a.sqrt() * mean) / (a * std**2 + 1 - a)).to(x.dtype)

    return model


def recording(eps_model: EpsModel) -> tuple[EpsModel, list[tuple[Tensor, Tensor]]]:
    """The model, and the list of (x, t) that it is called with."""
    calls = []

    def model(x: Tensor, t: Tensor) -> Tensor:
        calls.append((x.detach().clone(), t.clone()))
        return eps_model(x, t)

    return model, calls


def expect_normal(draws: Tensor, mean: float, std: float, *, what: str, hint: str) -> None:
    """Mean and standard deviation lie within 5.7 standard errors of theirs: a false alarm of 5e-8 at most for each."""
    draws, n = draws.double(), draws.numel()
    got_mean, got_std = draws.mean().item(), draws.std().item()
    sentence = f"{what} should have mean {mean:.4f}, but have {got_mean:.4f}"
    expect(abs(got_mean - mean) <= 5.7 * std / n**0.5, sentence, hint=hint)
    sentence = f"{what} should have standard deviation {std:.4f}, but have {got_std:.4f}"
    expect(abs(got_std / std - 1) <= 5.7 / (2 * n) ** 0.5, sentence, hint=hint)
