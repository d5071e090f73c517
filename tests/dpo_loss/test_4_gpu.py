"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest

from dojo.testing import expect_close, expect_equal
from katas.dpo_loss import sequence_log_probs

from .helpers import FIELDS, dpo, pairs, responses


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """Indices, masks and results are made where the logits are."""
    given = [each.float() if each.is_floating_point() else each for each in responses(rng, 3, 40, 300)]
    got, want = sequence_log_probs(*(each.cuda() for each in given)), sequence_log_probs(*given)
    expect_equal(got.device.type, "cuda", what="the device of the log-probabilities")
    expect_close(got.cpu(), want, what="the log-probabilities on the GPU", rtol=1e-5, atol=1e-3)
    given = [each.float() for each in pairs(rng, 5)]
    got, want = dpo(*(each.cuda() for each in given), label_smoothing=0.1), dpo(*given, label_smoothing=0.1)
    for name in FIELDS:
        expect_equal(getattr(got, name).device.type, "cuda", what=f"the device of {name}")
        expect_close(getattr(got, name).cpu(), getattr(want, name), what=f"{name} on the GPU", rtol=1e-5, atol=1e-5)
