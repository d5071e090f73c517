"""Stays in the dtype of the logits wherever that is safe (the shift is exact enough, and softmax widens inside); the
race is run on probabilities, the noise comes from one chain of in-place calls."""

import torch


def temperature_probs(logits, temperature):
    if not temperature >= 0:
        raise ValueError("temperature must be >= 0")
    shifted = logits - logits.amax(-1, keepdim=True)
    if temperature == 0:
        hot = shifted == 0
        return (hot & (hot.cumsum(-1) == 1)).to(logits.dtype)  # the first of equals
    return (shifted / temperature).softmax(-1)


def sample_token(probs, *, generator=None):
    exponential = torch.rand(probs.shape, generator=generator).double().clamp(min=1e-30).log().neg()
    return torch.argmax(probs / exponential, dim=-1)


def gumbel_sample(logits, temperature=1.0, *, generator=None):
    if not temperature >= 0:
        raise ValueError("temperature must be >= 0")
    if temperature == 0:
        return logits.argmax(-1)
    scores = (logits - logits.amax(-1, keepdim=True)).float() / temperature
    return scores.sub_(torch.empty_like(scores).uniform_(generator=generator).log_().neg_().log_()).argmax(-1)
