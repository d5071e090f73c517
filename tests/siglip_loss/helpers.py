"""Batches whose logits are known: most rows here are orthogonal, so that every cosine is 0 or 1."""

import math

import torch

from dojo.testing import expect, randn
from katas.siglip_loss import siglip_loss, siglip_loss_blocks

NAMES = ("image_features", "text_features", "logit_scale", "logit_bias")
STABLE = "F.logsigmoid(z * l) or F.softplus(-z * l), never the logarithm of a sigmoid or of 1 + exp"


def number(value, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype)


def softplus(x):
    """log(1 + exp(x)): what a pair costs whose logit has the wrong sign and the size x."""
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


def orthonormal(rng, rows, dim):
    """`rows` orthogonal directions of length 1, as rows [rows, dim]."""
    return torch.linalg.qr(randn(rng, dim, rows)).Q.T.contiguous()


def strangers(rng, n):
    """n images and n texts, all orthogonal to each other: every similarity is 0."""
    both = orthonormal(rng, 2 * n, 2 * n + 1)
    return both[:n], both[n:]


def features(rng, n, dim, dtype=torch.float64):
    """n pairs, of which each pair has something in common."""
    images = randn(rng, n, dim)
    return images.to(dtype), (images + randn(rng, n, dim)).to(dtype)


def leaves(*given, only=NAMES):
    """Copies of the four arguments as tensors, of which those in `only` require a gradient."""
    tensors = [torch.as_tensor(each, dtype=torch.float64).clone() for each in given]
    return [each.requires_grad_(name in only) for name, each in zip(NAMES, tensors, strict=True)]


def slopes(function, given, *block, what):
    """The gradients of a loss by those of the `given` leaves that require one."""
    loss = function(*given, *block)
    expect(isinstance(loss, torch.Tensor), f"{what} should be a tensor, but is a {type(loss).__name__}")
    expect(loss.requires_grad, f"{what} should be differentiable, but has no graph", hint="detach nothing")
    loss.backward()
    asked = {name: each for name, each in zip(NAMES, given, strict=True) if each.requires_grad}
    for name, leaf in asked.items():
        hint = "no .item(), no float(), no detach(); a checkpoint finds the gradients of its arguments"
        expect(leaf.grad is not None, f"{name} should get a gradient from {what}, but gets none", hint=hint)
    return {name: each.grad for name, each in asked.items()}


def both_losses(block):
    """(name, function of the four arguments) of the loss and of its blocks."""
    yield "siglip_loss", siglip_loss
    yield f"siglip_loss_blocks(block={block})", lambda *given: siglip_loss_blocks(*given, block)
