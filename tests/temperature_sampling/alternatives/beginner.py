"""The softmax written out by hand, plain steps, a comparison instead of a scatter."""

import math

import torch


def temperature_probs(logits, temperature):
    if math.isnan(temperature) or temperature < 0:
        raise ValueError("temperature must be 0 or more")
    vocab = logits.shape[-1]
    if temperature == 0:
        best = torch.argmax(logits, dim=-1)
        positions = torch.arange(vocab)
        return torch.where(positions == best.unsqueeze(-1), 1.0, 0.0).to(logits.dtype)
    largest = torch.max(logits, dim=-1, keepdim=True)[0]
    z = (logits - largest).to(torch.float64) / temperature
    e = torch.exp(z)
    return (e / torch.sum(e, dim=-1, keepdim=True)).to(logits.dtype)


def sample_token(probs, *, generator=None):
    batch_shape = probs.shape[:-1]
    two_dimensional = probs.reshape(math.prod(batch_shape), probs.shape[-1])
    drawn = torch.multinomial(two_dimensional, num_samples=1, generator=generator)
    return drawn.squeeze(1).reshape(batch_shape)


def gumbel_sample(logits, temperature=1.0, *, generator=None):
    if math.isnan(temperature) or temperature < 0:
        raise ValueError("temperature must be 0 or more")
    if temperature == 0:
        return torch.argmax(logits, dim=-1)
    u = torch.rand(logits.shape, generator=generator).clamp(min=1e-30)
    g = -torch.log(-torch.log(u))
    return torch.argmax(logits.to(torch.float32) / temperature + g, dim=-1)
