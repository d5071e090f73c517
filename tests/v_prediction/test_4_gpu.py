"""Stage 4. On a GPU: the same answers, on the device of the images, and nothing waits for it."""

import pytest
import torch

from dojo.testing import expect_close, expect_equal, randn
from dojo.testing.diffusion import SIX
from katas.v_prediction import loss_weight, prediction_target, weighted_loss, zero_terminal_snr

from .helpers import CONVERSIONS, KINDS, T

FUNCTIONS = {"prediction_target": prediction_target, **CONVERSIONS}


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Coefficients and weights are looked up where the schedule is."""
    a, b = randn(rng, 2, 6, 3, 4, dtype=torch.float32)
    abar, hint = SIX.float(), "make every tensor on the device of the inputs"
    for kind in KINDS:
        got, want = (loss_weight(t, s, kind, 5.0) for t, s in ((T.cuda(), abar.cuda()), (T, abar)))
        expect_equal(got.device.type, "cuda", what=f'the device of loss_weight(kind="{kind}")', hint=hint)
        expect_close(got.cpu(), want, what=f'loss_weight(kind="{kind}") on the GPU', rtol=1e-5, atol=1e-6)
        for name, function in FUNCTIONS.items():
            got, want = function(a.cuda(), b.cuda(), T.cuda(), abar.cuda(), kind), function(a, b, T, abar, kind)
            expect_equal(got.device.type, "cuda", what=f'the device of {name}(kind="{kind}")', hint=hint)
            expect_close(got.cpu(), want, what=f'{name}(kind="{kind}") on the GPU', rtol=1e-4, atol=1e-5)
    got, want = weighted_loss(a.cuda(), b.cuda(), torch.ones(6).cuda()), weighted_loss(a, b, torch.ones(6))
    expect_close(got.cpu(), want, what="weighted_loss on the GPU", rtol=1e-5, atol=1e-6)
    got, want = zero_terminal_snr(abar.cuda()), zero_terminal_snr(abar)
    expect_close(got.cpu(), want, what="zero_terminal_snr on the GPU", rtol=1e-5, atol=1e-6)
