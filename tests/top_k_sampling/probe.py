"""What can be seen of a top-k sampler: filtered logits, and the tokens of many draws."""

import torch

from dojo.testing import randn
from dojo.testing.probes import Case, Draws, Pairs

INF = float("inf")
N = 4000
ROWS = 400


def distinct(rng, *shape):
    return torch.rand(*shape, generator=rng, dtype=torch.float64).argsort(-1).double() / 2 - 1


def with_banned(rng, *shape):
    """Rows of eight logits, of which three, at random places, are not banned: 1, 0.6 and 0.2 or a little more."""
    places = torch.rand(*shape, 8, generator=rng).argsort(-1)[..., :3]
    values = torch.tensor([1.0, 0.6, 0.2], dtype=torch.float64) + torch.rand(*shape, 1, generator=rng).double() / 9
    return torch.full((*shape, 8), -INF, dtype=torch.float64).scatter(-1, places, values.expand(*shape, 3))


def cases(rng):
    def filtered(name, logits, *ks):
        return Case(f"filter {name}", of="top_k_filter", logits=logits, ks=ks)

    yield filtered("rows", distinct(rng, 3, 9) + 4 * randn(rng, 3, 1), 4)
    yield filtered("square", distinct(rng, 6, 6), 2)
    yield filtered("one row", distinct(rng, 9) - 30 + randn(rng, 1), 3)
    yield filtered("all", distinct(rng, 2, 5) + randn(rng, 2, 1), 9, 5, 2)  # k = 2, or the input would do for an answer
    yield filtered("half", distinct(rng, 2, 2, 8).bfloat16(), 3)
    yield filtered("huge", distinct(rng, 4, 5) - 3e4, 2)
    yield Case("filter gradient", of="top_k_filter", logits=distinct(rng, 2, 5), weights=randn(rng, 2, 5), ks=(2,))
    yield filtered("k=0", distinct(rng, 2, 5), 0)
    yield filtered("banned", with_banned(rng, 2), 4, 2)

    def sampled(name, logits, k, temperature, rows=N):
        return Case(f"sample {name}", of="sample_top_k", logits=logits, k=k, temperature=temperature, rows=rows)

    for temperature in (0.5, 1.0, 2.0):
        yield sampled(f"T={temperature}", distinct(rng, 10), 5, temperature)
    for temperature in (0.01, 100.0):
        yield sampled(f"T={temperature}", distinct(rng, 10) * temperature, 5, temperature)
    yield sampled("flat", distinct(rng, 12) / 20, 4, 1.0)
    yield sampled("all", distinct(rng, 7), 50, 1.0)
    yield sampled("negative", distinct(rng, 8) - 50, 3, 1.0)
    yield sampled("huge", (3e4 + 128 * distinct(rng, 9)).float(), 4, 64.0)
    cold = 3e4 - 256 * torch.tensor([0.0, 0.0, 1.0, 1.0, 2.0, 3.0])
    yield sampled("huge and cold", cold[torch.randperm(6, generator=rng)].half(), 4, 1e-3)
    yield sampled("banned", with_banned(rng), 5, 1.0)
    yield sampled("banned, hot", with_banned(rng), 5, 1e6)
    places = torch.rand(20, 8, generator=rng).argsort(-1)[:, :3]
    yield sampled("greedy", distinct(rng, 20, 8).scatter(-1, places, 9.0), 3, 0.0, rows=None)
    yield sampled("default", distinct(rng, 9), 4, None)
    yield sampled("k=0", distinct(rng, 5), 0, 1.0)
    yield sampled("T<0", distinct(rng, 5), 2, -1.0)
    yield sampled("batch", distinct(rng, 4, 5, 6), 1, 1.0, rows=None)
    yield sampled("matrix", distinct(rng, 4, 6), 1, 1.0, rows=None)
    yield sampled("vector", distinct(rng, 6), 1, 1.0, rows=None)
    yield Case("rows", of="sample_top_k", logits=distinct(rng, 5, 6), k=2)
    yield Case("generator", of="sample_top_k", logits=distinct(rng, 8) / 2, k=6, seeds=[5, 5, 6])


def shown(filtered, logits):
    """The filtered logits; which finite number stands below all that were given does not matter, so each shows as one."""
    if not isinstance(filtered, torch.Tensor) or filtered.shape != logits.shape:
        return filtered
    lowest = logits[logits.isfinite()].min()
    return filtered.masked_fill(filtered.isfinite() & (filtered < lowest), float(lowest) - 1000)


def run(kata, case):
    logits = case.logits.clone()
    if case.of == "top_k_filter":
        if case.name == "filter gradient":
            kept = kata.top_k_filter(logits.requires_grad_(), *case.ks)
            (kept * case.weights)[kept.isfinite()].sum().backward()
            return {"gradient": logits.grad}
        return {"filtered": [shown(kata.top_k_filter(logits, k), case.logits) for k in case.ks], "logits after": logits}
    if case.name == "rows":  # each row has two tokens of its own to draw from
        calls = [kata.sample_top_k(logits.repeat(ROWS, 1), case.k).flatten() for _ in range(2)]
        own = torch.arange(len(logits)).repeat(ROWS) * logits.shape[1] + torch.stack(calls)
        return {"tokens": Draws(own, logits.numel()), "calls differ": Pairs(*calls)}
    if case.name == "generator":
        many, before = logits.expand(500, -1), torch.random.get_rng_state()
        generators = [torch.Generator().manual_seed(seed) for seed in case.seeds]
        tokens = [kata.sample_top_k(many, case.k, generator=generator).flatten() for generator in generators]
        return {
            "repeats": Pairs(tokens[0], tokens[1]),
            "seeds differ": Pairs(tokens[0], tokens[2]),
            "global stream": Pairs(before, torch.random.get_rng_state()),
            "tokens": Draws(torch.cat(tokens[1:]), logits.shape[-1]),
        }
    if case.rows is None:
        return {"tokens": kata.sample_top_k(logits, case.k, case.temperature)}
    temperature = () if case.temperature is None else (case.temperature,)
    tokens = kata.sample_top_k(logits.expand(case.rows, -1), case.k, *temperature)
    return {"tokens": Draws(tokens, logits.shape[-1]), "count": tokens.numel(), "dtype": str(tokens.dtype)}
