"""What any right beam search finds, whether it keeps W or 2W candidates. No input has ties."""

import torch

from dojo.testing import expect_equal, randn
from dojo.testing.decoding import expect_score

INF = float("inf")


class Recurrent:
    """A model whose next token depends on every token before it; its cache is nested, as real ones are."""

    def __init__(self, rng, vocab, dtype=torch.float64):
        self.embedding, self.readout = randn(rng, vocab, 6), randn(rng, 6, vocab)
        self.recurrence, self.dtype = randn(rng, 6, 6), dtype

    def step(self, last, cache):
        expect_equal([last.dim(), last.dtype], [1, torch.int64], what="the dimensions and dtype of last_tokens")
        state = torch.zeros(len(last), 6, dtype=torch.float64)
        if cache is not None:
            leaves = [cache["layers"][0][0], cache["layers"][1]]
            expect_equal(
                [len(leaf) for leaf in leaves],
                [len(last)] * 2,
                what="the rows of the cache's tensors",
                hint="reorder every tensor of the cache by the parents: one row for each beam that goes on",
            )
            state = torch.cat([leaves[0].flatten(1), leaves[1]], 1)
        state = torch.tanh(state @ self.recurrence + self.embedding[last])
        log_probs = (state @ self.readout).log_softmax(-1).to(self.dtype)
        return log_probs, {"layers": [(state[:, :4].reshape(-1, 2, 2),), state[:, 4:]]}

    def full(self, tokens):
        cache = None
        for last in tokens.T:
            log_probs, cache = self.step(last, cache)
        return log_probs


def expect_list(found, expected, *, what, hint):
    """The same hypotheses in the same order, with close scores. `expected` holds (tokens, score)."""
    for number, (tokens, score) in enumerate(expected):
        actual = found[number].tokens if number < len(found) else None
        expect_equal(actual, tokens, what=f"hypothesis {number} of {what}", hint=hint)
        expect_score(found[number].score, score, what=f"the score of {tokens} in {what}", hint=hint)
    expect_equal(len(found), len(expected), what=f"the number of hypotheses of {what}", hint=hint)
