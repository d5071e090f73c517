"""transformers' warpers, in the order of its generate(). They want [batch, vocab]; checks and the greedy case are the caller's."""

import torch
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper


def top_p_filter(logits, p):
    if not 0 < p <= 1:
        raise ValueError("0 < p <= 1 is needed")
    flat = logits.reshape(-1, logits.shape[-1])
    return TopPLogitsWarper(top_p=float(p))(None, flat).reshape(logits.shape).clone()


def sample_top_p(logits, p, temperature=1.0, top_k=None, *, generator=None):
    if not 0 < p <= 1 or not temperature >= 0 or (top_k is not None and top_k < 1):
        raise ValueError("0 < p <= 1, temperature >= 0 and top_k >= 1 are needed")
    if temperature == 0:
        return logits.argmax(-1)
    scores = logits.reshape(-1, logits.shape[-1]).double()
    warpers = [TemperatureLogitsWarper(float(temperature)), TopPLogitsWarper(top_p=float(p))]
    if top_k is not None:
        warpers.insert(1, TopKLogitsWarper(top_k=top_k))
    for warper in warpers:
        scores = warper(None, scores)
    return torch.multinomial(scores.softmax(-1), 1, generator=generator).reshape(logits.shape[:-1])
