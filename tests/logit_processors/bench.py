"""The floor is reading and writing the logits once. With defaults that is all; a sort for each of top-p and typical costs far
more than the rest together. On a CPU one row after the other is faster, because a row stays in the cache from step to step; a
GPU starts an operator for each row and step instead."""

from functools import partial

import torch

from dojo.testing import expect
from dojo.testing.bench import work


def zipf(bench, batch, vocab):
    """Logits that fall off as a language model's do, and some noise, so that no two distances tie."""
    falling = -1.5 * torch.arange(1, vocab + 1).log()
    rows = [falling[torch.randperm(vocab, generator=bench.rng)] for _ in range(batch)]
    return torch.stack(rows).to(bench.device) + bench.randn(batch, vocab) / 100


def naive_min_p(logits, min_p):
    probs = logits.softmax(-1)
    return logits.masked_fill(probs < min_p * probs.amax(-1, keepdim=True), -torch.inf)


def row_by_row(logits, calls):
    return torch.cat([call(logits[row : row + 1]) for row, call in enumerate(calls)])


def same_tokens(logits, results):
    """Sums of 128 thousand float32 numbers differ in the last digits, so a token or two at an edge may."""
    first, *others = results
    for name in others:
        differ = int((results[name].isfinite() != results[first].isfinite()).sum())
        expect(differ <= 4 * len(logits), f"'{name}' and '{first}' should keep the same tokens, but {differ} differ.")


@work(batch=8, vocab=128256, grows={"batch": 1, "vocab": 1}, tiny={"batch": 2, "vocab": 8192})
def min_p(bench, batch, vocab):
    """Min-p alone."""
    logits = zipf(bench, batch, vocab)
    bench.katas(lambda kata: partial(kata.min_p_filter, logits, 0.05))
    bench.way("naive: with a softmax", partial(naive_min_p, logits, 0.05))
    bench.check(partial(same_tokens, logits))
    bench.floor(bytes=2 * logits.nbytes)


@work(
    batch=8,
    vocab=128256,
    sweep={"batch": (1, 4, 16), "vocab": (32064, 64128)},
    grows={"batch": 1, "vocab": 1},
    tiny={"batch": 2, "vocab": 8192},
    gpu={"batch": 64},
)
def every_step(bench, batch, vocab):
    """The whole chain, every step on, the same parameters in every row."""
    logits = zipf(bench, batch, vocab)
    lists = [torch.randint(vocab, (200,), generator=bench.rng).tolist() for _ in range(batch)]
    settings = (0.7, 1000, 0.9, 0.001, 0.9, 1.2, {0: 1.0}, frozenset({5}), 2, 4)

    def prepared(kata):
        return partial(kata.process_logits, logits, lists, [[]] * batch, [kata.SamplingParams(*settings)] * batch)

    def prepared_rows(kata):
        params = [kata.SamplingParams(*settings)]
        return [partial(kata.process_logits, prompts=[tokens], generated=[[]], params=params) for tokens in lists]

    bench.katas(prepared)
    bench.way("naive: row by row", partial(row_by_row, logits, prepared_rows(bench.reference)))
    bench.check(partial(same_tokens, logits))
    bench.floor(bytes=2 * logits.nbytes)
