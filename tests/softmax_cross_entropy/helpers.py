"""Inputs, and the options that the functions share."""

import torch

from dojo.testing import randint, randn
from katas.softmax_cross_entropy import cross_entropy

from .probe import WRONG

OPTIONS = {
    "no options": {},
    "label_smoothing": {"label_smoothing": 0.3},
    "ignore_index": {"ignore_index": 2},
    "z_loss": {"z_loss": 0.25},
    "total": {"total": 17},
    "all options": {"label_smoothing": 0.2, "ignore_index": 1, "z_loss": 0.1, "total": 9},
}


def tokens(rng, n, vocab, dtype=torch.float64):
    """Logits and targets of n tokens."""
    return 2 * randn(rng, n, vocab, dtype=dtype), randint(rng, 0, vocab, n)


def targets_of(*classes):
    return torch.tensor(classes, dtype=torch.int64)


def one_by_one(logits, targets, **options):
    """The loss of each token alone, as a vector."""
    return torch.stack([cross_entropy(logits[i : i + 1], targets[i : i + 1], **options) for i in range(len(logits))])


def wrong_calls():
    """(words, targets, options) of calls that raise ValueError for 5 classes."""
    for target, options in WRONG.values():
        yield f"targets [0, {target}] of 5 classes and {options or 'no options'}", targets_of(0, target), options
