"""transformers' TopKLogitsWarper as the filter. It wants [batch, vocab] and reads an int k; the rest is the caller's."""

import torch
from transformers import TopKLogitsWarper


def top_k_filter(logits, k):
    flat = logits.reshape(-1, logits.shape[-1])
    return TopKLogitsWarper(top_k=k)(None, flat).reshape(logits.shape).clone()


def sample_top_k(logits, k, temperature=1.0, *, generator=None):
    if k < 1 or not temperature >= 0:
        raise ValueError("k >= 1 and temperature >= 0 are needed")
    if temperature == 0:
        return logits.argmax(-1)
    # transformers filters and then samples from the whole vocabulary; taking the k best out first keeps stage 4's cost.
    best, tokens = logits.topk(min(k, logits.shape[-1]))
    warped = top_k_filter((best.double() - best[..., :1].double()) / temperature, k)
    rank = torch.multinomial(warped.softmax(-1).reshape(-1, best.shape[-1]), 1, generator=generator)
    return tokens.gather(-1, rank.reshape(*tokens.shape[:-1], 1)).squeeze(-1)
