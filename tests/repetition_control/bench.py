"""The floor of all three is one copy of the logits: only `length` of them change in each row."""

from functools import partial

import torch

from dojo.testing.bench import work


def token_by_token(logits, tokens, penalty):
    out = logits.clone()
    for row, history in enumerate(tokens.tolist()):
        for token in set(history):
            out[row, token] = out[row, token] / penalty if out[row, token] > 0 else out[row, token] * penalty
    return out


def counted_token_by_token(logits, tokens, frequency, presence):
    out = logits.clone()
    for row, history in enumerate(tokens.tolist()):
        for token in history:
            out[row, token] -= frequency
        for token in set(history):
            out[row, token] -= presence
    return out


def ngrams_in_a_dict(logits, tokens, n):
    out = logits.clone()
    for row, history in enumerate(tokens.tolist()):
        seen = {}
        for start in range(len(history) - n + 1):
            seen.setdefault(tuple(history[start : start + n - 1]), []).append(history[start + n - 1])
        for token in seen.get(tuple(history[len(history) - n + 1 :]), []):
            out[row, token] = -torch.inf
    return out


def history(bench, batch, vocab, length):
    """Logits, and tokens of which many are seen again, as in a text."""
    return bench.randn(batch, vocab), bench.randint(min(vocab, 200), batch, length)


SIZES = {"batch": 8, "vocab": 128256, "length": 1024}
GROWTH = {"grows": {"batch": 1, "vocab": 1}, "tiny": {"batch": 2, "vocab": 32768, "length": 64}}


@work(**SIZES, **GROWTH, sweep={"batch": (1, 4, 16), "vocab": (16032, 32064, 64128), "length": (128, 512, 4096)})
def penalty(bench, batch, vocab, length):
    """CTRL's penalty."""
    logits, tokens = history(bench, batch, vocab, length)
    bench.katas(lambda kata: partial(kata.repetition_penalty, logits, tokens, 1.2))
    bench.way("naive: token by token", partial(token_by_token, logits, tokens, 1.2))
    bench.peer("transformers", lambda: transformers_penalty(logits, tokens, 1.2))
    bench.same()
    bench.floor(bytes=2 * logits.nbytes)


@work(**SIZES, **GROWTH)
def frequency_and_presence(bench, batch, vocab, length):
    """The additive penalties, which transformers does not have."""
    logits, tokens = history(bench, batch, vocab, length)
    bench.katas(lambda kata: partial(kata.frequency_presence_penalty, logits, tokens, 0.5, 0.25))
    bench.way("naive: token by token", partial(counted_token_by_token, logits, tokens, 0.5, 0.25))
    bench.same(rtol=1e-4, atol=1e-4)  # subtracted one by one
    bench.floor(bytes=2 * logits.nbytes)


@work(**SIZES, **GROWTH, sweep={"length": (128, 512, 4096)})
def no_repeated_trigrams(bench, batch, vocab, length):
    """Blocked n-grams, n = 3."""
    logits, tokens = history(bench, batch, vocab, length)
    bench.katas(lambda kata: partial(kata.block_repeated_ngrams, logits, tokens, 3))
    bench.way("naive: a dict of n-grams", partial(ngrams_in_a_dict, logits, tokens, 3))
    bench.peer("transformers", lambda: transformers_ngrams(logits, tokens, 3))
    bench.same()
    bench.floor(bytes=2 * logits.nbytes)


def transformers_penalty(logits, tokens, penalty):
    from transformers import RepetitionPenaltyLogitsProcessor

    return partial(RepetitionPenaltyLogitsProcessor(penalty), tokens, logits)


def transformers_ngrams(logits, tokens, n):
    from transformers import NoRepeatNGramLogitsProcessor

    return partial(NoRepeatNGramLogitsProcessor(n), tokens, logits)
