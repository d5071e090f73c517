"""transformers: the router of Qwen2-MoE, which renormalises or not, the dispatch of Switch, whose experts are modules, and
Switch's balancing loss, whose f adds up to k.

The library computes in float32 whatever it is given, so torch's own operators take its place for float64. Its capacity is
that of one choice for each token, so that places are counted here, and its loss has no mask: masked rows are left out.
"""

import math
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F
from transformers.models.qwen2_moe.modeling_qwen2_moe import Qwen2MoeTopKRouter
from transformers.models.switch_transformers.modeling_switch_transformers import (
    SwitchTransformersConfig,
    SwitchTransformersExperts,
    load_balancing_loss_func,
)


def check(condition):
    if not condition:
        raise ValueError("out of range")


def route(logits, k, *, renormalize=True):
    experts = logits.shape[-1]
    check(1 <= k <= experts)
    if logits.dtype == torch.float64:
        weights, chosen = logits.softmax(-1).topk(k)
        return F.normalize(weights, p=1, dim=-1) if renormalize else weights, chosen
    sizes = {"num_experts": experts, "hidden_size": experts, "num_experts_per_tok": k}
    router = Qwen2MoeTopKRouter(SimpleNamespace(**sizes, norm_topk_prob=renormalize))
    router.weight = nn.Parameter(torch.eye(experts, dtype=logits.dtype), requires_grad=False)  # logits pass as they are
    _, weights, chosen = router(logits)
    return weights, chosen


class MoELayer(nn.Module):
    def __init__(self, dim, experts, k, *, renormalize=True, capacity_factor=None):
        super().__init__()
        check(1 <= k <= len(experts))
        check(capacity_factor is None or capacity_factor > 0)
        self.gate, self.experts = nn.Linear(dim, len(experts), bias=False), nn.ModuleList(experts)
        self.k, self.renormalize, self.capacity_factor = k, renormalize, capacity_factor
        dispatch = SwitchTransformersExperts(SwitchTransformersConfig(d_model=1, d_ff=1, num_experts=len(experts)))
        for i, expert in enumerate(experts):
            dispatch[f"expert_{i}"] = expert
        self.dispatch = [dispatch]  # in a list, so that parameters are registered once, and not under other names

    def forward(self, x):
        tokens, experts = x.reshape(-1, x.shape[-1]), len(self.experts)
        weights, chosen = route(self.gate(tokens), self.k, renormalize=self.renormalize)
        selected = F.one_hot(chosen, experts)
        if self.capacity_factor is not None:
            capacity = expert_capacity(len(tokens), experts, self.k, self.capacity_factor)
            selected = selected * within_capacity(chosen, experts, capacity)[..., None]
        return self.dispatch[0](tokens, selected, weights).reshape(x.shape)


def load_balancing_loss(logits, chosen, *, mask=None):
    experts, k = logits.shape[-1], chosen.shape[1]
    check(((chosen >= 0) & (chosen < experts)).all())
    if mask is not None:
        logits, chosen = logits[mask], chosen[mask]
    if not len(logits):
        return logits.sum()
    if logits.dtype == torch.float64:
        return experts * (F.one_hot(chosen, experts).double().mean((0, 1)) * logits.softmax(-1).mean(0)).sum()
    probabilities = logits.softmax(-1, dtype=torch.float32)
    return (load_balancing_loss_func(probabilities[None], chosen[None]) / k).to(logits.dtype)


def expert_capacity(tokens, experts, k, factor):
    check(1 <= k <= experts and factor > 0)
    return math.ceil(factor * tokens * k / experts)


def within_capacity(chosen, experts, capacity):
    check(capacity >= 0 and ((chosen >= 0) & (chosen < experts)).all())
    hits = F.one_hot(chosen.T.flatten(), experts)
    return ((hits.cumsum(0) * hits).sum(-1) <= capacity).view(chosen.T.shape).T
