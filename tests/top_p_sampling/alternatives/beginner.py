"""Plain steps with everything spelled out; p = 1 and k >= vocab are special cases, and the sampler works on sorted
probabilities."""

import math

import torch


def top_p_filter(logits, p):
    if math.isnan(p) or p <= 0 or p > 1:
        raise ValueError("p must be above 0 and at most 1")
    if p == 1:
        return logits.clone()
    largest = logits.max(dim=-1, keepdim=True).values
    weights = torch.exp((logits - largest).double())
    probs = weights / weights.sum(dim=-1, keepdim=True)
    sorted_probs, positions = torch.sort(probs, dim=-1, descending=True)
    mass = torch.cumsum(sorted_probs, dim=-1)
    mass_before = torch.zeros_like(mass)
    mass_before[..., 1:] = mass[..., :-1]
    keep_sorted = mass_before < p
    keep = torch.zeros_like(keep_sorted)
    keep.scatter_(-1, positions, keep_sorted)
    result = logits.clone()
    result[~keep] = -math.inf
    return result


def sample_top_p(logits, p, temperature=1.0, top_k=None, *, generator=None):
    if math.isnan(p) or p <= 0 or p > 1:
        raise ValueError("p must be above 0 and at most 1")
    if math.isnan(temperature) or temperature < 0:
        raise ValueError("temperature must be 0 or more")
    if top_k is not None and top_k < 1:
        raise ValueError("top_k must be 1 or more")
    if temperature == 0:
        return torch.argmax(logits, dim=-1)
    scaled = logits.double() / temperature
    sorted_scaled, positions = torch.sort(scaled, dim=-1, descending=True)
    if top_k is not None and top_k < logits.shape[-1]:
        sorted_scaled[..., top_k:] = -math.inf
    sorted_scaled = top_p_filter(sorted_scaled, p)
    probs = torch.softmax(sorted_scaled, dim=-1)
    flat = probs.reshape(-1, probs.shape[-1])
    choice = torch.multinomial(flat, 1, generator=generator)
    flat_positions = positions.reshape(-1, probs.shape[-1])
    return torch.gather(flat_positions, 1, choice).reshape(logits.shape[:-1])
