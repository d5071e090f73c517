"""Draws by an exponential race (the smallest E / p wins); Gumbel noise is minus the logarithm of an exponential."""

import torch
import torch.nn.functional as F


def temperature_probs(logits, temperature):
    if not temperature >= 0:
        raise ValueError("the temperature must not be negative")
    if temperature == 0:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
    return F.softmax(logits.float() / temperature if logits.dtype.itemsize < 4 else logits / temperature, -1).type_as(
        logits
    )


def sample_token(probs, *, generator=None):
    race = torch.empty(probs.shape, dtype=torch.float32).exponential_(generator=generator)
    return (race / probs).argmin(dim=-1)


def gumbel_sample(logits, temperature=1.0, *, generator=None):
    if not temperature >= 0:
        raise ValueError("the temperature must not be negative")
    if temperature == 0:
        return logits.argmax(dim=-1)
    noise = -torch.empty(logits.shape, dtype=torch.float64).exponential_(generator=generator).log()
    return (logits.double() / temperature + noise).argmax(dim=-1)
