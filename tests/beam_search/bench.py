"""One wide layer of attention as the language model: with a cache a step projects one token a beam, without one the whole
prefix again, so that the work for a text grows with the square of its length. eos is out of reach: every way takes
`length` steps. transformers is its generate() on the same step function."""

from functools import partial

import torch

from dojo.testing import expect, expect_close
from dojo.testing.bench import work

WIDTH = 512


class Attention:
    """Embeds, attends to all tokens so far, and scores the vocabulary; `step` keeps keys and values."""

    def __init__(self, bench, vocab):
        self.embed, self.out = bench.randn(vocab, WIDTH), bench.randn(WIDTH, vocab) / 4
        self.q, self.k, self.v = (bench.randn(WIDTH, WIDTH) / WIDTH**0.5 for _ in range(3))

    def answer(self, last, keys, values):
        scores = torch.softmax((last @ self.q)[:, None] @ keys.mT / WIDTH**0.5, -1)  # [beams, 1, length]
        logits = (last + (scores @ values)[:, 0]) @ self.out
        logits[:, 0] = -torch.inf  # eos
        return logits.log_softmax(-1)

    def whole(self, tokens):
        x = self.embed[tokens]  # [beams, length, WIDTH]
        return self.answer(x[:, -1], x @ self.k, x @ self.v)

    def step(self, last, cache):
        x = self.embed[last]
        keys, values = (x @ self.k)[:, None], (x @ self.v)[:, None]
        if cache is not None:
            keys, values = torch.cat([cache[0], keys], 1), torch.cat([cache[1], values], 1)
        return self.answer(x, keys, values), (keys, values)


def one_list(results):
    first, *others = results
    for name in others:
        for mine, theirs in zip(results[first], results[name], strict=True):
            expect(mine[0] == theirs[0], f"'{name}' should find '{first}' tokens {mine[0]}, but found {theirs[0]}.")
            expect_close(torch.tensor(theirs[1]), torch.tensor(mine[1]), what=f"{name}'s score", rtol=1e-4, atol=1e-4)


@work(
    beams=4,
    vocab=2048,
    length=64,
    sweep={"beams": (2, 8, 16), "vocab": (512, 8192), "length": (16, 32, 128)},
    grows={"beams": 1, "vocab": 1, "length": 1},
    tiny={"beams": 8, "vocab": 16384, "length": 8},
    counts="flops",
)
def decode(bench, beams, vocab, length):
    """One text."""
    model = Attention(bench, vocab)
    arguments = {"start_token": 1, "eos_token": 0, "beam_width": beams, "max_length": length}
    bench.katas(lambda kata: partial(kata.beam_search_with_cache, model.step, **arguments))
    reference = bench.reference
    bench.way("naive: no cache", partial(reference.beam_search, model.whole, **arguments))
    bench.adapted("transformers", lambda adapter: partial(adapter.beam_search_with_cache, model.step, **arguments))
    bench.check(one_list)
    rows = 1 + beams * (length - 1)  # there is one beam at first
    bench.floor(flops=2 * rows * WIDTH * (vocab + 3 * WIDTH))
