"""What can be seen of temperature sampling: probabilities, and the tokens of many draws."""

import torch

from dojo.probes import Case, Draws
from dojo.testing import randn

INF = float("inf")
N = 4000


def cases(rng):
    def probs(name, logits, temperature):
        return Case(f"probs {name}", of="temperature_probs", logits=logits, temperature=temperature)

    for temperature in (0.4, 1.0, 2.5):
        yield probs(f"T={temperature}", randn(rng, 3, 7), temperature)
    yield probs("square", randn(rng, 5, 5) + 2000 * randn(rng, 5, 1), 0.7)
    yield probs("one row", randn(rng, 6), 1.5)
    ties = torch.tensor([[0.0, 3.0, 3.0, 3.0], [1.0, -2.0, 0.5, 1.0]], dtype=torch.float64)
    yield probs("T=0", ties, 0.0)
    yield probs("T=0 of one row", ties[0], 0)
    banned = torch.tensor([-INF, 1.0, -INF, 2.0], dtype=torch.float64)
    yield probs("banned", banned, 0.8)
    yield probs("wide", torch.tensor([3e4, -3e4], dtype=torch.float64), 3e4)
    huge = torch.tensor([3e4, 3e4 - 256, 3e4, 3e4 - 512])
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        yield probs(f"huge {dtype}", huge.to(dtype), 1e-3)
    yield probs("half", torch.tensor([0.0, 1.0, 2.0, 0.5], dtype=torch.bfloat16), 2.0)
    yield probs("T<0", randn(rng, 2, 4), -1.0)
    yield probs("T=nan", randn(rng, 2, 4), float("nan"))

    odds = torch.tensor([0.1, 0.0, 0.45, 0.05, 0.4, 0.0], dtype=torch.float64)
    only = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    flat = torch.full((64, 8), 1 / 8, dtype=torch.float64)
    for of in ("sample_token", "gumbel_sample"):
        yield Case(f"{of}: shape", of=of, probs=only.expand(3, 2, 3))
        yield Case(f"{of}: one row", of=of, probs=only[0])
        yield Case(f"{of}: fresh", of=of, probs=flat)
        yield Case(f"{of}: generator", of=of, probs=flat)
        yield Case(f"{of}: half", of=of, probs=torch.tensor([0.25, 0.5, 0.0, 0.25]).half().expand(N, -1))
    yield Case("sample_token: draws", of="sample_token", probs=odds.expand(N, -1))
    logits = torch.tensor([1.0, 5.0, 2.0, 10.0, 0.5], dtype=torch.float64).log()
    for temperature in (None, 0.5, 2.0):
        yield Case(f"gumbel T={temperature}", of="gumbel_sample", logits=logits.expand(N, -1), temperature=temperature)
    one_of_many = torch.tensor([2.0] + 40 * [0.0], dtype=torch.float64)  # tells apart which skew the noise has
    yield Case("gumbel many", of="gumbel_sample", logits=one_of_many.expand(N, -1), temperature=1.0)
    yield Case("gumbel T=0", of="gumbel_sample", logits=ties.repeat(20, 1), temperature=0.0)
    yield Case("gumbel high", of="gumbel_sample", logits=torch.full((N, 2), 3e4).bfloat16(), temperature=1.0)
    yield Case("gumbel huge", of="gumbel_sample", logits=huge.half().expand(N, -1), temperature=0.25)
    rare = torch.tensor([9.1875, 0.0]).bfloat16()  # a token of probability 1e-4
    yield Case("gumbel rare", of="gumbel_sample", logits=rare.expand(5 * N, -1), temperature=1.0)
    yield Case("gumbel banned", of="gumbel_sample", logits=banned.expand(N, -1), temperature=1.0)
    yield Case("gumbel T<0", of="gumbel_sample", logits=logits, temperature=-1.0)
    yield Case("gumbel T=nan", of="gumbel_sample", logits=logits, temperature=float("nan"))


def run(kata, case):
    if case.of == "temperature_probs":
        logits = case.logits.clone()
        return {"probs": kata.temperature_probs(logits, case.temperature), "logits after": logits}
    sampler = getattr(kata, case.of)
    if hasattr(case, "logits"):
        logits = case.logits.clone()
        tokens = sampler(logits) if case.temperature is None else sampler(logits, case.temperature)
        if case.temperature == 0:
            return {"tokens": tokens}
        return {"tokens": Draws(tokens, logits.shape[-1]), "shape": list(tokens.shape), "logits after": logits}
    given = (case.probs if case.of == "sample_token" else case.probs.log()).clone()
    if case.name.endswith("fresh"):
        tokens = torch.stack([sampler(given) for _ in range(8)])
        return {"calls differ": len(tokens.unique(dim=0)) > 1, "rows differ": bool((tokens != tokens[:, :1]).any())}
    if case.name.endswith("generator"):
        before = torch.random.get_rng_state()
        tokens = [sampler(given, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6)]
        return {
            "repeats": torch.equal(tokens[0], tokens[1]),
            "seeds differ": not torch.equal(tokens[0], tokens[2]),
            "global stream untouched": torch.equal(before, torch.random.get_rng_state()),
        }
    tokens = sampler(given)
    if len(given) == N:
        return {"tokens": Draws(tokens, given.shape[-1]), "shape": list(tokens.shape), "dtype": str(tokens.dtype)}
    return {"tokens": tokens, "probs after": given}
