"""Top k of the logits first; the softmax of those that are chosen is the renormalised one. Answers are added to the rows
of y in place, which is right while no row stands twice in one expert's tokens. Experts without tokens get [0, dim]."""

from math import ceil

import torch
from torch import nn


def route(logits, k, *, renormalize=True):
    if not 1 <= k <= logits.shape[1]:
        raise ValueError(f"k={k}")
    kind = torch.float64 if logits.dtype == torch.float64 else torch.float
    top, chosen = torch.topk(logits, k)
    if renormalize:
        return torch.softmax(top, dim=1, dtype=kind).to(logits.dtype), chosen
    return (top.to(kind) - torch.logsumexp(logits.to(kind), 1, keepdim=True)).exp().to(logits.dtype), chosen


class MoELayer(nn.Module):
    def __init__(self, dim, experts, k, *, renormalize=True, capacity_factor=None):
        super().__init__()
        if not 1 <= k <= len(experts):
            raise ValueError(f"k={k}")
        if capacity_factor is not None and (capacity_factor != capacity_factor or capacity_factor <= 0):
            raise ValueError(f"capacity_factor={capacity_factor}")
        self.experts = nn.ModuleList(experts)
        self.gate = nn.Linear(dim, len(experts), bias=False)
        self.args = k, renormalize, capacity_factor

    def forward(self, inputs):
        k, renormalize, factor = self.args
        flat = inputs.reshape(-1, inputs.shape[-1])
        weights, selected = route(self.gate(flat), k, renormalize=renormalize)
        keep = torch.ones_like(selected, dtype=torch.bool)
        if factor is not None:
            keep = within_capacity(
                selected, len(self.experts), expert_capacity(len(flat), len(self.experts), k, factor)
            )
        results = torch.zeros_like(flat)
        for i, expert in enumerate(self.experts):
            batch, nth = torch.where((selected == i) & keep)
            results[batch] += weights[batch, nth, None] * expert(flat[batch])
        return results.reshape(inputs.shape)


def load_balancing_loss(logits, chosen, *, mask=None):
    n = logits.shape[-1]
    if ((chosen < 0) | (chosen > n - 1)).any():
        raise ValueError("chosen")
    if mask is not None:
        rows = mask.nonzero().squeeze(1)
        logits, chosen = logits[rows], chosen[rows]
    if len(logits) == 0:
        return logits.sum()  # 0, with a graph
    kind = torch.float64 if logits.dtype == torch.float64 else torch.float
    p = torch.softmax(logits, -1, dtype=kind).mean(0)
    f = torch.stack([(chosen == i).to(kind).mean() for i in range(n)])
    return (n * (f * p).sum()).to(logits.dtype)


def expert_capacity(tokens, experts, k, factor):
    if k < 1 or k > experts or factor != factor or factor <= 0:
        raise ValueError("k or factor")
    return ceil(factor * tokens * k / experts)


def within_capacity(chosen, experts, capacity):
    if capacity < 0 or ((chosen < 0) | (chosen > experts - 1)).any():
        raise ValueError("chosen or capacity")
    kept = torch.zeros_like(chosen, dtype=torch.bool)
    for i in range(experts):
        slot, token = torch.where(chosen.T == i)  # all first choices in front
        kept[token[:capacity], slot[:capacity]] = True
    return kept
