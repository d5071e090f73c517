"""Stage 4. Few operators a time step, whatever the batch; no loop over rows or tokens anywhere else."""

import pytest
import torch

from dojo.testing import expect_flat_operators, expect_operators, randn
from katas.ppo import entropy, gae, policy_loss, token_rewards, value_loss, whiten

from .helpers import episodes, tokens

TOKENS = [(2, 4), (9, 4), (2, 30)]


@pytest.mark.parametrize("length", [20, 40])
def test_gae_takes_few_operators_a_step(rng, cost, length):
    """A loop over time carries one vector of the batch. On a GPU each operator is a launch, and there are length times
    as many as in one step."""
    given = episodes(rng, 3, length)
    with cost() as spent:
        gae(*given, 0.9, 0.8)
    hint = "walk once from the end, with one carried vector; the deltas need no loop"
    expect_operators(spent, 12 * length, what=f"gae of {length} steps", hint=hint)


def test_gae_has_no_loop_over_rows(rng):
    """The operators do not grow with the batch."""
    expect_flat_operators(
        lambda *given: gae(*given, 0.9, 0.8),
        lambda batch: episodes(rng, batch, 5),
        [2, 7, 30],
        what="gae of [batch, 5]",
        hint="all rows take a step together: the carry is a vector",
        slack=3,
    )


CALLS = {
    "token_rewards": lambda a, b, mask: token_rewards(a[:, 0], a, b, mask, 0.1),
    "whiten": lambda a, b, mask: (whiten(a, mask), whiten(b, mask)),
    "policy_loss": lambda a, b, mask: policy_loss(a, b, a, mask),
    "value_loss": lambda a, b, mask: value_loss(a, b, b, mask),
}


@pytest.mark.parametrize("name", CALLS)
def test_no_loop_over_tokens(rng, name):
    """A python loop over rows or tokens launches operators for each of them."""

    def inputs(size):
        first, second, _, mask = tokens(rng, *size)
        return first, second, mask

    what, hint = f"{name} of [batch, length]", "torch takes all tokens at once"
    expect_flat_operators(CALLS[name], inputs, TOKENS, what=what, hint=hint, slack=3)


def test_the_entropy_has_no_loop(rng):
    """Neither over tokens nor over the vocabulary."""
    expect_flat_operators(
        entropy,
        lambda size: (randn(rng, *size), torch.ones(size[:2]).bool()),
        [(2, 4, 5), (9, 4, 5), (2, 30, 5), (2, 4, 50)],
        what="entropy of [batch, length, vocab]",
        hint="log_softmax along the last dimension",
        slack=3,
    )
