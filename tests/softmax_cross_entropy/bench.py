"""A small language model's last layer: 512 tokens, 32 000 classes. The floor of the loss is reading the logits once; of
the chunked loss with its gradients, three products of the size of hidden @ weight.T."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work


def log_of_softmax(logits, targets):
    """The formula as it is written: it allocates three times the logits, and overflows."""
    probs = logits.exp() / logits.exp().sum(-1, keepdim=True)
    return -probs.log().gather(-1, targets[:, None]).mean()


@work(
    tokens=512,
    vocab=32_000,
    sweep={"tokens": (128, 256), "vocab": (8000, 16_000)},
    grows={"tokens": 1, "vocab": 1},
    tiny={"tokens": 16, "vocab": 500},
)
def whole(bench, tokens, vocab):
    """The loss of logits that fit."""
    logits, targets = bench.randn(tokens, vocab), bench.randint(vocab, tokens)
    bench.katas(lambda kata: partial(kata.cross_entropy, logits, targets))
    bench.way("naive: log of a softmax", partial(log_of_softmax, logits, targets))
    bench.way("torch: F.cross_entropy", partial(F.cross_entropy, logits, targets))
    bench.same(rtol=1e-4, atol=1e-5)
    bench.floor(bytes=logits.nbytes)


@work(
    tokens=512,
    vocab=32_000,
    dim=128,
    sweep={"tokens": (128, 256), "vocab": (8000, 16_000)},
    grows={"tokens": 1, "vocab": 1},
    tiny={"tokens": 128, "vocab": 500, "dim": 16},
    counts="flops",
)
def chunks(bench, tokens, vocab, dim):
    """The loss from hidden states, with both gradients."""
    hidden, weight, targets = bench.randn(tokens, dim), bench.randn(vocab, dim) / dim**0.5, bench.randint(vocab, tokens)

    def with_gradients(loss):
        def run():
            leaves = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
            result = loss(*leaves)
            return [result, *torch.autograd.grad(result, leaves)]

        return run

    def chunked(kata):
        return with_gradients(lambda h, w: kata.linear_cross_entropy(h, w, targets, chunk_size=tokens // 4))

    bench.katas(chunked)
    bench.way("naive: all logits at once", with_gradients(lambda h, w: F.cross_entropy(h @ w.T, targets)))
    if hasattr(F, "linear_cross_entropy"):  # new in torch 2.13; without options it forms all logits
        options = torch.nn.LinearCrossEntropyOptions()
        by_torch = partial(F.linear_cross_entropy, target=targets, options=options)
        bench.way("torch: F.linear_cross_entropy", with_gradients(by_torch))
    bench.same(rtol=1e-3, atol=1e-6)
    bench.floor(flops=3 * 2 * tokens * vocab * dim)
