"""Everything in float64. One uniform number a row finds its place in the cumulative sum; the noise is scaled by T
instead of the logits being divided, which has the same argmax."""

import torch


def _checked(temperature):
    if temperature < 0 or temperature != temperature:
        raise ValueError(f"bad temperature {temperature}")
    return temperature


def temperature_probs(logits, temperature):
    if _checked(temperature) == 0:
        probs = torch.zeros_like(logits)
        return probs.scatter_(-1, logits.argmax(-1)[..., None], 1)
    return logits.double().div(temperature).softmax(-1).to(logits)


def sample_token(probs, *, generator=None):
    cumulative = probs.double().cumsum(-1)
    u = torch.rand(*probs.shape[:-1], 1, dtype=torch.float64, generator=generator)
    # Counting the sums that are <= u also skips tokens of probability 0; scaling by the last sum absorbs rounding.
    return (cumulative <= u * cumulative[..., -1:]).sum(-1)


def gumbel_sample(logits, temperature=1.0, *, generator=None):
    if _checked(temperature) == 0:
        return logits.argmax(-1)
    u = torch.rand(logits.shape, dtype=torch.float64, generator=generator)
    noise = -torch.log(-torch.log(u + 1e-20) + 1e-20)
    return torch.argmax(logits.double() + temperature * noise, dim=-1)
