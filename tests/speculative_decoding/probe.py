"""What can be seen of speculative decoding: tokens and counts as draws, greedy rows exactly, and what the loop calls."""

from contextlib import nullcontext
from functools import partial

import torch
from torch.overrides import TorchFunctionMode

from dojo.testing.cost import Cost, measure
from dojo.testing.probes import Case, Draws, Pairs

BRAIN, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64
ROWS = {"draws": 2000, "fine": 40000, "ratio": 100000, "zero": 200, "error": 3, "seeded": 50}
FIXED = {  # kind and dtype, rows of the draft, rows of the target, drafted tokens (none: drawn from the draft)
    "gamma 0": ("draws", DOUBLE, [], [[0.1, 0.2, 0.3, 0.4]], []),
    "gaps": ("draws", DOUBLE, [[0.3, 0.5, 0.2]] * 3, [[0, 0.2, 0.8], [0.7, 0, 0.3], [0.1, 0.9, 0], [0.4, 0, 0.6]], []),
    "each place": ("draws", DOUBLE, [[1, 0], [1, 0]], [[0.5, 0.5], [0.6, 0.4], [0.2, 0.8]], [0, 0]),
    "anew": ("draws", DOUBLE, [[0, 0, 1]], [[0.25, 0.25, 0.5], [1, 0, 0]], [2]),
    "q of 0, p of 0": ("draws", DOUBLE, [[1, 0]], [[1, 0], [0.6, 0.4]], [1]),
    "refused": ("draws", DOUBLE, [[0.1, 0.2, 0.3, 0.4]], [[0.4, 0.3, 0.2, 0.1], [0.5, 0.3, 0.1, 0.1]], [3]),
    "empty residual": ("draws", DOUBLE, [[0.3, 0.695, 0.005]], [[0.3, 0.695, 0], [0.4, 0.5, 0.1]], [2]),
    "bfloat16": ("draws", BRAIN, [[1 / 8, 1 / 8, 1 / 4, 1 / 2]], [[1 / 2, 1 / 4, 1 / 8, 1 / 8], [1 / 4] * 4], []),
    "fine decisions": ("fine", BRAIN, [[0, 1.0]], [[1, 2**-20], [0.5, 0.5]], [1]),
    "tiny": ("draws", SINGLE, [[1, 1e-30]], [[1, 3e-31], [0, 1]], [1]),
    "tiny residual": ("draws", SINGLE, [[1, 1e-30, 0]], [[1, 0, 1e-30], [0, 1, 0]], [1]),
    "ratio": ("ratio", BRAIN, [[171 / 256, 85 / 256]], [[170 / 256, 86 / 256], [0, 1]], [0]),
    "a draw of 0": ("zero", DOUBLE, [[0.2, 0.2, 0.6]] * 2, [[0.5, 0.5, 0]] * 3, [2, 2]),
}
NUMBERS = [(1.0, 5), (-0.1, 2), (1.1, 2), (torch.nan, 2), (0.5, -1)]


