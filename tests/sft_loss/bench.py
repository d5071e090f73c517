"""The loss of 2 rows of 128 tokens over 32 000 classes. The floor reads the logits once."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work


def one_hot(logits, labels):
    """The formula as it is written: a log of a softmax, and a product with a one-hot matrix."""
    counted = labels[:, 1:] != -100
    log_probs = torch.softmax(logits[:, :-1], -1).log()
    chosen = F.one_hot(labels[:, 1:].clamp(min=0), logits.shape[-1])
    return -((log_probs * chosen).sum(-1) * counted).sum() / counted.sum()


def sliced(logits, labels):
    """The logits lose their last position, which copies the others."""
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@work(
    length=128,
    vocab=32_000,
    sweep={"length": (33, 65), "vocab": (8000, 16_000)},
    grows={"length": 1, "vocab": 1},
    tiny={"length": 17, "vocab": 500},
)
def loss(bench, length, vocab):
    """causal_lm_loss of two rows."""
    logits, labels = bench.randn(2, length, vocab), bench.randint(vocab, 2, length)
    labels[:, : length // 4] = -100
    bench.katas(lambda kata: partial(kata.causal_lm_loss, logits, labels))
    bench.adapted("transformers", lambda kata: partial(kata.causal_lm_loss, logits, labels))
    bench.way("naive: softmax, log, one-hot", partial(one_hot, logits, labels))
    bench.way("torch: cross_entropy of sliced logits", partial(sliced, logits, labels))
    bench.same(rtol=1e-4, atol=1e-3)
    bench.floor(bytes=logits.nbytes)
