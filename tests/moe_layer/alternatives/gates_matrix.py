"""A matrix of gates, [tokens, experts], as in Shazeer's dispatcher: zero where a token does not go. Answers are stitched
together and added once. Places follow GShard: choice by choice, behind those that earlier choices have taken."""

import torch
from torch import nn
from torch.nn import functional as F


def softmax(logits):
    kind = torch.promote_types(torch.float32, logits.dtype)
    exps = (logits.to(kind) - logits.to(kind).amax(-1, keepdim=True)).exp()
    return exps / exps.sum(-1, keepdim=True)


def check(condition):
    if not condition:
        raise ValueError("out of range")


def route(logits, k, *, renormalize=True):
    check(1 <= k <= logits.shape[-1])
    probabilities = softmax(logits)
    chosen = torch.topk(probabilities.detach(), k, dim=-1).indices
    weights = probabilities.gather(-1, chosen)
    if renormalize:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return weights.to(logits.dtype), chosen


class MoELayer(nn.Module):
    def __init__(self, dim, experts, k, *, renormalize=True, capacity_factor=None):
        super().__init__()
        check(1 <= k <= len(experts))
        check(capacity_factor is None or capacity_factor > 0)
        self.gate = nn.Linear(dim, len(experts), bias=False)
        self.experts = nn.ModuleList(experts)
        self.k, self.renormalize, self.capacity_factor = k, renormalize, capacity_factor

    def forward(self, x):
        rows = x.flatten(0, -2) if x.dim() > 1 else x[None]
        n = len(self.experts)
        weights, chosen = route(self.gate(rows), self.k, renormalize=self.renormalize)
        goes = torch.ones_like(chosen, dtype=torch.bool)
        if self.capacity_factor is not None:
            goes = within_capacity(chosen, n, expert_capacity(len(rows), n, self.k, self.capacity_factor))
        gates = weights.new_zeros(len(rows), n).scatter(1, chosen, weights)
        goes = torch.zeros_like(gates, dtype=torch.bool).scatter(1, chosen, goes)
        expert_index, token = goes.T.nonzero(as_tuple=True)  # sorted by expert
        inputs = torch.split(rows[token], goes.sum(0).tolist())
        outputs = [expert(part) for expert, part in zip(self.experts, inputs, strict=True) if len(part)]
        stitched = torch.cat(outputs) * gates[token, expert_index][:, None]
        return torch.zeros_like(rows).index_add(0, token, stitched).reshape(x.shape)


def load_balancing_loss(logits, chosen, *, mask=None):
    experts = logits.shape[-1]
    check(((chosen >= 0) & (chosen < experts)).all())
    p = softmax(logits)
    hits = F.one_hot(chosen, experts).sum(1).to(p.dtype)  # [tokens, experts]
    if mask is not None:
        p, hits = p.where(mask[:, None], 0.0), hits.where(mask[:, None], 0.0)
    tokens = len(p) if mask is None else max(int(mask.sum()), 1)
    return (torch.einsum("se,te->", hits / tokens, p / tokens) * experts / chosen.shape[1]).to(logits.dtype)


def expert_capacity(tokens, experts, k, factor):
    check(1 <= k <= experts and factor > 0)
    return -int(-(factor * tokens * k) // experts)


def within_capacity(chosen, experts, capacity):
    check(capacity >= 0 and bool(((chosen >= 0) & (chosen < experts)).all()))
    taken, places = torch.zeros(experts, dtype=torch.int64, device=chosen.device), []
    for choice in chosen.unbind(1):
        hits = F.one_hot(choice, experts)
        rank = hits.cumsum(0) - hits + taken
        places.append(rank.gather(1, choice[:, None])[:, 0] < capacity)
        taken = taken + hits.sum(0)
    return torch.stack(places, 1)
