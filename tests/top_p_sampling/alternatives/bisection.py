"""No sort: bisects for the largest probability threshold whose tokens still have mass p, as GPU kernels do. Ties all
stay. The nucleus of the top k is found the same way, on the whole row."""

import torch


def _inside(probs, p):
    low, high = torch.zeros_like(probs[..., :1]), probs.amax(-1, keepdim=True)
    for _ in range(30):
        middle = (low + high) / 2
        enough = torch.where(probs >= middle, probs, 0.0).sum(-1, keepdim=True) >= p
        low, high = torch.where(enough, middle, low), torch.where(enough, high, middle)
    return (probs >= low) | (probs == probs.amax(-1, keepdim=True))


def _check(p):
    if not 0 < p <= 1:
        raise ValueError("p must lie in (0, 1]")


def top_p_filter(logits, p):
    _check(p)
    return logits.where(_inside(logits.float().softmax(-1), p), -torch.inf)


def sample_top_p(logits, p, temperature=1.0, top_k=None, *, generator=None):
    _check(p)
    if not temperature >= 0:
        raise ValueError("negative temperature")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k")
    if temperature == 0:
        return logits.argmax(-1)
    probs = ((logits - logits.amax(-1, keepdim=True)).float() / temperature).softmax(-1)
    if top_k is not None and top_k < probs.shape[-1]:
        probs = torch.where(probs < probs.topk(top_k).values[..., -1:], 0.0, probs)
        probs = probs / probs.sum(-1, keepdim=True)
    probs = torch.where(_inside(probs, p), probs, 0.0)
    exponential = torch.empty_like(probs).exponential_(generator=generator)
    return (probs / exponential).argmax(-1)
