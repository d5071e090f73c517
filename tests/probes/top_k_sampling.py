"""What can be seen of a top-k sampler: filtered logits, and the tokens of many draws."""

import torch

from dojo.probes import Case, Draws
from dojo.testing import randn

INF = float("inf")
N = 4000


def distinct(rng, *shape):
    return torch.rand(*shape, generator=rng, dtype=torch.float64).argsort(-1).double() / 2 - 1


def cases(rng):
    yield Case("filter", of="top_k_filter", logits=distinct(rng, 3, 9) + 4 * randn(rng, 3, 1), k=4)
    yield Case("filter square", of="top_k_filter", logits=distinct(rng, 6, 6), k=2)
    yield Case("filter one row", of="top_k_filter", logits=distinct(rng, 7) - 30, k=3)
    yield Case("filter all", of="top_k_filter", logits=distinct(rng, 2, 5), k=9)
    yield Case("filter half", of="top_k_filter", logits=distinct(rng, 2, 2, 8).bfloat16(), k=3)
    yield Case("filter huge", of="top_k_filter", logits=distinct(rng, 2, 5) - 3e4, k=2)
    yield Case("filter gradient", of="top_k_filter", logits=distinct(rng, 2, 5), k=2)
    yield Case("filter k=0", of="top_k_filter", logits=distinct(rng, 2, 5), k=0)
    for temperature in (0.5, 1.0, 2.0):
        yield Case(f"sample T={temperature}", of="sample_top_k", logits=distinct(rng, 10), k=5, temperature=temperature)
    for temperature in (0.01, 100.0):
        logits = distinct(rng, 10) * temperature
        yield Case(f"sample T={temperature}", of="sample_top_k", logits=logits, k=5, temperature=temperature)
    yield Case("sample flat", of="sample_top_k", logits=distinct(rng, 12) / 20, k=4, temperature=1.0)
    yield Case("sample all", of="sample_top_k", logits=distinct(rng, 5), k=50, temperature=1.0)
    yield Case("sample negative", of="sample_top_k", logits=distinct(rng, 8) - 50, k=3, temperature=1.0)
    yield Case("sample huge", of="sample_top_k", logits=(3e4 + 256 * distinct(rng, 5)).float(), k=3, temperature=64.0)
    banned = torch.tensor([-INF, 1.0, -INF, 0.5, -INF], dtype=torch.float64)
    yield Case("sample banned", of="sample_top_k", logits=banned, k=4, temperature=1.0)
    yield Case("sample banned, hot", of="sample_top_k", logits=banned, k=4, temperature=1e6)
    yield Case("filter banned", of="top_k_filter", logits=banned, k=4)
    ties = torch.tensor([0.0, 3.0, 3.0, 3.0], dtype=torch.float64)
    yield Case("sample greedy", of="sample_top_k", logits=ties, k=3, temperature=0.0)
    yield Case("sample default", of="sample_top_k", logits=distinct(rng, 6), k=3, temperature=None)
    yield Case("sample k=0", of="sample_top_k", logits=distinct(rng, 5), k=0, temperature=1.0)
    yield Case("sample T<0", of="sample_top_k", logits=distinct(rng, 5), k=2, temperature=-1.0)
    yield Case("batch", of="sample_top_k", logits=distinct(rng, 2, 3, 6), k=1, temperature=1.0)
    yield Case("rows", of="sample_top_k", logits=distinct(rng, 5, 6), k=2, temperature=1.0)
    yield Case("generator", of="sample_top_k", logits=distinct(rng, 16, 8) / 10, k=6, temperature=1.0)


def run(kata, case):
    logits = case.logits.clone()
    if case.of == "top_k_filter":
        if case.name == "filter gradient":
            return {"differentiable": kata.top_k_filter(logits.requires_grad_(), case.k).requires_grad}
        return {"filtered": kata.top_k_filter(logits, case.k), "logits after": logits}
    if case.name == "batch":
        return {"tokens": kata.sample_top_k(logits, case.k, case.temperature)}
    if case.name == "rows":  # which of its two best tokens each row draws is left to chance
        tokens = torch.stack([kata.sample_top_k(logits, case.k) for _ in range(40)])
        best = logits.argsort(-1, descending=True)[:, : case.k]
        fresh = tokens.unique(dim=0).shape[0] > 1
        return {
            "fresh": fresh,
            "own": (tokens[..., None] == best).any(-1),
            "alike": bool((tokens == tokens[:, :1]).all()),
        }
    if case.name == "generator":
        before = torch.random.get_rng_state()
        twice = [kata.sample_top_k(logits, case.k, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
        untouched = torch.equal(before, torch.random.get_rng_state())
        return {"repeats": torch.equal(*twice), "global stream untouched": untouched}
    temperature = () if case.temperature is None else (case.temperature,)
    tokens = kata.sample_top_k(logits.expand(N, -1), case.k, *temperature)
    return {"tokens": Draws(tokens, logits.shape[-1]), "shape": list(tokens.shape), "dtype": str(tokens.dtype)}
