"""What can be seen of a top-p sampler: filtered logits, and the tokens of many draws. Every p is clear of boundaries."""

import torch

from dojo.probes import Case, Draws

INF = float("inf")
N = 4000
PROBS = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15], dtype=torch.float64)
SURE = torch.tensor([0.005, 0.01, 0.03, 0.055, 0.9], dtype=torch.float64)


def cases(rng):
    def filtered(name, logits, p):
        return Case(f"filter {name}", of="top_p_filter", logits=logits, p=p)

    both = torch.stack([PROBS, SURE]).log() + torch.tensor([[3.0], [-20.0]])
    shuffle = torch.randperm(5, generator=rng)
    for p in (0.25, 0.6, 0.78, 0.97):
        yield filtered(f"p={p}", both[:, shuffle], p)
    square = torch.stack([PROBS, SURE, PROBS.roll(1), SURE.roll(2), PROBS.flip(0)]).log()
    yield filtered("square", square, 0.78)
    yield filtered("three dimensions", square.expand(2, 5, 5), 0.78)
    yield filtered("one row", PROBS.log() - 30, 0.6)
    yield filtered("all", both, 1.0)
    yield filtered("tiny p", both, 1e-9)
    yield filtered("half", both.bfloat16(), 0.78)
    yield filtered("huge", (3e4 + 64 * both).float(), 0.9)
    yield filtered("banned", torch.tensor([[-INF, 1.0, -INF, 0.0], [0.0, 1.0, 2.0, 3.0]]), 0.85)
    for p in (0.0, 1.5, float("nan")):
        yield filtered(f"bad p={p}", both, p)

    def sampled(name, p=0.78, temperature=1.0, top_k=None, logits=None):
        rows = (PROBS.log() if logits is None else logits).expand(N, -1)
        return Case(f"sample {name}", of="sample_top_p", logits=rows, p=p, temperature=temperature, top_k=top_k)

    for p in (0.25, 0.6, 0.78, 1.0):
        yield sampled(f"p={p}", p)
    four = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64).log()
    yield sampled("T=2", 0.7, 2.0, logits=four)
    yield sampled("T=0.5", 0.6, 0.5, logits=four)
    five = torch.tensor([0.1, 0.4, 0.2, 0.25, 0.05], dtype=torch.float64).log()
    for top_k, p in ((3, 0.75), (2, 0.99), (9, 0.92)):
        yield sampled(f"top_k={top_k}", p, 1.0, top_k, logits=five)
    yield sampled("negative", 0.78, logits=PROBS.log() - 50)
    yield sampled("huge", 0.9, 64.0, logits=(3e4 + 64 * PROBS.log()).float())
    yield sampled("huge and cold", 0.9, 1e-3, logits=torch.tensor([3e4, 3e4 - 256, 3e4]).half())
    yield sampled("banned", 1.0, 1.0, 4, logits=torch.tensor([-INF, 1.0, -INF, 0.0, -INF]))
    ties = torch.tensor([0.0, 3.0, 3.0, 3.0], dtype=torch.float64)
    yield Case("sample T=0", of="sample_top_p", logits=ties.expand(20, -1), p=1.0, temperature=0.0, top_k=None)
    for p, temperature, top_k in ((0.0, 1.0, None), (1.5, 1.0, None), (0.9, -1.0, None), (0.9, float("nan"), None)):
        yield sampled(f"bad p={p}, T={temperature}", p, temperature, top_k)
    yield sampled("bad top_k", 0.9, 1.0, 0)
    yield Case("sample rows", of="sample_top_p", logits=square.expand(2, 5, 5), p=0.25, temperature=1.0, top_k=None)
    flat = torch.zeros(64, 8)
    yield Case("sample fresh", of="sample_top_p", logits=flat)
    yield Case("sample generator", of="sample_top_p", logits=flat)


def run(kata, case):
    logits = case.logits.clone()
    if case.of == "top_p_filter":
        return {"filtered": kata.top_p_filter(logits, case.p), "logits after": logits}
    if case.name == "sample fresh":
        tokens = torch.stack([kata.sample_top_p(logits, 1.0) for _ in range(8)])
        return {"calls differ": len(tokens.unique(dim=0)) > 1, "rows differ": bool((tokens != tokens[:, :1]).any())}
    if case.name == "sample generator":
        before = torch.random.get_rng_state()
        twice = [kata.sample_top_p(logits, 1.0, generator=torch.Generator().manual_seed(5)) for _ in range(2)]
        untouched = torch.equal(before, torch.random.get_rng_state())
        return {"repeats": torch.equal(*twice), "global stream untouched": untouched}
    tokens = kata.sample_top_p(logits, case.p, case.temperature, case.top_k)
    if case.name in ("sample T=0", "sample rows"):
        return {"tokens": tokens}
    seen = {"tokens": Draws(tokens, logits.shape[-1]), "shape": list(tokens.shape), "dtype": str(tokens.dtype)}
    return seen | {"logits after": logits[0]}
