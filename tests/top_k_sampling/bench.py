"""The floor of one token a row is reading its logits once; the naive way and transformers filter, normalise and draw
over the whole vocabulary."""

from functools import partial

import torch

from dojo.testing import expect
from dojo.testing.bench import work

ALTERNATIVES = ("two_stage",)


def filter_then_draw(logits, k):
    threshold = logits.topk(k).values[..., -1:]
    probs = logits.masked_fill(logits < threshold, -torch.inf).softmax(-1)
    return torch.multinomial(probs, 1).squeeze(-1)


def as_generate_does(logits, k):
    """transformers' filter, then softmax and multinomial, as its generate() does."""
    from transformers import TopKLogitsWarper

    warper = TopKLogitsWarper(k)
    return lambda: torch.multinomial(warper(None, logits).softmax(-1), 1).squeeze(-1)


def among_the_best(logits, k, results):
    for name, tokens in results.items():
        rank = (logits > logits.gather(-1, tokens[:, None])).sum(-1)
        expect((rank < k).all(), f"'{name}' should draw from the {k} best, but drew the ranks {rank.tolist()}.")


@work(
    batch=8,
    vocab=128256,
    k=50,
    sweep={"batch": (1, 2, 4, 16, 32), "vocab": (16032, 32064, 64128, 256512), "k": (10, 250)},
    grows={"batch": 1, "vocab": 1, "k": 0},
    tiny={"batch": 2, "vocab": 32768},
    gpu={"batch": 64},
)
def one_token_a_row(bench, batch, vocab, k):
    """One token for each row of logits."""
    logits = bench.randn(batch, vocab)
    bench.katas(lambda kata: partial(kata.sample_top_k, logits, k))
    bench.way("naive: filter, draw from all", partial(filter_then_draw, logits, k))
    bench.peer("transformers", lambda: as_generate_does(logits, k))
    bench.check(partial(among_the_best, logits, k))
    bench.floor(bytes=logits.nbytes)


@work(batch=8, vocab=128256, k=50, grows={"batch": 1, "vocab": 1, "k": 0}, tiny={"batch": 2, "vocab": 32768})
def filtered_logits(bench, batch, vocab, k):
    """The filter alone: logits in, logits out."""
    logits = bench.randn(batch, vocab)
    bench.katas(lambda kata: partial(kata.top_k_filter, logits, k))
    bench.peer("transformers", lambda: transformers_filter(logits, k))
    bench.same()
    bench.floor(bytes=2 * logits.nbytes)


def transformers_filter(logits, k):
    from transformers import TopKLogitsWarper

    return partial(TopKLogitsWarper(k), None, logits)
