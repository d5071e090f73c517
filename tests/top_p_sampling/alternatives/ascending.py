"""Sorts ascending and removes the tail of mass at most 1 - p (so at a mass of exactly p nothing more is kept); the
sampler is the composition that libraries use: temperature, top-k filter, top-p filter, softmax, multinomial."""

import torch


def top_p_filter(logits, p):
    if not 0 < p <= 1:
        raise ValueError("p out of range")
    ordered, order = torch.sort(logits, descending=False)
    tail = ordered.softmax(dim=-1, dtype=torch.float64).cumsum(dim=-1)
    remove = tail <= 1 - p
    remove[..., -1] = False
    return logits.masked_fill(remove.scatter(-1, order, remove), float("-inf"))


def sample_top_p(logits, p, temperature=1.0, top_k=None, *, generator=None):
    if not 0 < p <= 1 or not temperature >= 0 or (top_k is not None and top_k < 1):
        raise ValueError("bad argument")
    if temperature == 0:
        return logits.argmax(-1)
    scores = logits.double() / temperature
    if top_k is not None and top_k < scores.shape[-1]:
        smallest = torch.topk(scores, top_k).values[..., -1, None]
        scores = scores.masked_fill(scores < smallest, float("-inf"))
    probs = top_p_filter(scores, p).softmax(-1)
    return torch.multinomial(probs.reshape(-1, probs.shape[-1]), 1, generator=generator).reshape(logits.shape[:-1])
