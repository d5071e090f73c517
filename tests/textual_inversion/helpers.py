"""Layers with known tables. How the learner's lookup works is free: only tables, results and gradients are compared."""

import torch
from torch import nn

from dojo.testing import randn
from dojo.testing.modules import fill
from katas.textual_inversion import LearnedTokens

OLD = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
NEW = torch.tensor([[10.0, 20.0], [30.0, 40.0]])


def worked_example():
    """Four old rows and two new ones, with the ids 4 and 5."""
    layer = LearnedTokens(nn.Embedding.from_pretrained(OLD.clone()), 2, 1)
    fill(layer.new, NEW, what="new", hint="new [count, dim] is one Parameter")
    return layer


def table(rng, vocab=7, dim=3, dtype=torch.float32, **options):
    """A pretrained embedding with rows that differ, the padding row's included."""
    base = nn.Embedding(vocab, dim, dtype=dtype, **options)
    fill(base.weight, randn(rng, vocab, dim))
    return base


def trained(rng, vocab=7, dim=3, count=2, dtype=torch.float32, **options):
    """A layer in the middle of its training: the new rows differ from each other and from all old ones."""
    layer = LearnedTokens(table(rng, vocab, dim, dtype, **options), count, 0)
    fill(layer.new, randn(rng, count, dim), what="new", hint="new [count, dim] is one Parameter")
    return layer


def rows_of(layer):
    """Old and new rows, in the order of their ids."""
    return [*layer.base.weight.detach(), *layer.new.detach()]


def pictures(rng, samples=6, rest=(3, 2), dtype=torch.float64):
    """A prediction and its target."""
    return randn(rng, samples, *rest, dtype=dtype), randn(rng, samples, *rest, dtype=dtype)
