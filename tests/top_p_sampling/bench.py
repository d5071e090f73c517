"""No way can know the nucleus before it has seen every logit once; sorting them all costs far more than that. The reference
and transformers both sort, and draw from the whole vocabulary: neither can be much faster than the other. What does not
sort unless it has to (small_nucleus below) takes a tenth of the time or less.

The logits fall off like a language model's: a few tokens hold most of the mass (Zipf's law with exponent 1.5).
"""

from functools import partial

import torch

from dojo.testing import expect
from dojo.testing.bench import work

ALTERNATIVES = ("small_nucleus",)


def zipf(bench, batch, vocab):
    falling = -1.5 * torch.arange(1, vocab + 1).log()
    return torch.stack([falling[torch.randperm(vocab, generator=bench.rng)] for _ in range(batch)]).to(bench.device)


def filter_then_draw(logits, p):
    ordered, tokens = logits.softmax(-1).sort(-1, descending=True)
    kept = ordered * (ordered.cumsum(-1) - ordered < p)
    probs = torch.zeros_like(logits).scatter(-1, tokens, kept)
    return torch.multinomial(probs, 1).squeeze(-1)


def as_generate_does(logits, p):
    from transformers import TopPLogitsWarper

    warper = TopPLogitsWarper(p)
    return lambda: torch.multinomial(warper(None, logits).softmax(-1), 1).squeeze(-1)


def transformers_filter(logits, p):
    from transformers import TopPLogitsWarper

    return partial(TopPLogitsWarper(p), None, logits)


def within_the_nucleus(logits, p, results):
    probs = logits.double().softmax(-1)
    for name, tokens in results.items():
        own = probs.gather(-1, tokens[:, None])
        before = (probs * (probs > own)).sum(-1)
        expect(
            (before < p + 1e-5).all(), f"'{name}' should draw from the nucleus of {p}, but had {before.tolist()} above."
        )


def one_nucleus(logits, p, results):
    """Sums of 128 thousand float32 numbers differ in the last digits, so a token or two at the edge may."""
    first, *others = results
    for name in others:
        differ = int((results[name] != results[first]).sum())
        expect(differ <= 2 * len(logits), f"'{name}' and '{first}' should keep the same tokens, but {differ} differ.")


@work(
    batch=8,
    vocab=128256,
    percent=90,
    sweep={"batch": (1, 4, 16), "vocab": (16032, 32064, 64128), "percent": (50, 99)},
    grows={"batch": 1, "vocab": 1},
    tiny={"batch": 2, "vocab": 8192},
)
def one_token_a_row(bench, batch, vocab, percent):
    """One token for each row of logits."""
    logits, p = zipf(bench, batch, vocab), percent / 100
    bench.katas(lambda kata: partial(kata.sample_top_p, logits, p))
    bench.way("naive: sort, draw from all", partial(filter_then_draw, logits, p))
    bench.peer("transformers", lambda: as_generate_does(logits, p))
    bench.check(partial(within_the_nucleus, logits, p))
    bench.floor(bytes=logits.nbytes)


@work(batch=8, vocab=128256, percent=90, grows={"batch": 1, "vocab": 1}, tiny={"batch": 2, "vocab": 8192})
def filtered_logits(bench, batch, vocab, percent):
    """The filter alone: logits in, logits out."""
    logits, p = zipf(bench, batch, vocab), percent / 100
    bench.katas(lambda kata: partial(kata.top_p_filter, logits, p))
    bench.peer("transformers", lambda: transformers_filter(logits, p))
    bench.check(partial(one_nucleus, logits, p))
    bench.floor(bytes=2 * logits.nbytes)
