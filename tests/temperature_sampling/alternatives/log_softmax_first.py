"""Divides normalised log-probabilities, which is the same as dividing logits; no gradient is kept."""

import torch


@torch.no_grad()
def temperature_probs(logits, temperature):
    if not temperature >= 0:
        raise ValueError("temperature")
    log_probs = torch.log_softmax(logits, dim=-1, dtype=torch.float64)
    if temperature == 0:
        first = (logits == logits.max(dim=-1, keepdim=True).values).to(torch.int8).argmax(-1, keepdim=True)
        return (torch.arange(logits.shape[-1]) == first).to(logits.dtype)
    return torch.softmax(log_probs / temperature, dim=-1).to(logits.dtype)


@torch.no_grad()
def sample_token(probs, *, generator=None):
    flat = probs.flatten(0, -2) if probs.dim() > 1 else probs.unsqueeze(0)
    tokens = flat.double().multinomial(num_samples=1, replacement=True, generator=generator)
    return tokens.view(probs.shape[:-1])


@torch.no_grad()
def gumbel_sample(logits, temperature=1.0, *, generator=None):
    if not temperature >= 0:
        raise ValueError("temperature")
    if temperature == 0:
        return logits.argmax(-1)
    log_probs = torch.log_softmax(logits, dim=-1, dtype=torch.float64) / temperature
    uniform = torch.empty(logits.shape, dtype=torch.float64).uniform_(1e-300, 1.0, generator=generator)
    return (log_probs - (-uniform.log()).log()).max(-1).indices
