"""Checking drafts at the vocabulary of a large model: bound by reading both distributions."""

from functools import partial

import torch

from dojo.testing.bench import work


def row_by_row(drafted, q, p):
    """The textbook's way: a row and a place at a time."""
    tokens = torch.full((len(drafted), drafted.shape[1] + 1), -1, device=p.device)
    for b, row in enumerate(drafted.tolist()):
        weights = p[b, -1]
        for i, token in enumerate(row):
            if torch.rand(()) * q[b, i, token].item() >= p[b, i, token].item():
                weights = (p[b, i] - q[b, i]).clamp(min=0)
                break
            tokens[b, i] = token
        tokens[b, int((tokens[b] >= 0).sum())] = torch.multinomial(weights, 1)[0]
    return tokens, (tokens >= 0).sum(1)


def keep_beginnings(drafted, results):
    """What is emitted before the last token was drafted; draws differ, so nothing else can be compared."""
    for name, (tokens, counts) in results.items():
        kept = torch.arange(drafted.shape[1], device=drafted.device) < counts[:, None] - 1
        assert bool((tokens[:, :-1] == drafted)[kept].all()), f"{name} keeps another token than was drafted"


@work(
    batch=8,
    gamma=5,
    vocab=32768,
    sweep={"batch": (2, 4)},
    grows={"batch": 1, "vocab": 1},
    tiny={"batch": 2, "vocab": 64},
    gpu={"batch": 64, "vocab": 128256},
)
def drafts(bench, batch, gamma, vocab):
    """Five drafted tokens a row, float32."""
    q = bench.randn(batch, gamma, vocab).softmax(-1)
    p = bench.randn(batch, gamma + 1, vocab).softmax(-1)
    drafted = torch.multinomial(q.flatten(0, 1), 1).reshape(batch, gamma)
    bench.katas(lambda kata: partial(kata.verify, drafted, q, p))
    bench.way("naive: row by row, nothing checked", partial(row_by_row, drafted, q, p))
    bench.check(partial(keep_beginnings, drafted))
    bench.floor(bytes=q.nbytes + p.nbytes)
