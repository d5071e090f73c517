"""Stage 4. No loop over the batch, and a few passes over the images."""

import pytest
import torch

from dojo.testing import expect_flat_operators, expect_traffic, randn
from dojo.testing.diffusion import SIX
from katas.v_prediction import loss_weight, prediction_target, weighted_loss, zero_terminal_snr

from .helpers import CONVERSIONS

FUNCTIONS = {"prediction_target": prediction_target, **CONVERSIONS}
WORKING = [("prediction_target", "v"), ("to_x0", "v"), ("to_x0", "eps"), ("to_eps", "v"), ("to_eps", "x0")]
GATHERED = "abar[t] looks up all steps at once, and a reshape lines them up with the images"


@pytest.mark.parametrize(("name", "kind"), WORKING)
def test_a_batch_costs_a_few_passes(rng, cost, name, kind):
    """Two products and a difference: the reference moves 7 times the bytes of x0, and twice that with float64 on the way."""
    a, b = randn(rng, 2, 6, 3, 32, 32, dtype=torch.float32)
    with cost() as spent:
        FUNCTIONS[name](a, b, torch.arange(6), SIX, kind)
    expect_traffic(spent, a, 60, what=f'{name}(kind="{kind}")', of="x0", hint="one formula for the kind that is asked")


@pytest.mark.parametrize(("name", "kind"), WORKING)
def test_no_loop_over_the_images(rng, name, kind):
    expect_flat_operators(
        lambda a, b, t: FUNCTIONS[name](a, b, t, SIX, kind),
        lambda batch: (*randn(rng, 2, batch, 3, 4), torch.arange(batch) % 6),
        [2, 16],
        what=f'{name}(kind="{kind}") of [batch, 3, 4]',
        hint=GATHERED,
        slack=2,
    )


def test_the_loss_costs_a_few_passes(rng, cost):
    """Difference, square, mean: 6 times the bytes of the prediction."""
    a, b = randn(rng, 2, 6, 3, 32, 32, dtype=torch.float32)
    with cost() as spent:
        weighted_loss(a, b, torch.ones(6))
    hint = "the weight multiplies [batch] means, not the images"
    expect_traffic(spent, a, 60, what="weighted_loss", of="the prediction", hint=hint)


def test_no_loop_over_weights_samples_and_steps(rng):
    def weights(t, abar):
        return [loss_weight(t, abar, kind, 5.0) for kind in ("eps", "x0", "v")]

    expect_flat_operators(
        weights,
        lambda batch: (torch.arange(batch), torch.linspace(0.99, 0, batch).double()),
        [4, 40],
        what="loss_weight of a [batch]",
        hint=GATHERED,
        slack=2,
    )
    expect_flat_operators(
        weighted_loss,
        lambda batch: (*randn(rng, 2, batch, 3, 4), torch.ones(batch).double()),
        [2, 16],
        what="weighted_loss of [batch, 3, 4]",
        hint="one mean over all dimensions but the first",
        slack=2,
    )
    expect_flat_operators(
        zero_terminal_snr,
        lambda steps: (torch.linspace(0.99, 0.1, steps).double(),),
        [4, 40],
        what="zero_terminal_snr of [steps]",
        hint="one shift and one scale for all steps",
        slack=2,
    )
