"""A layer of 8 experts of which each token uses 2, in evaluation. The floor is the FLOPs of two experts for each token; at
few tokens, as in decoding, it is the bytes of the experts that are hit instead."""

import torch
from torch import nn

from dojo.testing.bench import work

EXPERTS, K = 8, 2


def dense(layer, x):
    """All experts on all tokens: four times the FLOPs, and most answers are multiplied by 0."""
    weights, chosen = layer.gate(x).softmax(-1).topk(K)
    gates = torch.zeros(len(x), EXPERTS).to(x).scatter(1, chosen, weights / weights.sum(-1, keepdim=True))
    return sum(gate[:, None] * expert(x) for gate, expert in zip(gates.T, layer.experts, strict=True))


def sorted_by_expert(layer, x):
    """One sort and one synchronisation in the place of one for each expert."""
    weights, chosen = layer.gate(x).softmax(-1).topk(K)
    weights = weights / weights.sum(-1, keepdim=True)
    order = chosen.flatten().argsort()
    pieces = x[order // K].split(chosen.flatten().bincount(minlength=EXPERTS).tolist())
    answers = torch.cat([expert(piece) for expert, piece in zip(layer.experts, pieces, strict=True)])
    return torch.zeros_like(x).index_add_(0, order // K, answers * weights.flatten()[order, None])


def evaluated(forward, *inputs):
    def run():
        with torch.no_grad():
            return forward(*inputs)

    return run


@work(
    tokens=512,
    dim=256,
    hidden=1024,
    tiny={"tokens": 64, "dim": 16, "hidden": 32},
    gpu={"tokens": 8192, "dim": 4096, "hidden": 14336},
    sweep={"tokens": (64, 2048)},
    grows={"tokens": 1},
    counts="flops",
)
def layer(bench, tokens, dim, hidden):
    """2 of 8 experts."""
    x = bench.randn(tokens, dim)

    def made(module):
        experts = [nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)) for _ in range(EXPERTS)]
        return module.MoELayer(dim, experts, K).to(bench.device)

    first = made(bench.reference)

    def of(module):
        own = made(module)
        own.load_state_dict(first.state_dict())
        return evaluated(own, x)

    bench.katas(of)
    bench.way("naive: all experts", evaluated(dense, first, x))
    bench.way("sorted by expert", evaluated(sorted_by_expert, first, x))
    bench.adapted("transformers", of)
    bench.same(rtol=1e-3, atol=1e-4)
    bench.floor(flops=tokens * (2 * dim * EXPERTS + 4 * K * dim * hidden))


@work(tokens=8192, experts=64, k=8, sweep={"tokens": (1024,)}, grows={"tokens": 1}, tiny={"tokens": 256})
def places(bench, tokens, experts, k):
    """Who finds a place, at 64 experts of which each token uses 8."""
    chosen = bench.randn(tokens, experts).topk(k).indices
    capacity = bench.reference.expert_capacity(tokens, experts, k, 1.0)

    def by_sorting():
        flat = chosen.T.flatten()
        order = flat.argsort(stable=True)
        sizes = flat.bincount(minlength=experts)
        rank = torch.empty_like(flat)
        rank[order] = torch.arange(len(flat), device=flat.device) - (sizes.cumsum(0) - sizes)[flat[order]]
        return (rank < capacity).view(k, tokens).T

    bench.katas(lambda kata: lambda: kata.within_capacity(chosen, experts, capacity))
    bench.way("by sorting", by_sorting)
    bench.same()
    bench.floor(bytes=chosen.nbytes + chosen.numel())
