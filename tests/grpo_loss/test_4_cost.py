"""Stage 4. No loop over groups, rows or tokens."""

import pytest
import torch

from dojo.testing import expect_flat_operators, expect_traffic, randint, randn
from katas.grpo_loss import completion_mask, group_advantages, grpo_loss

from .helpers import REDUCTIONS, rollout

LOOP = "a python loop launches operators in proportion to what it runs over"


def tokens_of(rng, rows, length):
    """Rows in which a token in ten ends the answer."""
    return randint(rng, 0, 10, rows, length)


def test_the_mask_takes_all_tokens_at_once(rng):
    """512 answers of 8192 tokens."""
    expect_flat_operators(
        lambda tokens: completion_mask(tokens, [2]),
        lambda size: (tokens_of(rng, *size),),
        [(2, 3), (2, 40), (40, 3)],
        what="completion_mask of [batch, length]",
        hint=f"cumsum, or argmax, along the rows: {LOOP}",
        slack=3,
        outside_torch=True,
    )


def test_the_mask_grows_with_the_length_not_with_its_square(rng, cost):
    """A triangular matrix that counts the EOS before each token has 67 million entries at a length of 8192."""
    tokens = tokens_of(rng, 1, 1500)
    with cost() as spent:
        completion_mask(tokens, [2, 3])
    what = "completion_mask of 1500 tokens"
    expect_traffic(spent, tokens, 100, what=what, of="the tokens", hint="cumsum", outside_torch=True)


@pytest.mark.parametrize("scale", [True, False])
def test_all_groups_are_processed_at_once(rng, scale):
    """A thousand prompts of eight answers."""
    expect_flat_operators(
        lambda rewards: group_advantages(rewards, 4, scale=scale),
        lambda groups: (randn(rng, 4 * groups),),
        [2, 50],
        what="group_advantages of 4 rewards in each group",
        hint=f"reshape to [groups, group_size]: {LOOP}",
        slack=3,
        outside_torch=True,
    )


@pytest.mark.parametrize("options", REDUCTIONS.values(), ids=REDUCTIONS)
def test_all_rows_and_tokens_are_processed_at_once(rng, options):
    """Neither a loop over the answers of a batch, nor over their tokens."""

    def loss(log_probs, old, advantages, reference, mask):
        return grpo_loss(log_probs, old, advantages, mask, reference=reference, beta=0.1, **options)

    expect_flat_operators(
        loss,
        lambda size: (*rollout(rng, *size), torch.ones(size).bool()),
        [(2, 3), (40, 3), (2, 40)],
        what="grpo_loss of [batch, length]",
        hint=f"sum along the rows, of all rows: {LOOP}",
        slack=3,
    )
