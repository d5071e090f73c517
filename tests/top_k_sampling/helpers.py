"""What any right top-k sampler does. Tokens are never compared under a fixed seed: only supports and distributions."""

import torch

N = 4000
INF = float("inf")


def shuffled(rng, *shape):
    """Distinct logits 0.5 apart, in another order in every row: what to keep is beyond doubt, and nothing is sorted."""
    return torch.rand(*shape, generator=rng, dtype=torch.float64).argsort(-1).double() / 2 - 1


def kept(filtered):
    return filtered > -INF


def softmax_over(logits, tokens, temperature=1.0):
    """The distribution on `tokens` that the definition asks for, written out for one row."""
    weights = torch.zeros_like(logits)
    weights[tokens] = (logits[tokens] / temperature).exp()
    return weights / weights.sum()
