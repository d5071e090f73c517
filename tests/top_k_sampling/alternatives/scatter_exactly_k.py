"""Keeps exactly k: scatters the k best into a row of -inf. Ties at the threshold lose by position."""

import torch


def top_k_filter(logits, k):
    if k < 1:
        raise ValueError("k < 1")
    values, tokens = torch.topk(logits, min(k, logits.size(-1)), dim=-1)
    return torch.full_like(logits, float("-inf")).scatter(-1, tokens, values)


def sample_top_k(logits, k, temperature=1.0, *, generator=None):
    if k < 1 or temperature < 0 or temperature != temperature:
        raise ValueError("bad k or temperature")
    if temperature == 0:
        return logits.argmax(dim=-1)
    values, tokens = torch.topk(logits, min(k, logits.size(-1)), dim=-1)
    # Inverse CDF: the first rank whose cumulative probability exceeds a uniform number.
    weights = ((values.double() - values.double()[..., :1]) / temperature).exp()
    cumulative = weights.cumsum(-1)
    u = torch.rand(*logits.shape[:-1], 1, dtype=torch.float64, generator=generator) * cumulative[..., -1:]
    rank = torch.searchsorted(cumulative, u, right=True).clamp(max=values.size(-1) - 1)
    return tokens.gather(-1, rank).squeeze(-1)
