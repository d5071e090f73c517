"""What any right diverse beam search finds, whichever of the free conventions it follows. No input has ties."""

import torch

from dojo.testing import expect, expect_equal, randn
from dojo.testing.decoding import expect_score

INF = float("inf")


def recurrent(rng, vocab, dtype=torch.float64, banned=()):
    """A model whose next token depends on every token before it. It remembers its states after all prefixes so far."""
    embedding, recurrence, readout = randn(rng, vocab, 6), randn(rng, 6, 6), randn(rng, 6, vocab)
    states = {}

    def model(tokens):
        expect_equal([tokens.dim(), tokens.dtype], [2, torch.int64], what="the dimensions and dtype of the prefixes")
        rows = [tuple(row) for row in tokens.tolist()]
        state = torch.zeros(len(tokens), 6, dtype=torch.float64)
        if known := bool(rows) and all(row[:-1] in states for row in rows):
            state = torch.stack([states[row[:-1]] for row in rows])
        for last in tokens.T[-1:] if known else tokens.T:
            state = torch.tanh(state @ recurrence + embedding[last])
        states.update(zip(rows, state, strict=True))
        logits = (state @ readout).index_fill(1, torch.tensor(banned, dtype=torch.int64), -INF)
        return logits.log_softmax(-1).to(dtype)

    return model


def expect_groups(found, expected, *, what, hint):
    """The same lists of (tokens, score), group by group; 1e-5 relative, as sums may be kept in float32."""
    expect_equal(len(found), len(expected), what=f"the number of lists of {what}", hint="one list for each group")
    expect(
        all(isinstance(group, list) for group in found), f"{what} should give one list for each group, but gave {found}"
    )
    for number, (group, wanted) in enumerate(zip(found, expected, strict=True)):
        expect_equal(len(group), len(wanted), what=f"the number of hypotheses in group {number} of {what}", hint=hint)
        for place, (hypothesis, (row, score)) in enumerate(zip(group, wanted, strict=True)):
            expect_equal(hypothesis.tokens, row, what=f"hypothesis {place} in group {number} of {what}", hint=hint)
            what_score = f"the score of {row} in group {number} of {what}"
            expect_score(hypothesis.score, score, what=what_score, hint=hint)
