"""Counts the nucleus with searchsorted and keeps everything from its least probable logit upwards, so ties at the edge
all stay. Draws by inverting the cumulative sum below its p-th part."""

import torch


def _count(probs, p):
    """How many of the descending `probs` [*batch, n] make up p, as [*batch, 1]."""
    cumulative = probs.cumsum(-1)
    wanted = torch.full_like(cumulative[..., :1], p)
    return (torch.searchsorted(cumulative, wanted) + 1).clamp(max=probs.shape[-1])


def top_p_filter(logits, p):
    if not 0.0 < p <= 1.0:
        raise ValueError("p must be in (0, 1]")
    ordered = torch.sort(logits, dim=-1, descending=True).values
    count = _count(ordered.double().softmax(-1), p)
    least = ordered.gather(-1, count - 1)
    return logits.clone().masked_fill_(logits < least, -torch.inf)


def sample_top_p(logits, p, temperature=1.0, top_k=None, *, generator=None):
    if not 0.0 < p <= 1.0:
        raise ValueError("p must be in (0, 1]")
    if not temperature >= 0:
        raise ValueError("temperature must be >= 0")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k must be >= 1")
    if temperature == 0:
        return logits.argmax(-1)
    ordered, tokens = logits.double().sort(dim=-1, descending=True, stable=True)
    ordered, tokens = ordered[..., :top_k], tokens[..., :top_k]
    probs = (ordered / temperature).softmax(-1)
    cumulative = probs.cumsum(-1)
    total = cumulative.gather(-1, _count(probs, p) - 1)  # the mass of the nucleus
    u = torch.rand(total.shape, dtype=torch.float64, generator=generator) * total
    rank = torch.searchsorted(cumulative, u, right=True).clamp(max=probs.shape[-1] - 1)
    return tokens.gather(-1, rank)[..., 0]
