"""The floor is three products of the two feature matrices: one forward, two backward. Blocks need a fourth if they compute
their logits again. Small blocks fit a cache, so that they may even be faster than the whole matrix on a CPU."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work


def log_of_sigmoid(images, texts, scale, bias):
    """The formula as it is written, with a matrix of labels."""
    images, texts = (f / f.norm(dim=-1, keepdim=True) for f in (images, texts))
    labels = 2 * torch.eye(len(images), device=images.device) - 1
    return -torch.sigmoid(labels * (scale * images @ texts.T + bias)).log().sum() / len(images)


def cross_entropy(images, texts, scale, bias):
    """torch's binary cross-entropy."""
    logits = scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T + bias
    return F.binary_cross_entropy_with_logits(
        logits, torch.eye(len(images), device=images.device), reduction="sum"
    ) / len(images)


def train_step(loss, images, texts):
    leaves = [f.detach().requires_grad_() for f in (images, texts)]
    value = loss(*leaves, 10.0, -10.0)
    value.backward()
    return [value, *(leaf.grad for leaf in leaves)]


@work(
    batch=1024,
    dim=512,
    sweep={"batch": (256, 512), "dim": (256, 1024)},
    grows={"batch": 2, "dim": 1},
    tiny={"batch": 64, "dim": 64},
    counts="flops",
)
def train(bench, batch, dim):
    """The loss and its gradients."""
    images, texts = bench.randn(batch, dim), bench.randn(batch, dim)
    bench.katas(lambda kata: partial(train_step, kata.siglip_loss, images, texts))
    bench.adapted("transformers", lambda kata: partial(train_step, kata.siglip_loss, images, texts))
    bench.way("naive: log of a sigmoid", partial(train_step, log_of_sigmoid, images, texts))
    bench.way("torch: binary cross-entropy", partial(train_step, cross_entropy, images, texts))
    bench.same(rtol=1e-3, atol=1e-5)
    bench.floor(flops=3 * 2 * batch**2 * dim)


@work(
    batch=1024,
    dim=512,
    block=128,
    sweep={"dim": (256, 1024)},
    grows={"dim": 1},
    tiny={"batch": 64, "dim": 64, "block": 16},
    counts="flops",
)
def train_in_blocks(bench, batch, dim, block):
    """The loss in blocks of rows, and its gradients."""
    images, texts = bench.randn(batch, dim), bench.randn(batch, dim)

    def of(kata):
        return partial(train_step, lambda *given: kata.siglip_loss_blocks(*given, block), images, texts)

    bench.katas(of)
    bench.adapted("transformers", of)
    bench.way("torch: the whole matrix", partial(train_step, cross_entropy, images, texts))
    bench.same(rtol=1e-3, atol=1e-5)
    bench.floor(flops=3 * 2 * batch**2 * dim)
