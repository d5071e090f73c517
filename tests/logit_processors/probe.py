"""What can be seen of logit processors: the filtered logits, and rows after the chain. All masses are clear of boundaries."""

import torch

from dojo.testing import randint
from dojo.testing.probes import Case

PLAIN = [0.15, 0.5, 0.05, 0.3]
MIN_P, TYPICAL = "min_p_filter", "typical_filter"
NAMES = {"T": "temperature", "k": "top_k", "p": "top_p", "m": "min_p", "t": "typical_p", "r": "repetition_penalty"}
STEPS = (
    "k=1, k=2, k=9, p=0.6, p=0.9, m=0.45, t=0.2, t=0.6, T=2, T=2 p=0.74, T=0.5 p=0.6, T=2 m=0.45, T=0.5 m=0.45, T=2 t=0.45, "
    "k=2 p=0.56, k=2 t=0.5, p=0.6 m=0.45, p=0.7 t=0.5, m=0.45 t=0.5"
)
MIXED = ("k=3", "p=0.6", "m=0.45", "t=0.2", "T=0", "T=2", "r=2", "T=0.7 k=6 p=0.9 m=0.05 t=0.8 r=1.3")
OF_TOKEN = {
    "bans": lambda t: {"banned": [t]},
    "eos": lambda t: {"eos_token": t, "min_new_tokens": 1},
    "bias": lambda t: {"bias": [(t, 9.0)]},
    "penalty": lambda t: {"repetition_penalty": 9.0},
}


def params_of(text):
    return {NAMES[part[0]]: int(part[2:]) if part[0] == "k" else float(part[2:]) for part in text.split()}


def cases(rng):
    def rows(
        *shape, height=3.0, banned=0
    ):  # near to PLAIN, in random orders and at random heights, among banned tokens
        near = torch.tensor(PLAIN, dtype=torch.float64).log().expand(*shape, 4)
        near = near + (torch.rand(near.shape, generator=rng, dtype=torch.float64) - 0.5) / 32
        near = torch.cat([near, torch.full((*shape, banned), -torch.inf)], -1)
        near = near.gather(-1, torch.rand(near.shape, generator=rng).argsort(-1))
        return near + height + torch.rand(*shape, 1, generator=rng)

    def filters(name, logits, min_ps, masses):
        yield Case(f"{MIN_P}: {name}", of=MIN_P, logits=logits, values=min_ps)
        yield Case(f"{TYPICAL}: {name}", of=TYPICAL, logits=logits, values=masses)

    yield from filters("rows", rows(3) * torch.tensor([[1.0], [0.3], [1.7]]), [0.25], [0.4])
    yield from filters("one row", rows(), [0.8, 0.45, 0.2], [0.2, 0.6, 0.9])
    yield from filters("below zero", rows(height=-20.0), [0.45], [0.6])
    yield from filters("square", rows(4), [0.45], [0.6])
    yield from filters("three dimensions", rows(2, 2), [0.45], [0.6])
    yield from filters("limits", torch.rand(5, generator=rng, dtype=torch.float64), [0.0, 1, 0.99], [1.0, 1, 0.1])
    yield from filters("banned", rows(banned=2), [0.0, 0.45], [0.2, 0.6, 0.9])
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        yield from filters(f"{dtype}", rows(banned=1).to(dtype), [0.45], [0.6])
        few = torch.tensor([0.0, -256.0, 0.0, -512.0, 0.0])[torch.randperm(5, generator=rng)]
        yield from filters(f"huge {dtype}", (few + 3e4).to(dtype), [0.1], [0.9])
    small = torch.tensor([0.0, -10.0, -25.0]).half()[torch.randperm(3, generator=rng)]
    yield from filters("small", small, [1e-8], [0.9])
    for bad in (-0.1, 1.5, float("nan"), 0.0):
        yield from filters(f"bad {bad}", rows(), [bad or 7.0], [bad])
    yield from filters(
        "sure", torch.tensor([0.0, 40.0, 0.0, 1.0])[torch.randperm(4, generator=rng)], [0.3], [0.2, 0.99]
    )

    def chain(name, logits, *requests, **how):  # requests are (params, prompt, generated); bias and bans are lists here
        return Case(f"chain: {name}", of="process_logits", logits=logits, requests=requests, **how)

    def ones(name, *requests):  # one row for each, and each by itself
        yield chain(name, rows(len(requests)), *requests, alone=True)

    def some(count, vocab):
        return randint(rng, 1, 33, count, vocab).double() / 8 * (randint(rng, 0, 2, count, vocab).double() * 2 - 1)

    for text in STEPS.split(", "):
        yield from ones(text, (params_of(text), [], []))
    yield chain("penalty", some(1, 6), ({"repetition_penalty": 2.0}, [0, 1, 0, 4], [1, 2, 0]))
    yield chain("prompt", some(1, 6), ({"repetition_penalty": 0.5}, [0, 1, 5, 2], []))
    yield chain("generated", some(1, 6), ({"repetition_penalty": 2.0}, [], [0, 1, 5, 2]))
    yield chain("bias", some(1, 6), ({"bias": [(0, 1.5), (4, -2.25)]}, [1], []))
    both = {"bias": [(t, (-1) ** t * 3.0) for t in range(6)], "repetition_penalty": 2.0}
    yield chain("penalty, bias", some(1, 6), (both, [0, 1, 2, 3, 4, 5], []))
    yield chain("bias, T", some(1, 6), ({"bias": [(0, 1.5)], "temperature": 4.0}, [], []))
    yield from ones("bans", ({"banned": [0, 3]}, [], []))
    yield from ones("bans, bias", ({"banned": [0], "bias": [(0, 60.0)]}, [], []))
    yield chain("bans, top-k", rows(4), *[({"banned": [t], "top_k": 2}, [], []) for t in range(4)])
    yield chain("bans, min-p", rows(4), *[({"banned": [t], "min_p": 0.45}, [], []) for t in range(4)])
    eos = {"eos_token": 0, "min_new_tokens": 3}
    for new in (0, 2, 3, 4):
        yield from ones(f"eos {new}", (eos, [1, 2, 1, 2, 1], [2] * new))
    yield from ones("no eos", ({"min_new_tokens": 3}, [], []), ({"eos_token": 1}, [], []))
    ties = torch.tensor([[3.0, 3.0, 3.0, 0.0, 0.0]])[:, torch.randperm(5, generator=rng)]
    yield chain("greedy", ties + 2, (params_of("T=0"), [], []))
    for name, params in OF_TOKEN.items():
        yield chain(f"greedy, {name}", rows(4), *[({"temperature": 0.0} | params(t), [t], []) for t in range(4)])
    yield chain("bans leave nothing", rows(2), ({}, [], []), ({"banned": [0, 1, 2, 3]}, [], []))
    yield from ones("eos leaves nothing", ({"banned": [1, 2, 3]} | eos, [], []))
    empty = torch.tensor([[1.0, -torch.inf]])[:, torch.randperm(2, generator=rng)]
    yield chain("bans leave -inf", empty, ({"banned": [int(empty.argmax())]}, [], []))
    for counts in ((3, 2, 2), (2, 1, 2), (2, 2, 1), (2, 2, 3), (3, 3, 3)):
        yield chain(f"{counts}", rows(2), ({}, [0], [1]), ({}, [0], [1]), counts=counts)
    for t in (-1, 4):
        yield from ones(f"generated {t}", ({"repetition_penalty": 2.0}, [], [t]))
        for name, params in OF_TOKEN.items():
            yield from ones(f"{name} of {t}", (params(t), [t], []))
    for text in MIXED:
        yield chain(
            f"mixed {text}", rows(3), ({}, [0], [1]), (params_of(text), [2], [3]), (params_of("m=0.2 k=9"), [0], [])
        )
    yield chain("mixed, bans", rows(2), ({}, [], []), ({"banned": [1], "bias": [(2, 5.0)]}, [], []))
    yield chain("mixed, penalties", rows(2), (params_of("r=2"), [0, 1], [2]), (params_of("r=3"), [3], [1]))
    yield chain("off", rows(1) * torch.tensor([[-40.0]]), ({"eos_token": 9}, [-1], [9]))
    for dtype in (torch.float16, torch.bfloat16):
        yield chain(f"{dtype}", rows(2).to(dtype), ({}, [], []), ({"temperature": 2.0, "min_p": 0.45}, [], []))
    wide = torch.zeros(1, 4090).half(), torch.full((1, 4090), float(randint(rng, 1, 9))).bfloat16()
    for number, logits in enumerate(wide):
        for text in ("p=0.9", "t=0.9"):
            yield chain(f"sums {number} {text}", logits, (params_of(text), [], []), enough=True)
        yield Case(f"{TYPICAL}: sums {number}", of=TYPICAL, logits=logits, values=[0.9], enough=True)


