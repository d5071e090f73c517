"""Stage 4. On a GPU: the same answers, on the device of the inputs."""

import pytest

from dojo.testing import expect_close, expect_equal, randint
from katas.grpo_loss import completion_mask, group_advantages, grpo_loss, kl_estimate

from .helpers import REDUCTIONS, prefixes, rollout


@pytest.mark.gpu
def test_everything_stays_on_the_gpu(rng):
    """EOS ids, masks and results are made where the inputs are."""
    tokens = randint(rng, 0, 10, 5, 20)
    mask = completion_mask(tokens.cuda(), [2, 3])
    expect_equal(mask.device.type, "cuda", what="the device of the mask")
    expect_equal(mask.cpu(), completion_mask(tokens, [2, 3]), what="the mask on the GPU")
    given = [each.float() for each in rollout(rng, 6, 9)]
    log_probs, old, advantages, reference = (each.cuda() for each in given)
    got = group_advantages(advantages, 3)
    expect_close(got.cpu(), group_advantages(given[2], 3), what="the advantages on the GPU", rtol=1e-5, atol=1e-5)
    for kind in ("k1", "k2", "k3"):
        got, want = kl_estimate(log_probs, reference, kind), kl_estimate(given[0], given[3], kind)
        expect_close(got.cpu(), want, what=f"{kind} on the GPU", rtol=1e-5, atol=1e-5)
    mask = prefixes(9, 9, 3, 0, 5, 7, 1)
    for options in REDUCTIONS.values():
        got = grpo_loss(log_probs, old, advantages, mask.cuda(), reference=reference, beta=0.1, **options)
        expect_equal(got.device.type, "cuda", what="the device of the loss")
        want = grpo_loss(*given[:3], mask, reference=given[3], beta=0.1, **options)
        expect_close(got.cpu(), want, what=f"the loss on the GPU, {options}", rtol=1e-5, atol=1e-5)
