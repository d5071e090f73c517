"""A beginner's order: the filter first, written with a full sort; sampling reuses it only where it is cheap."""

import math

import torch


def top_k_filter(logits, k):
    if k < 1:
        raise ValueError("k must be 1 or more")
    ordered = torch.sort(logits, dim=-1, descending=True)[0]
    last = min(k, logits.shape[-1]) - 1
    smallest_kept = ordered[..., last].unsqueeze(-1)
    out = logits.clone()
    out[(logits < smallest_kept).expand_as(out)] = -math.inf
    return out


def sample_top_k(logits, k, temperature=1.0, *, generator=None):
    if k < 1:
        raise ValueError("k must be 1 or more")
    if temperature < 0 or math.isnan(temperature):
        raise ValueError("temperature must be 0 or more")
    if temperature == 0:
        return torch.argmax(logits, dim=-1)
    best = torch.topk(logits, k if k < logits.shape[-1] else logits.shape[-1], dim=-1)
    z = best.values.float() if best.values.dtype != torch.float64 else best.values
    z = z - z.max(dim=-1, keepdim=True)[0]
    weights = torch.exp(z / temperature)
    probabilities = weights / weights.sum(dim=-1, keepdim=True)
    rows = probabilities.reshape(-1, probabilities.shape[-1])
    choice = torch.multinomial(rows, 1, generator=generator).reshape(logits.shape[:-1])
    return torch.gather(best.indices, -1, choice.unsqueeze(-1)).squeeze(-1)
