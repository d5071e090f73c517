"""Log-probabilities of 2 responses of 128 tokens over 32 000 classes. The floor reads the logits once."""

from functools import partial

import torch

from dojo.testing.bench import work


def one_hot(logits, tokens, mask):
    """The formula as it is written: a log of a softmax, and a product with a one-hot matrix."""
    log_probs = torch.softmax(logits[:, :-1], -1).log()
    chosen = torch.nn.functional.one_hot(tokens[:, 1:], logits.shape[-1])
    return ((log_probs * chosen).sum(-1) * mask[:, 1:]).sum(-1)


def log_softmax(logits, tokens, mask):
    """All log-probabilities, of which one per position is needed."""
    log_probs = logits[:, :-1].log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
    return (log_probs * mask[:, 1:]).sum(-1)


@work(
    length=128,
    vocab=32_000,
    sweep={"length": (33, 65), "vocab": (8000, 16_000)},
    grows={"length": 1, "vocab": 1},
    tiny={"length": 17, "vocab": 500},
)
def log_probs(bench, length, vocab):
    """sequence_log_probs of two rows."""
    logits, tokens = bench.randn(2, length, vocab), bench.randint(vocab, 2, length)
    mask = torch.arange(length).expand(2, -1) >= length // 4
    bench.katas(lambda kata: partial(kata.sequence_log_probs, logits, tokens, mask))
    bench.way("naive: softmax, log, one-hot", partial(one_hot, logits, tokens, mask))
    bench.way("torch: log_softmax and gather", partial(log_softmax, logits, tokens, mask))
    bench.same(rtol=1e-4, atol=1e-3)
    bench.floor(bytes=logits.nbytes)
