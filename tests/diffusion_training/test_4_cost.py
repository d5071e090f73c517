"""Stage 4. Cost."""

import copy

import torch
from torch import nn

from dojo.testing import expect_equal, expect_traffic
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
    hint = "pick the coefficients of each element's own t first, then touch x0 once"
    expect_traffic(spent, x0, 40, what="ddpm_loss", of="x0", hint=hint)


def test_update_costs_a_few_passes_over_the_parameters(cost):
    """It runs after every optimizer step, over all weights: lerp_ moves 3x their bytes, copies on the way add some."""
    ema = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])
    model = copy.deepcopy(ema)
    with cost() as spent:
        ema_update(ema, model, 0.99)
    weights = nn.utils.parameters_to_vector(ema.parameters())
    expect_traffic(
        spent, weights, 20, what="ema_update", of="the parameters", hint="touch every parameter once, in place"
    )
