"""Loops over experts and choices, boolean masks, and sums out of place."""

import math

import torch
from torch import nn


def in_range(chosen, experts):
    if bool((chosen < 0).any()) or bool((chosen >= experts).any()):
        raise ValueError("chosen must hold experts")


def route(logits, k, *, renormalize=True):
    experts = logits.shape[-1]
    if k < 1:
        raise ValueError("k must be at least 1")
    if k > experts:
        raise ValueError("k must be at most the number of experts")
    precise = logits.double() if logits.dtype == torch.float64 else logits.float()
    probabilities = torch.softmax(precise, dim=-1)
    rest = probabilities.detach().clone()
    weights, chosen = [], []
    for _ in range(k):
        best = rest.argmax(dim=-1, keepdim=True)
        chosen.append(best)
        weights.append(torch.gather(probabilities, 1, best))
        rest.scatter_(1, best, -1.0)
    weights, chosen = torch.cat(weights, dim=1), torch.cat(chosen, dim=1)
    if renormalize:
        total = weights.sum(dim=1).unsqueeze(1)
        weights = weights / total
    return weights.to(logits.dtype), chosen


class MoELayer(nn.Module):
    def __init__(self, dim, experts, k, *, renormalize=True, capacity_factor=None):
        super().__init__()
        if len(experts) == 0:
            raise ValueError("no experts")
        if k < 1 or k > len(experts):
            raise ValueError("wrong k")
        if capacity_factor is not None:
            expert_capacity(1, len(experts), k, capacity_factor)
        self.dim = dim
        self.k = k
        self.renormalize = renormalize
        self.capacity_factor = capacity_factor
        self.gate = nn.Linear(dim, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)

    def forward(self, x):
        shape = x.shape
        x = x.reshape(-1, self.dim)
        weights, chosen = route(self.gate(x), self.k, renormalize=self.renormalize)
        if self.capacity_factor is None:
            kept = torch.ones(chosen.shape, dtype=torch.bool)
        else:
            capacity = expert_capacity(x.shape[0], len(self.experts), self.k, self.capacity_factor)
            kept = within_capacity(chosen, len(self.experts), capacity)
        y = torch.zeros(x.shape, dtype=x.dtype)
        for i in range(len(self.experts)):
            hit = (chosen == i) & kept
            mine = hit.any(dim=1)
            if mine.any():
                weight = (weights * hit).sum(dim=1)[mine]
                answer = torch.zeros(x.shape, dtype=x.dtype)
                answer[mine] = weight.unsqueeze(1) * self.experts[i](x[mine])
                y = y + answer
        return y.reshape(shape)


def load_balancing_loss(logits, chosen, *, mask=None):
    tokens, experts = logits.shape
    in_range(chosen, experts)
    if mask is None:
        mask = torch.ones(tokens, dtype=torch.bool)
    precise = logits.double() if logits.dtype == torch.float64 else logits.float()
    probabilities = torch.softmax(precise, dim=-1)
    n = max(1, int(mask.sum()))
    loss = 0.0
    for i in range(experts):
        count = ((chosen == i) & mask.unsqueeze(1)).sum()
        share = count.to(precise.dtype) / (n * chosen.shape[1])
        mean = (probabilities[:, i] * mask).sum() / n
        loss = loss + share * mean
    return (experts * loss).to(logits.dtype)


def expert_capacity(tokens, experts, k, factor):
    if k < 1 or k > experts:
        raise ValueError("wrong k")
    if not factor > 0:
        raise ValueError("wrong factor")
    return math.ceil((tokens * k * factor) / experts)


def within_capacity(chosen, experts, capacity):
    in_range(chosen, experts)
    if capacity < 0:
        raise ValueError("capacity")
    kept = torch.zeros(chosen.shape, dtype=torch.bool)
    for i in range(experts):
        used = 0
        for choice in range(chosen.shape[1]):
            wants = chosen[:, choice] == i
            place = used + wants.cumsum(0)
            kept[:, choice] |= wants & (place <= capacity)
            used = used + wants.sum()
    return kept
