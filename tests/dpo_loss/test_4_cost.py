"""Stage 4. Few passes over the vocabulary, no loop over tokens."""

from dojo.testing import expect_flat_operators, expect_traffic
from katas.dpo_loss import sequence_log_probs

from .helpers import responses


def test_few_passes_over_the_logits(rng, cost):
    """8 responses of 2048 tokens over 128 256 classes are 8.4 GB in float32, and a one-hot matrix of int64 is twice as
    much. One element of each position is needed, and one sum."""
    logits, tokens, mask = responses(rng, 2, 17, 600)
    logits = logits.float()
    with cost() as spent:
        sequence_log_probs(logits, tokens, mask)
    hint = "gather picks one element of each position, without a one-hot matrix"
    expect_traffic(
        spent, logits[:, 1:], 9.2, what="sequence_log_probs", of="the logits that predict a token", hint=hint
    )


def test_no_loop_over_tokens(rng):
    """A python loop over positions, or over the vocabulary, launches operators for each of them. One over the two rows
    of the batch saves memory and costs little."""
    expect_flat_operators(
        sequence_log_probs,
        lambda size: responses(rng, 2, *size),
        [(4, 10), (40, 10), (40, 40)],
        what="sequence_log_probs of [2, length, vocab]",
        hint="gather and logsumexp take all positions at once",
        slack=3,
    )
