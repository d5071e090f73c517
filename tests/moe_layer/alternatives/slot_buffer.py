"""Every answer has a place of its own, [tokens, k, dim]; the weighted sum over k is one einsum at the end."""

import torch
from torch import nn


def route(logits, k, *, renormalize=True):
    if k not in range(1, logits.shape[-1] + 1):
        raise ValueError(k)
    dtype = logits.dtype
    if dtype != torch.float64:
        logits = logits.to(torch.float32)
    log_p = logits.log_softmax(-1)
    log_w, chosen = log_p.topk(k, dim=-1, largest=True, sorted=True)
    if renormalize:
        log_w = log_w.log_softmax(-1)
    return log_w.exp().to(dtype), chosen


class MoELayer(nn.Module):
    def __init__(self, dim, experts, k, *, renormalize=True, capacity_factor=None):
        super().__init__()
        if k not in range(1, len(experts) + 1) or not (capacity_factor is None or capacity_factor > 0):
            raise ValueError((len(experts), k, capacity_factor))
        self.gate = nn.Linear(dim, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)
        self.k, self.renormalize, self.capacity_factor = k, renormalize, capacity_factor

    def forward(self, x):
        *batch, dim = x.shape
        x = x.reshape(-1, dim)
        weights, chosen = route(self.gate(x), self.k, renormalize=self.renormalize)
        answers = x.new_zeros(len(x), self.k, dim)
        places = torch.full_like(chosen, True, dtype=torch.bool)
        if self.capacity_factor is not None:
            capacity = expert_capacity(len(x), len(self.experts), self.k, self.capacity_factor)
            places = within_capacity(chosen, len(self.experts), capacity)
        for i in sorted(set(chosen[places].tolist())):
            mine = places & (chosen == i)
            answers[mine] = self.experts[i](x[mine.nonzero()[:, 0]])
        return torch.einsum("tk,tkd->td", weights, answers).reshape(*batch, dim)


def load_balancing_loss(logits, chosen, *, mask=None):
    experts = logits.shape[-1]
    if not all(0 <= i < experts for i in chosen.unique().tolist()):
        raise ValueError(chosen)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    mask = torch.ones(len(logits), dtype=torch.bool) if mask is None else mask
    n = max(mask.count_nonzero().item(), 1)
    p = mask.to(dtype) @ logits.softmax(-1, dtype=dtype) / n
    f = (
        torch.histc(chosen[mask].double(), experts, 0, experts - 1)
        if experts > 1
        else chosen[mask].numel() * p.new_ones(1)
    )
    return ((f.to(dtype) / (n * chosen.shape[1])) @ p * experts).to(logits.dtype)


def expert_capacity(tokens, experts, k, factor):
    if k not in range(1, experts + 1) or not factor > 0:
        raise ValueError((experts, k, factor))
    exact = factor * (tokens * k) / experts
    return int(exact) + (exact > int(exact))


def within_capacity(chosen, experts, capacity):
    if capacity < 0 or not all(0 <= i < experts for i in chosen.unique().tolist()):
        raise ValueError((chosen, capacity))
    line = chosen.T.reshape(-1)
    kept = torch.zeros_like(line, dtype=torch.bool)
    for i in range(experts):
        kept[(line == i).nonzero()[:capacity, 0]] = True
    return kept.view(chosen.shape[1], chosen.shape[0]).T
