"""What can be seen of temperature sampling: probabilities, and the tokens of many draws."""

import torch

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Draws, Pairs

INF = float("inf")
N = 4000


def cases(rng):
    def probs(name, logits, *temperatures):
        return Case(f"probs {name}", of="temperature_probs", logits=logits, temperatures=temperatures)

    for temperature in (0.4, 1.0, 2.5):
        yield probs(f"T={temperature}", randn(rng, 3, 7), temperature)
    yield probs("square", randn(rng, 5, 5) + 2000 * randn(rng, 5, 1), 0.7)
    yield probs("one row", randn(rng, 6), 1.5)
    tied = ties(rng, 20, 8)
    yield probs("T=0", tied, 0.0)
    yield probs("T=0 of one row", ties(rng, 1, 2000)[0], 0)
    banned = shuffled(rng, torch.cat([torch.full((5,), -INF, dtype=torch.float64), randn(rng, 3)]))
    yield probs("banned", banned, 0.8)
    yield probs("wide", 3e4 * shuffled(rng, torch.cat([torch.tensor([1.0, -1.0]), randn(rng, 6).tanh()])), 3e4)
    dtypes = (torch.float16, torch.bfloat16, torch.float32)
    for dtype in dtypes:
        yield probs(f"huge {dtype}", huge(rng).to(dtype), 1e-3, 256.0)
    yield probs("half", randint(rng, 0, 9, 3, 8).bfloat16() / 4, 2.0)
    yield probs("T<0", randn(rng, 2, 4), -1.0)
    yield probs("T=nan", randn(rng, 2, 4), float("nan"))

    halves = torch.tensor([1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 16, 0.0]).half()
    for of in ("sample_token", "gumbel_sample"):
        only = torch.eye(6, dtype=torch.float64)[randint(rng, 0, 6, 20)]
        yield Case(f"{of}: shape", of=of, probs=only, batch=[3, 20])
        yield Case(f"{of}: rows", of=of, probs=only.flip(0), batch=[20])
        yield Case(
            f"{of}: one row",
            of=of,
            probs=shuffled(rng, torch.tensor([1.0] + 499 * [0.0], dtype=torch.float64)),
            batch=[],
        )
        yield Case(f"{of}: fresh", of=of, probs=odds(rng, [1, 3, 2, 4, 6]), batch=[200], calls=8)
        yield Case(f"{of}: generator", of=of, probs=odds(rng, [1, 3, 2, 4, 6]), batch=[800], seeds=[5, 5, 6])
        yield Case(f"{of}: half", of=of, probs=shuffled(rng, halves), batch=[N], calls=1)
    yield Case("sample_token: draws", of="sample_token", probs=odds(rng, [1, 0, 4.5, 0.5, 4, 0]), batch=[N], calls=1)

    def gumbel(name, logits, temperature, rows=N):
        return Case(f"gumbel {name}", of="gumbel_sample", logits=logits, temperature=temperature, rows=rows)

    for temperature in (None, 0.5, 2.0):
        yield gumbel(f"T={temperature}", odds(rng, [1, 5, 2, 10, 0.5]).log(), temperature)
    one_of_many = torch.tensor([2.0] + 40 * [0.0], dtype=torch.float64)  # tells apart which skew the noise has
    yield gumbel("many", shuffled(rng, one_of_many), 1.0)
    yield gumbel("T=0", tied, 0.0, rows=None)
    yield gumbel("high", huge(rng).bfloat16(), 1.0)
    yield gumbel("huge", huge(rng).half(), 0.25)
    rare = torch.tensor([9.1875, 0.0] + 30 * [-INF]).bfloat16()  # a token of probability 1e-4
    yield gumbel("rare", shuffled(rng, rare), 1.0, rows=8 * N)
    yield gumbel("banned", banned, 1.0)
    yield gumbel("T<0", banned, -1.0)
    yield gumbel("T=nan", banned, float("nan"))


def shuffled(rng, row):
    return row[torch.randperm(len(row), generator=rng)]


def odds(rng, weights):
    """Probabilities around the weights', in random order."""
    weights = torch.tensor(weights, dtype=torch.float64) * (randn(rng, len(weights)) / 3).exp()
    return shuffled(rng, weights / weights.sum())


def ties(rng, rows, vocab):
    """Rows in which three logits, at random places, are the largest."""
    places = torch.rand(rows, vocab, generator=rng).argsort(-1)[:, :3]
    return randn(rng, rows, vocab).scatter(-1, places, 9.0)


def huge(rng):
    """Eight logits around 3e4, in steps that even bfloat16 has there; the largest of them three times."""
    return shuffled(rng, 3e4 - 256 * torch.cat([torch.zeros(3), randint(rng, 1, 4, 5)]))


def run(kata, case):
    if case.of == "temperature_probs":
        logits = case.logits.clone()
        return {"probs": [kata.temperature_probs(logits, t) for t in case.temperatures], "logits after": logits}
    sampler = getattr(kata, case.of)
    if hasattr(case, "logits"):
        logits = (case.logits if case.rows is None else case.logits.expand(case.rows, -1)).clone()
        tokens = sampler(logits) if case.temperature is None else sampler(logits, case.temperature)
        if case.temperature == 0:
            return {"tokens": tokens}
        return {"tokens": Draws(tokens, logits.shape[-1]), "dtype": str(tokens.dtype), "logits after": logits[:9]}
    given = case.probs if case.of == "sample_token" else case.probs.log()
    given = given.expand(*case.batch, given.shape[-1])  # strides of 0
    vocab = given.shape[-1]
    if hasattr(case, "seeds"):
        before = torch.random.get_rng_state()
        tokens = [sampler(given, generator=torch.Generator().manual_seed(seed)).flatten() for seed in case.seeds]
        return {
            "repeats": Pairs(tokens[0], tokens[1]),
            "seeds differ": Pairs(tokens[0], tokens[2]),
            "global stream": Pairs(before, torch.random.get_rng_state()),
            "tokens": Draws(torch.cat(tokens[1:]), vocab),
        }
    if not hasattr(case, "calls"):
        given = given.clone()
        return {"tokens": sampler(given), "probs after": given}
    tokens = torch.stack([sampler(given).flatten() for _ in range(case.calls)])  # their shape is other cases' subject
    seen = {"tokens": Draws(tokens, vocab), "count": list(tokens.shape), "dtype": str(tokens.dtype)}
    if case.calls > 1:
        seen |= {"calls differ": Pairs(tokens[:-1], tokens[1:]), "rows differ": Pairs(tokens[:, :-1], tokens[:, 1:])}
    return seen
