"""As in small tutorials: logits that are not chosen become -inf, and one more softmax renormalises. The experts' parts are
transposed masks [experts, k, tokens], as in Hugging Face's older code."""

import torch
from torch import nn
from torch.nn import functional as F


def wide(tensor):
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def route(logits, k, *, renormalize=True):
    if k <= 0 or k > logits.shape[-1]:
        raise ValueError("k")
    scores = wide(logits)
    _, chosen = scores.topk(k, dim=-1)
    if renormalize:
        scores = torch.full_like(scores, float("-inf")).scatter(-1, chosen, scores.gather(-1, chosen))
    return torch.take_along_dim(F.softmax(scores, dim=-1), chosen, dim=-1).to(logits.dtype), chosen


class MoELayer(nn.Module):
    def __init__(self, dim, experts, k, *, renormalize=True, capacity_factor=None):
        super().__init__()
        self.n, self.k, self.renormalize, self.factor = len(experts), k, renormalize, capacity_factor
        if not 0 < k <= self.n:
            raise ValueError("k")
        if capacity_factor is not None and not 0 < capacity_factor:
            raise ValueError("capacity_factor")
        self.gate, self.experts = nn.Linear(dim, self.n, bias=False), nn.ModuleList()
        self.experts.extend(experts)

    def forward(self, x):
        h = x.reshape(-1, x.size(-1))
        weights, chosen = route(self.gate(h), self.k, renormalize=self.renormalize)
        masks = F.one_hot(chosen, self.n)  # [tokens, k, experts]
        if self.factor is not None:
            places = within_capacity(chosen, self.n, expert_capacity(h.size(0), self.n, self.k, self.factor))
            masks = masks * places.unsqueeze(-1)
        out = torch.zeros(h.shape, dtype=x.dtype, device=x.device)
        for expert, mask in zip(self.experts, masks.permute(2, 1, 0), strict=True):
            nth, token = torch.where(mask > 0)
            out = out.index_put((token,), expert(h[token]) * weights[token, nth].unsqueeze(-1), accumulate=True)
        return out.view(x.shape)


def load_balancing_loss(logits, chosen, *, mask=None):
    tokens, n = logits.shape
    if (chosen < 0).any() or (chosen >= n).any():
        raise ValueError("chosen")
    weight = torch.ones(tokens) if mask is None else mask.float()
    weight = weight.to(wide(logits).dtype)
    total = weight.sum().clamp(min=1)
    hits = F.one_hot(chosen, n).to(weight.dtype) * weight[:, None, None]
    f = hits.sum((0, 1)) / (total * chosen.size(1))
    p = (F.softmax(wide(logits), dim=-1) * weight[:, None]).sum(0) / total
    return (f * p).sum().mul(n).to(logits.dtype)


def expert_capacity(tokens, experts, k, factor):
    if not 0 < k <= experts or not 0 < factor:
        raise ValueError("k, factor")
    return int(torch.tensor(factor * tokens * k / experts, dtype=torch.float64).ceil())


def within_capacity(chosen, experts, capacity):
    if (chosen < 0).any() or (chosen >= experts).any() or capacity < 0:
        raise ValueError("chosen, capacity")
    line = F.one_hot(chosen.T, experts)  # [k, tokens, experts]
    rank = line.flatten(0, 1).cumsum(0).view_as(line)
    return (rank.le(capacity) & line.bool()).any(-1).T
