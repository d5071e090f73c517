"""Inputs, and a call that checks what kind of thing came back."""

import torch

from dojo.testing import expect, randint, randn
from katas.dpo_loss import dpo_loss, sequence_log_probs

ALIGN = "logits[:, i] predicts tokens[:, i + 1]: logits lose the last position, tokens and mask the first"
FIELDS = ("loss", "chosen_rewards", "rejected_rewards", "accuracy")


def table(*rows):
    """Rows of tokens."""
    return torch.tensor(rows, dtype=torch.int64)


def masks(*rows):
    """Rows of 0 for False and 1 for True."""
    return table(*rows).bool()


def responses(rng, batch, length, vocab, dtype=torch.float64):
    """Logits, tokens that are all in the vocabulary, and a mask with prompts of 1, 2, 1, 2, ... tokens."""
    prompt = 1 + torch.arange(batch)[:, None] % 2
    mask = torch.arange(length).expand(batch, -1) >= prompt
    return 2 * randn(rng, batch, length, vocab, dtype=dtype), randint(rng, 0, vocab, batch, length), mask


def each_token(logits, tokens):
    """The log-probability of each token but the first alone, as a response of one to a prompt of one."""
    mask, ends = masks((0, 1)).expand(len(tokens), -1), range(2, tokens.shape[1] + 1)
    return torch.stack([sequence_log_probs(logits[:, i - 2 : i], tokens[:, i - 2 : i], mask) for i in ends], 1)


def dpo(*log_probs, **options):
    """dpo_loss, whose result has the four fields."""
    result = dpo_loss(*log_probs, **options)
    for field in FIELDS:
        sentence = f"dpo_loss should return a DPOResult, but what it returned has no {field}"
        expect(hasattr(result, field), f"{sentence} ({type(result).__name__})", hint="return DPOResult(...)")
    return result


def pairs(rng, n, dtype=torch.float64):
    """Log-probabilities of n pairs: policy chosen, policy rejected, reference chosen, reference rejected."""
    return [-40 + 6 * randn(rng, n, dtype=dtype) for _ in range(4)]


def of_margin(*margins, beta=0.1, dtype=torch.float64):
    """Log-probabilities of pairs with these margins, none of the four zero. The rejected ratio is 5."""
    margin = torch.tensor(margins, dtype=torch.float64)
    reference_chosen, reference_rejected = torch.full_like(margin, -30.0), torch.full_like(margin, -25.0)
    policy_rejected = reference_rejected + 5
    given = (reference_chosen + 5 + margin / beta, policy_rejected, reference_chosen, reference_rejected)
    return [each.to(dtype) for each in given]
