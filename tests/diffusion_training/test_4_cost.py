"""Stage 4. Cost."""

import copy

import torch
from torch import nn

from dojo.testing import expect, expect_equal
from katas.diffusion_training import ddpm_loss, ema_update

from .helpers import data


def test_loss_calls_the_model_once_and_does_little_beside(rng, cost):
    """The model is all of the cost. The reference's own work moves 15x the bytes of x0; detours through float64, or row
    by row, stay under 40x; noising for all 1000 steps, of which one is picked, does not."""
    x0 = data(rng, 4, 3, 64, 64, dtype=torch.float32)
    abar = torch.linspace(0.99, 0.01, 1000)
    calls = []
    zeros = torch.zeros_like(x0)
    with cost() as spent:
        ddpm_loss(lambda x, t: calls.append(x.shape) or zeros, x0, abar)
    expect_equal([list(shape) for shape in calls], [[4, 3, 64, 64]], what="the shapes of x, call by call of the model")
    ratio = spent.bytes / x0.nbytes
    expect(ratio >= 1, f"torch operators should do the work, but they saw only {ratio:.2f}x the bytes of x0")
    sentence = (
        f"ddpm_loss should move at most 40x the bytes of x0, but moved {ratio:.0f}x: {spent.calls.most_common(5)}"
    )
    expect(ratio <= 40, sentence, hint="pick the coefficients of each element's own t first, then touch x0 once")


def test_update_costs_a_few_passes_over_the_parameters(cost):
    """It runs after every optimizer step, over all weights: lerp_ moves 3x their bytes, copies on the way add some."""
    ema = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])
    model = copy.deepcopy(ema)
    with cost() as spent:
        ema_update(ema, model, 0.99)
    ratio = spent.bytes / sum(parameter.nbytes for parameter in ema.parameters())
    expect(ratio >= 1, f"torch operators should do the work, but they saw only {ratio:.2f}x the parameters' bytes")
    sentence = f"ema_update should move at most 20x the bytes of the parameters, but moved {ratio:.0f}x"
    expect(ratio <= 20, sentence, hint="touch every parameter once, in place")