class ZeroDraws(TorchFunctionMode):
    """Within it all uniform draws are exactly 0."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return result.zero_() if function in (torch.rand, torch.rand_like, torch.Tensor.uniform_) else result


def distributions(rng, *shape):
    weights = 0.1 + torch.rand(*shape, generator=rng, dtype=DOUBLE)
    return weights / weights.sum(-1, keepdim=True)


def one_hot(rng, rows, vocab=5):
    return torch.eye(vocab, dtype=DOUBLE)[torch.randint(0, vocab, (rows,), generator=rng)]


def cases(rng):
    yield from checks(rng)
    yield from loops(rng)
    numbers = [*zip(torch.rand(3, generator=rng).tolist(), (0, 1, 4), strict=True), *NUMBERS]
    for index, (acceptance, gamma) in enumerate(numbers):
        yield Case(f"number {index}", of="expected_tokens", acceptance=acceptance, gamma=gamma)


def checks(rng):
    def check(name, kind, q, p, drafted=()):
        return Case(name, of="verify", kind=kind, q=q, p=p, drafted=list(drafted))

    for name, (kind, dtype, q, p, drafted) in FIXED.items():
        p = torch.tensor(p, dtype=dtype)
        yield check(name, kind, torch.tensor(q, dtype=dtype).reshape(len(q), p.shape[1]), p, drafted)
    yield check("any", "draws", distributions(rng, 2, 3), distributions(rng, 3, 3))
    for number in range(3):
        q, p = one_hot(rng, 4), one_hot(rng, 5)
        p[:number] = q[:number]
        yield check(f"certain {number}", "draws", q, p)
    yield check("seeded", "seeded", distributions(rng, 2, 4), distributions(rng, 3, 4))
    q, p = distributions(rng, 1, 4), distributions(rng, 2, 4)
    yield check("another vocabulary", "error", q, distributions(rng, 2, 5), [0])
    for name, off in (("sums", 1.015 * p), ("negative", p + torch.tensor([1.0, 0, 0, -1])), ("NaN", torch.nan * p)):
        yield check(name, "error", q, off, [0])
        yield check(f"{name} of the draft", "error", off[:1], p, [0])


def loops(rng):
    def loop(name, target, draft, most, gamma, prompt=(1, 2), eos=None, kind="whole"):
        given = {"target": target, "draft": draft, "most": most, "gamma": gamma, "prompt": list(prompt), "eos": eos}
        return Case(name, of="speculative_generate", kind=kind, **given)

    for gamma, most in ((0, 3), (2, 5), (4, 6)):
        yield loop(f"greedy {gamma}", one_hot(rng, 5), one_hot(rng, 5), most, gamma)
    order = torch.randperm(5, generator=rng)  # each token comes once in five
    sure = torch.eye(5, dtype=DOUBLE)[order.roll(-1)][order.argsort()]
    for eos in (*range(5), None):
        yield loop(f"greedy with eos {eos}", sure, sure, 6, 4, eos=eos)
    target, draft = torch.tensor([0.6, 0.35, 0.05]), torch.tensor([0.32, 0.36, 0.32])
    rows = [torch.stack([steps.roll(last) for last in range(3)]) for steps in (target, draft)]
    yield loop("steps", *rows, 71, 4, kind="steps")
    yield loop("seeded loop", distributions(rng, 5, 5), distributions(rng, 5, 5), 8, 2, kind="seeded")
    for prompt, most, gamma in (([1], 0, 2), ([], 2, 2), ([1], -1, 2), ([1], 2, -1)):
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
    before, draws = drafted.clone(), ZeroDraws() if case.kind == "zero" else nullcontext()
    with draws, measure() if case.name == "gaps" else nullcontext(Cost()) as spent:
        tokens, counts = kata.verify(drafted, q, p)
    seen = {"dtypes": [str(tokens.dtype), str(counts.dtype)], "drafted after": torch.equal(before, drafted)}
    seen["counts"] = Draws(counts, gamma + 2)
    if case.kind in ("fine", "ratio", "zero"):
        return seen
    seen["few operators"] = spent.operators <= 200
    seen["form"] = torch.equal(tokens >= 0, torch.arange(gamma + 1) < counts[:, None])
    first, second, last = (tokens[:, place] + 1 for place in (0, min(gamma, 1), gamma))
    pair = Draws(first * (vocab + 1) + second, (vocab + 1) ** 2)
    return seen | {"the first two": pair, "last": Draws(last, vocab + 1)}


def seeded(sample):
    """Two results from one seed, and two from two, with other draws of the global stream between them."""
    first = sample(torch.Generator().manual_seed(1))
    torch.rand(1)
    return [Pairs(first, sample(torch.Generator().manual_seed(seed))) for seed in (1, 2)]


def generated(kata, case):
    calls, prompt = [], list(case.prompt)

    def call(name, tokens):
        calls.append((name, tokens[0].tolist()))
        if len(calls) > 6 * case.most + 60:
            raise RuntimeError("the loop does not end")
        return getattr(case, name)[tokens]

    models = partial(call, "target"), partial(call, "draft")
    generate = partial(kata.speculative_generate, *models, prompt, case.most, case.gamma, eos_token=case.eos)
    if case.kind == "seeded":
        return {"seeded": seeded(lambda generator: torch.tensor(generate(generator=generator)))}
    new = list(generate())
    if case.kind == "steps":
        return {"steps": Draws(torch.tensor(new[: case.most]).diff() % 3, 3)}
    ends = [name == "target" for name, _ in calls]  # of the rounds
    begins = [tokens for ended, (_, tokens) in zip([True, *ends], calls, strict=False) if ended]
    few = len(calls) <= (case.gamma + 1) * sum(ends)
    return {"tokens": new, "rounds begin with": begins, "few drafts": few, "prompt grown": prompt != case.prompt}
