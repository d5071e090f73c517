"""Stage 4. On a GPU: everything is made where the model is."""

from types import SimpleNamespace

import pytest
import torch
from torch.optim import SGD

from dojo.testing import expect_equal, numbers
from katas.mixed_precision_step import LossScaler, MasterWeights

from .helpers import INF, Weights, expect_no_gradients, expect_number, expect_scale, slope_loss, stepped


@pytest.mark.gpu
def test_a_step_on_the_gpu():
    """Sums, factors and flags that are made on the CPU cannot be added to what the GPU has computed."""
    model = Weights(numbers(1, 2), numbers(5)).cuda()
    masters = MasterWeights(model.parameters())
    optimizer = SGD(masters.masters, lr=1.0)
    parts = {"model": model, "masters": masters, "optimizer": optimizer, "loss_fn": slope_loss}
    run = SimpleNamespace(scaler=LossScaler(8.0), **parts)
    expect_equal({m.device.type for m in masters.masters}, {"cuda"}, what="the devices of the masters")
    for factor, skips, scale in ((1.0, False, 8.0), (INF, True, 4.0)):
        slopes = [factor * numbers(3, 0).cuda(), numbers(4).cuda()]
        result = stepped(run, slopes, [torch.zeros(2).cuda(), None], max_norm=2.5)
        expect_equal(result.skipped, skips, what=f"skipped, with gradients times {factor}, on the GPU")
        expect_number(result.grad_norm, INF if skips else 5.0, "grad_norm on the GPU", hint="of the unscaled gradients")
        expect_scale(run.scaler, scale, f"the scale after gradients times {factor} on the GPU")
        for number, want in enumerate(([-0.5, 2.0], [3.0])):
            weights = model.weights[number].detach().float().cpu()
            expect_equal(
                weights.mul(100).round().div(100).tolist(), want, what=f"parameter {number} after a step on the GPU"
            )
        expect_no_gradients(run, "after a step on the GPU")