def shown(result, logits, enough=False):
    """The result; which finite number stands far below all logits does not matter, so each shows as one."""
    if not isinstance(result, torch.Tensor) or result.shape != logits.shape:
        return result
    if enough:  # among equals all may stay or just enough
        return bool((result > -torch.inf).double().mean() >= 0.9 - 1e-4)
    lowest = float(logits[logits.isfinite()].min()) - 60
    return result.masked_fill(result.isfinite() & (result < lowest), lowest)


def run(kata, case):
    seen, enough = {}, hasattr(case, "enough")
    if case.of != "process_logits":
        for number, value in enumerate(case.values):
            logits = case.logits.clone()
            result = getattr(kata, case.of)(logits, value)
            seen[f"result {number}"] = shown(result, case.logits, enough)
            result.fill_(7)  # shows in the argument, unless the result is a new tensor
            seen[f"logits {number}"] = logits[..., :9]
        return seen
    alone = [(row, [request]) for row, request in zip(case.logits, case.requests, strict=True)]
    for number, (given, requests) in enumerate(alone if hasattr(case, "alone") else [(case.logits, case.requests)]):
        logits = given.reshape(-1, given.shape[-1]).T.clone(memory_format=torch.contiguous_format).T
        prompts, generated = ([list(each[place]) for each in requests] for place in (1, 2))
        kinds = {"bias": dict, "banned": frozenset}
        params = [{name: kinds.get(name, type(value))(value) for name, value in each[0].items()} for each in requests]
        before, lists = logits.clone(), [prompts, generated, [kata.SamplingParams(**each) for each in params]]
        if hasattr(case, "counts"):
            lists = [(2 * each)[:count] for each, count in zip(lists, case.counts, strict=True)]
        result = kata.process_logits(logits, *lists)
        seen[f"result {number}"] = shown(result, before, enough)
        result.fill_(7)
        seen[f"after {number}"] = [logits[:, :9].clone(), prompts, generated]
    return seen
