"""What can be seen of a top-p sampler: filtered logits, and the tokens of many draws. Every p is clear of boundaries."""

import torch

from dojo.testing import randn
from dojo.testing.probes import Case, Draws, Pairs

INF = float("inf")
N = 4000
PLAIN, SURE = [0.1, 0.4, 0.05, 0.3, 0.15], [0.005, 0.01, 0.03, 0.055, 0.9]
FOUR, FIVE = [0.5, 0.3, 0.15, 0.05], [0.1, 0.4, 0.2, 0.25, 0.05]


def around(rng, *rows):
    """Log-probabilities so near to those of the rows that every p stays clear, each row in a random order."""
    logits = torch.tensor(rows, dtype=torch.float64).log()
    near = logits + (torch.rand(logits.shape, generator=rng, dtype=torch.float64) - 0.5) / 16
    near = near.gather(-1, torch.rand(logits.shape, generator=rng).argsort(-1))
    return near if len(rows) > 1 else near[0]


def placed(rng, values, other, vocab=8):
    """A row of `values` at random places among others."""
    row = torch.tensor(values + (vocab - len(values)) * [other], dtype=torch.float64)
    return row[torch.randperm(vocab, generator=rng)]


def cases(rng):
    def filtered(name, logits, *ps):
        return Case(f"filter {name}", of="top_p_filter", logits=logits, ps=ps)

    both = around(rng, PLAIN, SURE) + torch.tensor([[3.0], [-20.0]])
    for p in (0.25, 0.6, 0.78, 0.97):
        yield filtered(f"p={p}", around(rng, PLAIN, SURE) + torch.tensor([[3.0], [-20.0]]), p)
    square = around(rng, PLAIN, SURE, PLAIN, SURE, PLAIN)
    yield filtered("square", square, 0.78)
    yield filtered("three dimensions", torch.stack([square, around(rng, *5 * [PLAIN])]), 0.78)
    yield filtered("one row", around(rng, PLAIN) - 30, 0.6)
    yield filtered("all", both, 1.0, 0.6)  # p = 0.6, or the input would do for an answer
    yield filtered("tiny p", both, 1e-9)
    yield filtered("tiny p in float32", both.float(), 1e-8)
    yield filtered("small p in bfloat16", both.bfloat16(), 1e-3)
    yield filtered("half", both.bfloat16(), 0.78)
    yield filtered("huge", (3e4 + 64 * both).float(), 0.9)
    near = torch.stack([placed(rng, [1.0, 0.0], -INF), placed(rng, [0.0, 1.0, 2.0, 3.0], -INF)])
    yield filtered("banned", near + randn(rng, 2, 1), 0.85)
    for p in (0.0, 1.5, float("nan")):
        yield filtered(f"bad p={p}", both, p)

    def sampled(name, logits, p=0.78, temperature=1.0, top_k=None, rows=N):
        inputs = {"logits": logits, "p": p, "temperature": temperature, "top_k": top_k, "rows": rows}
        return Case(f"sample {name}", of="sample_top_p", **inputs)

    for p in (0.25, 0.6, 0.78, 1.0):
        yield sampled(f"p={p}", around(rng, PLAIN), p)
    yield sampled("T=2", around(rng, FOUR), 0.7, 2.0)
    yield sampled("T=0.5", around(rng, FOUR), 0.6, 0.5)
    for top_k, p in ((3, 0.705), (2, 0.99), (9, 0.92)):
        yield sampled(f"top_k={top_k}", around(rng, FIVE), p, 1.0, top_k)
    yield sampled("negative", around(rng, PLAIN) - 50)
    yield sampled("huge", (3e4 + 64 * around(rng, PLAIN)).float(), 0.9, 64.0)
    yield sampled("huge and cold", placed(rng, [0.0, 0.0], -256.0).add(3e4).half(), 0.9, 1e-3)
    yield sampled("banned", placed(rng, [1.0, 0.0], -INF), 1.0, 1.0, 4)
    ties = torch.stack([placed(rng, [3.0, 3.0, 3.0], 0.0) for _ in range(20)])
    yield sampled("T=0", ties, 1.0, 0.0, rows=None)
    for p, temperature, top_k in ((0.0, 1.0, None), (1.5, 1.0, None), (0.9, -1.0, None), (0.9, float("nan"), None)):
        yield sampled(f"bad p={p}, T={temperature}", around(rng, PLAIN), p, temperature, top_k)
    yield sampled("bad top_k", around(rng, PLAIN), 0.9, 1.0, 0)
    yield sampled("rows", torch.stack([around(rng, *5 * [PLAIN]) for _ in range(4)]), 0.25, rows=None)
    yield sampled("matrix", around(rng, *5 * [PLAIN]), 0.25, rows=None)
    yield sampled("vector", around(rng, PLAIN), 0.25, rows=None)
    yield Case("sample fresh", of="sample_top_p", logits=randn(rng, 8), calls=8)
    yield Case("sample generator", of="sample_top_p", logits=randn(rng, 8), seeds=[5, 5, 6])


def shown(filtered, logits):
    """The filtered logits; which finite number stands below all that were given does not matter, so each shows as one."""
    if not isinstance(filtered, torch.Tensor) or filtered.shape != logits.shape:
        return filtered
    lowest = logits[logits.isfinite()].min()
    return filtered.masked_fill(filtered.isfinite() & (filtered < lowest), float(lowest) - 1000)


def run(kata, case):
    logits = case.logits.clone()
    vocab = logits.shape[-1]
    if case.of == "top_p_filter":
        return {"filtered": [shown(kata.top_p_filter(logits, p), case.logits) for p in case.ps], "logits after": logits}
    if hasattr(case, "calls"):
        tokens = torch.stack([kata.sample_top_p(logits.repeat(200, 1), 1.0).flatten() for _ in range(case.calls)])
        differ = {"calls": Pairs(tokens[:-1], tokens[1:]), "rows": Pairs(tokens[:, :-1], tokens[:, 1:])}
        return differ | {"tokens": Draws(tokens, vocab)}
    if hasattr(case, "seeds"):
        many, before = logits.repeat(800, 1), torch.random.get_rng_state()
        generators = [torch.Generator().manual_seed(seed) for seed in case.seeds]
        tokens = [kata.sample_top_p(many, 1.0, generator=generator).flatten() for generator in generators]
        return {
            "repeats": Pairs(tokens[0], tokens[1]),
            "seeds differ": Pairs(tokens[0], tokens[2]),
            "global stream": Pairs(before, torch.random.get_rng_state()),
            "tokens": Draws(torch.cat(tokens[1:]), vocab),
        }
    if case.rows is None:
        return {"tokens": kata.sample_top_p(logits, case.p, case.temperature, case.top_k)}
    many = logits.repeat(case.rows, 1)
    tokens = kata.sample_top_p(many, case.p, case.temperature, case.top_k)
    seen = {"tokens": Draws(tokens, vocab), "count": tokens.numel(), "dtype": str(tokens.dtype)}
    return seen | {"logits after": many[:9]}
