"""What can be seen of speculative decoding: tokens and counts as draws, greedy rows exactly, and what the loop calls."""

from contextlib import nullcontext
from functools import partial

import torch
from torch.overrides import TorchFunctionMode

from dojo.testing.cost import Cost, measure
from dojo.testing.probes import Case, Draws, Pairs

ROWS = {"draws": 2000, "fine": 10000, "ratio": 100000, "zero": 200, "error": 3, "seeded": 50}
MIXED = {
    "gamma 1",
    "gamma 2",
    "gaps",
    "refused",
    "each place",
    "anew",
    "bfloat16",
    "tiny",
}  # some rows keep what others refuse
WRONG_NUMBERS = [(-0.1, 2), (1.1, 2), (torch.nan, 2), (0.5, -1)]
SHORT_LOOPS = [([1], 0, 2), ([], 2, 2), ([1], -1, 2), ([1], 2, -1)]


class ZeroDraws(TorchFunctionMode):
    """Within it all uniform draws are exactly 0."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return result.zero_() if function in (torch.rand, torch.rand_like, torch.Tensor.uniform_) else result


def distributions(rng, *shape):
    weights = 0.1 + torch.rand(*shape, generator=rng, dtype=torch.float64)
    return weights / weights.sum(-1, keepdim=True)


def one_hot(rng, rows, vocab=5):
    return torch.eye(vocab, dtype=torch.float64)[torch.randint(0, vocab, (rows,), generator=rng)]


def cases(rng):
    yield from checks(rng)
    yield from loops(rng)
    numbers = [*zip(torch.rand(3, generator=rng).tolist(), (0, 1, 4), strict=True), (1.0, 5), *WRONG_NUMBERS]
    for index, (acceptance, gamma) in enumerate(numbers):
        yield Case(f"number {index}", of="expected_tokens", acceptance=acceptance, gamma=gamma)


def checks(rng):
    def check(name, kind, q, p, drafted=None):
        return Case(name, of="verify", kind=kind, q=q, p=p, drafted=drafted)

    rising = torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    yield check("gamma 0", "draws", torch.zeros(0, 4, dtype=torch.float64), rising)
    yield check("gamma 1", "draws", distributions(rng, 1, 4), distributions(rng, 2, 4))
    yield check("gamma 2", "draws", distributions(rng, 2, 3), distributions(rng, 3, 3))
    gaps = torch.tensor([[0, 0.2, 0.8], [0.7, 0, 0.3], [0.1, 0.9, 0], [0.4, 0, 0.6]], dtype=torch.float64)
    q = torch.tensor([[0.3, 0.5, 0.2], [0.2, 0.2, 0.6], [0.6, 0.2, 0.2]], dtype=torch.float64)
    yield check("gaps", "draws", q, gaps)
    for number in range(3):
        same = distributions(rng, 4, 5)
        yield check(f"equal {number}", "draws", same[:3], same)
        q, p = one_hot(rng, 4), one_hot(rng, 5)
        p[:number] = q[:number]
        yield check(f"certain {number}", "draws", q, p)
    q, p = (distributions(rng, 2, 4).sort(descending=descending).values for descending in (False, True))
    yield check("refused", "draws", q[:1], p, [3])
    one = torch.tensor([[1.0, 0.0]] * 2, dtype=torch.float64)
    unsure = torch.tensor([[0.5, 0.5], [0.6, 0.4], [0.2, 0.8]], dtype=torch.float64)
    yield check("each place", "draws", one, unsure, [0, 0])
    yield check("neither", "draws", one[:1], torch.cat([one[:1], distributions(rng, 1, 2)]), [1])
    half = torch.tensor([[0.25, 0.25, 0.5], [1, 0, 0]], dtype=torch.float64)
    yield check("anew", "draws", torch.eye(3, dtype=torch.float64)[2:], half, [2])
    yield check("seeded", "seeded", distributions(rng, 2, 4), distributions(rng, 3, 4))
    eighths = torch.tensor([[1, 1, 2, 4], [4, 2, 1, 1], [1, 4, 2, 1]], dtype=torch.bfloat16) / 8
    yield check("bfloat16", "draws", eighths[:1], eighths[1:])
    fine = torch.tensor([[1, 2**-20], [0.5, 0.5]], dtype=torch.bfloat16)
    yield check("fine decisions", "fine", torch.tensor([[0, 1.0]], dtype=torch.bfloat16), fine, [1])
    yield check("tiny", "draws", torch.tensor([[1, 1e-30]]), torch.tensor([[1, 3e-31], [0, 1]]), [1])
    little = torch.tensor([[1, 1e-30, 0], [1, 0, 1e-30], [0, 1, 0]])
    yield check("tiny residual", "draws", little[:1], little[1:], [1])
    ratio = torch.tensor([[171, 85], [170, 86], [0, 256]], dtype=torch.bfloat16) / 256
    yield check("ratio", "ratio", ratio[:1], ratio[1:], [0])
    excluded = torch.tensor([[0.2, 0.2, 0.6], [0.5, 0.5, 0]], dtype=torch.float64)[[0, 0, 1, 1, 1]]
    yield check("a draw of 0", "zero", excluded[:2], excluded[2:], [2, 2])
    yield check("q of 0", "draws", one[:1], distributions(rng, 2, 2), [1])
    q = torch.cat([0.995 * distributions(rng, 1, 3), torch.tensor([[0.005]])], 1)
    p = torch.cat([q * torch.tensor([1, 1, 1, 0]), distributions(rng, 1, 4)])
    yield check("empty residual", "draws", q, p, [3])
    q, p = distributions(rng, 1, 4), distributions(rng, 2, 4)
    yield check("no last row", "error", p, p, [0, 0])
    yield check("another vocabulary", "error", q, distributions(rng, 2, 5), [0])
    for name, off in (("sums", 1.015 * p), ("negative", p + torch.tensor([1.0, 0, 0, -1])), ("NaN", torch.nan * p)):
        yield check(name, "error", q, off, [0])
        yield check(f"{name} of the draft", "error", off[:1], p, [0])


def loops(rng):
    def loop(name, target, draft, most, gamma, prompt=(1, 2), eos=None, kind="whole"):
        given = {"target": target, "draft": draft, "most": most, "gamma": gamma, "prompt": list(prompt), "eos": eos}
        return Case(name, of="speculative_generate", kind=kind, **given)

    for gamma, most in ((0, 3), (2, 5), (4, 6)):
        sure, guess = one_hot(rng, 5), one_hot(rng, 5)
        yield loop(f"greedy {gamma}", sure, guess, most, gamma)
        yield loop(f"greedy, equal {gamma}", sure, sure, most, gamma)
    order = torch.randperm(5, generator=rng)  # each token comes once in five
    sure = torch.eye(5, dtype=torch.float64)[order.roll(-1)][order.argsort()]
    for eos in range(5):
        yield loop(f"greedy with eos {eos}", sure, sure, 6, 4, eos=eos)
    target, draft = torch.tensor([0.6, 0.35, 0.05]), torch.tensor([0.32, 0.36, 0.32])
    rows = [torch.stack([steps.roll(last) for last in range(3)]) for steps in (target, draft)]
    yield loop("steps", *rows, 71, 4, kind="steps")
    yield loop("seeded loop", distributions(rng, 5, 5), distributions(rng, 5, 5), 8, 2, kind="seeded")
    for prompt, most, gamma in SHORT_LOOPS:
        yield loop(f"{prompt}, {most}, {gamma}", sure, sure, most, gamma, prompt)


def run(kata, case):
    if case.of == "expected_tokens":
        return {"expected": float(kata.expected_tokens(case.acceptance, case.gamma))}
    return verified(kata, case) if case.of == "verify" else generated(kata, case)


def verified(kata, case):
    rows, gamma, vocab = ROWS[case.kind], len(case.q), case.p.shape[-1]
    q, p = (probs.expand(rows, *probs.shape) for probs in (case.q, case.p))
    drafted = torch.tensor([case.drafted or [0] * gamma]).long().repeat(rows, 1)
    for place in range(0 if case.drafted else gamma):
        drafted[:, place] = torch.multinomial(case.q[place].double(), rows, True)
    if case.kind == "seeded":
        return {"seeded": seeded(lambda generator: kata.verify(drafted, q, p, generator=generator)[0])}
    before = drafted.clone()
    draws = ZeroDraws() if case.kind == "zero" else nullcontext()
    with draws, measure() if case.name == "gaps" else nullcontext(Cost()) as spent:
        tokens, counts = kata.verify(drafted, q, p)
    evidence = {"dtypes": [str(tokens.dtype), str(counts.dtype)], "drafted after": torch.equal(before, drafted)}
    if case.name in MIXED and alike(drafted, counts):
        others = (kata.verify(drafted, q, p)[1] for _ in range(30))
        if not all(torch.equal(counts, other) for other in others):  # chance, but the same for all rows
            return evidence | {"all rows": "decide by one draw"}
    if case.kind == "fine":
        return evidence | {"more than 3 kept": int((counts == 2).sum()) > 3}
    if case.kind in ("ratio", "zero"):
        return evidence | {"counts": Draws(counts, gamma + 2)}
    evidence["few operators"] = spent.operators <= 200
    evidence["form"] = torch.equal(tokens >= 0, torch.arange(gamma + 1) < counts[:, None])
    evidence["counts"] = Draws(counts, gamma + 2)
    evidence |= {f"token {i}": Draws(tokens[:, i] + 1, vocab + 1) for i in range(gamma + 1)}
    if gamma:
        evidence["the first two"] = Draws((tokens[:, 0] + 1) * (vocab + 1) + tokens[:, 1] + 1, (vocab + 1) ** 2)
    return evidence


def alike(drafted, counts):
    """Whether the rows with the same first drafted token all keep it, or all refuse it."""
    return all((counts[drafted[:, 0] == token] >= 2).unique().numel() == 1 for token in drafted[:, 0].unique())


def seeded(sample):
    """Two results from one seed, and two from two, with other draws of the global stream between them."""
    first = sample(torch.Generator().manual_seed(1))
    torch.rand(1)
    return [Pairs(first, sample(torch.Generator().manual_seed(seed))) for seed in (1, 2)]


def generated(kata, case):
    calls, grown = [], []

    def call(name, tokens):
        calls.append((name, tokens[0].tolist()))
        if len(calls) > 6 * case.most + 60:
            raise RuntimeError("the loop does not end")
        return getattr(case, name)[tokens]

    def generate(generator=None):
        options = {"eos_token": case.eos, "generator": generator}
        models = (partial(call, name) for name in ("target", "draft"))
        prompt = list(case.prompt)
        new = list(kata.speculative_generate(*models, prompt, case.most, case.gamma, **options))
        grown.append(prompt != case.prompt)
        return new

    if case.kind == "seeded":
        return {"seeded": seeded(lambda generator: torch.tensor(generate(generator)))}
    new = generate()
    if case.kind == "steps":
        return {"steps": Draws(torch.tensor(new[: case.most]).diff() % 3, 3)}
    rounds = list(calls)
    for _ in range(8):
        calls.clear()
        if generate() != new:  # where all is certain
            return {"tokens": "others each time"}
    ends = [index for index, (name, _) in enumerate(rounds) if name == "target"]
    begins = [rounds[index][1] for index in [0, *[end + 1 for end in ends]] if index < len(rounds)]
    return {
        "tokens": new,
        "rounds begin with": begins,
        "few drafts": len(rounds) <= (case.gamma + 1) * len(ends),
        "prompt grown": grown,
    }
