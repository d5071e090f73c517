"""No softmax at all: Gumbel noise on the kept logits, then the argmax. The filter sorts and masks by rank."""

import torch


def top_k_filter(logits, k):
    if k < 1:
        raise ValueError("k must be positive")
    order = logits.argsort(dim=-1, descending=True)
    rank = torch.empty_like(order).scatter_(-1, order, torch.arange(logits.shape[-1]).expand_as(order).contiguous())
    return torch.where(rank < k, logits, torch.tensor(-torch.inf, dtype=logits.dtype, device=logits.device))


def sample_top_k(logits, k, temperature=1.0, *, generator=None):
    if k < 1:
        raise ValueError("k must be positive")
    if not (temperature >= 0):
        raise ValueError("temperature must not be negative")
    if temperature == 0.0:
        return logits.max(dim=-1).indices if logits.shape[-1] == 1 else logits.argmax(-1)
    best, tokens = logits.topk(min(k, logits.shape[-1]))
    noise = torch.empty(best.shape, dtype=torch.float64).exponential_(generator=generator).log().neg()
    shifted = (best.double() - best.double().amax(-1, keepdim=True)) / temperature
    winner = (shifted + noise).argmax(-1, keepdim=True)
    return torch.gather(tokens, -1, winner)[..., 0]
