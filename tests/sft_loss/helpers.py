"""Inputs, a call of pack that checks what kind of thing came back, and a model that reads positions and segments."""

import torch
from torch.nn import functional as F

from dojo.testing import called_for, expect, expect_equal, randint, randn
from katas.sft_loss import pack

SHIFT = (
    "logits[:, i] predicts labels[:, i + 1]: the last position predicts nothing, and nothing predicts the first label"
)
COUNTED = "a token counts if the attention mask is True and it is not among the first prompt_lengths attended ones"
FIELDS = ("tokens", "labels", "positions", "segments")


def table(*rows):
    """Rows of int64."""
    return torch.tensor(rows, dtype=torch.int64)


def masks(*rows):
    """Rows of 0 for False and 1 for True."""
    return table(*rows).bool()


def labelled(rng, batch, length, vocab, dtype=torch.float64):
    """Logits, and labels of which the first 1, 2, 1, 2, ... of each row are -100."""
    prompt = 1 + torch.arange(batch)[:, None] % 2
    labels = randint(rng, 0, vocab, batch, length)
    return 2 * randn(rng, batch, length, vocab, dtype=dtype), labels.where(torch.arange(length) >= prompt, -100)


def examples(*lengths, first=10):
    """Tokens of examples of these lengths, 10, 11, ... and 20, 21, ... and so on, and labels that are 1000 more."""
    tokens = [torch.arange(n) + first * (k + 1) for k, n in enumerate(lengths)]
    return tokens, [1000 + example for example in tokens]


def packed(tokens, labels, max_length):
    """The rows of pack, each of which has four vectors of int64 of one length."""
    what = f"pack of examples of {[len(t) for t in tokens]} tokens with max_length={max_length}"
    with called_for(what):
        rows = pack(tokens, labels, max_length)
    expect(isinstance(rows, list), f"{what} should be a list of Packed, but is a {type(rows).__name__}")
    for k, row in enumerate(rows):
        for field in FIELDS:
            name, value = f"{field} of row {k} of {what}", getattr(row, field, None)
            sentence = f"{name} should be a tensor of int64 with one dimension, but is "
            kind = f"{value.dtype} {[*value.shape]}" if isinstance(value, torch.Tensor) else repr(value)
            right = isinstance(value, torch.Tensor) and value.dtype == torch.int64 and value.dim() == 1
            expect(right, sentence + kind, hint="return [Packed(tokens, labels, positions, segments), ...]")
            sentence = f"{name} should have the row's length, {len(row.tokens)}, but has {len(value)}"
            expect(len(value) == len(row.tokens), sentence)
    return rows


def expect_rows(rows, wanted, field, *, what, hint=""):
    """This field of the rows, as lists of numbers."""
    expect_equal(
        [getattr(row, field).tolist() for row in rows], wanted, what=f"{field} of {what}, row by row", hint=hint
    )


class Toy:
    """One layer of causal attention over random embeddings of tokens and positions, and the logits that follow."""

    def __init__(self, rng, vocab=7, places=12, dim=6):
        self.embedding, self.places = randn(rng, vocab, dim), randn(rng, places, dim)
        self.projections, self.head = [randn(rng, dim, dim) for _ in range(3)], randn(rng, dim, vocab)

    def __call__(self, row):
        """The logits [length, vocab] of a packed row: tokens attend to earlier ones of their segment, at any place."""
        x = self.embedding[row.tokens] + self.places[row.positions]
        q, k, v = (x @ matrix for matrix in self.projections)
        out = torch.zeros_like(x)
        for segment in row.segments.unique():
            own = row.segments == segment
            out[own] = F.scaled_dot_product_attention(q[own], k[own], v[own], is_causal=True)
        return (x + out) @ self.head
