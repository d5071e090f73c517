"""What any right repetition control does to the logits. Penalties are powers of two, so that results are exact in any dtype."""

import pytest
import torch

from katas.repetition_control import block_repeated_ngrams, frequency_presence_penalty, repetition_penalty

INF = float("inf")

EACH = {
    "repetition_penalty": lambda logits, tokens: repetition_penalty(logits, tokens, 2.0),
    "frequency_presence_penalty": lambda logits, tokens: frequency_presence_penalty(logits, tokens, 0.5, 0.25),
    "block_repeated_ngrams": lambda logits, tokens: block_repeated_ngrams(logits, tokens, 2),
}
each_function = pytest.mark.parametrize("name", EACH)


def doubles(*numbers):
    return torch.tensor([numbers], dtype=torch.float64)


def history(*tokens):
    return torch.tensor([tokens], dtype=torch.int64)


def banned(tokens, n, vocab=6):
    """The tokens that block_repeated_ngrams sets to -inf after one row of history."""
    return (block_repeated_ngrams(torch.zeros(1, vocab), history(*tokens), n)[0] == -INF).nonzero().flatten().tolist()
