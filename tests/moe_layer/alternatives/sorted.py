"""Assignments are sorted by expert, cut into one piece for each, and added back in one step: one synchronisation in all.
Places are ranks within a sorted group."""

import math

import torch
from torch import nn


def wide(tensor):
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def route(logits, k, *, renormalize=True):
    if k < 1 or k > logits.size(-1):
        raise ValueError("k")
    probabilities = torch.softmax(wide(logits), dim=-1)
    order = probabilities.sort(dim=-1, descending=True)
    weights, chosen = order.values[:, :k], order.indices[:, :k]
    if renormalize:
        weights = nn.functional.normalize(weights, p=1, dim=-1, eps=1e-20)
    return weights.type_as(logits), chosen


class MoELayer(nn.Module):
    def __init__(self, dim, experts, k, *, renormalize=True, capacity_factor=None):
        super().__init__()
        if not experts or not 1 <= k <= len(experts):
            raise ValueError("experts, k")
        if not (capacity_factor is None or capacity_factor > 0):
            raise ValueError("capacity_factor")
        self.experts = nn.ModuleList(experts)
        self.gate = nn.Linear(dim, len(experts), bias=False)
        self.k, self.renormalize, self.factor = k, renormalize, capacity_factor

    def forward(self, x):
        flat, n = x.reshape(-1, x.shape[-1]), len(self.experts)
        weights, chosen = route(self.gate(flat), self.k, renormalize=self.renormalize)
        group = chosen
        if self.factor is not None:
            places = within_capacity(chosen, n, expert_capacity(len(flat), n, self.k, self.factor))
            group = chosen.masked_fill(~places, n)  # a last group, that nobody answers
        order = group.flatten().argsort(stable=True)
        sizes = group.flatten().bincount(minlength=n + 1).tolist()[:n]
        order = order[: sum(sizes)]
        rows = order // self.k
        pieces = flat[rows].split(sizes)
        answers = [expert(piece) for expert, piece in zip(self.experts, pieces, strict=True)]
        answers = torch.cat(answers) * weights.flatten()[order].unsqueeze(-1)
        return torch.zeros_like(flat).index_add(0, rows, answers).reshape(x.shape)


def load_balancing_loss(logits, chosen, *, mask=None):
    tokens, experts = logits.shape
    if chosen.numel() and (chosen.min() < 0 or chosen.max() >= experts):
        raise ValueError("chosen")
    keep = torch.ones(tokens, dtype=torch.bool, device=logits.device) if mask is None else mask
    count = keep.sum().clamp(min=1)
    share = torch.zeros(experts, dtype=wide(logits).dtype).scatter_add(
        0, chosen.flatten(), keep.repeat_interleave(chosen.shape[1]).to(wide(logits).dtype)
    )
    mean = (wide(logits).softmax(-1) * keep[:, None]).sum(0) / count
    return (experts * torch.dot(share / (count * chosen.shape[1]), mean)).type_as(logits)


def expert_capacity(tokens, experts, k, factor):
    if not 1 <= k <= experts or not factor > 0:
        raise ValueError("k, factor")
    return math.ceil(tokens * k / experts * factor)


def within_capacity(chosen, experts, capacity):
    if capacity < 0 or (chosen < 0).any() or (chosen >= experts).any():
        raise ValueError("capacity, chosen")
    flat = chosen.T.flatten()
    order = flat.sort(stable=True).indices
    sizes = flat.bincount(minlength=experts)
    starts = sizes.cumsum(0) - sizes
    rank = torch.empty_like(flat)
    rank[order] = torch.arange(len(flat)) - starts[flat[order]]
    return (rank < capacity).reshape(chosen.shape[1], -1).T
