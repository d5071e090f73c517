"""gpt-fast's sampler: probabilities divided by exponential noise, then the argmax. The filter is nanoGPT's."""

import torch


def top_k_filter(logits, k):
    if k < 1:
        raise ValueError("k must be >= 1")
    logits = logits.clone()
    v, _ = torch.topk(logits, min(k, logits.size(-1)))
    logits[logits < v[..., [-1]]] = -float("Inf")
    return logits


def sample_top_k(logits, k, temperature=1.0, *, generator=None):
    if k < 1:
        raise ValueError("k must be >= 1")
    if not 0 <= temperature:
        raise ValueError("temperature must be >= 0")
    if temperature == 0:
        return torch.argmax(logits, dim=-1)
    v, i = torch.topk(logits.detach(), min(k, logits.size(-1)))
    probs = torch.nn.functional.softmax((v - v[..., :1]).double() / temperature, dim=-1)
    race = torch.empty_like(probs).exponential_(1.0, generator=generator)
    return i.gather(-1, (probs / race).argmax(-1, keepdim=True)).squeeze(-1)
