"""What can be seen of repetition control: the logits after each rule."""

import torch

from dojo.testing import randint, randn
from dojo.testing.probes import Case

INF = float("inf")
REPETITION, FREQUENCY, NGRAMS = "repetition_penalty", "frequency_presence_penalty", "block_repeated_ngrams"


def cases(rng):
    def case(of, name, logits, tokens, *calls, length=None):
        """Each call is the values of one; where a rule changes nothing, another call of the case changes something."""
        inputs = {"logits": logits, "tokens": torch.as_tensor(tokens), "calls": calls}
        return Case(f"{of}: {name}", of=of, length=length, **inputs)

    def some(*shape):
        """Logits in eighths, and never 0: nothing rounds, in any dtype."""
        signs = randint(rng, 0, 2, *shape).double() * 2 - 1
        return randint(rng, 1, 33, *shape).double() / 8 * signs

    def relabelled(tokens):
        return torch.randperm(8, generator=rng)[torch.as_tensor(tokens)]

    tokens = relabelled([[0, 1, 0, 0, 2], [3, 3, 1, 3, 1], [5, 4, 5, 4, 4]])
    eighths = (2 * randint(rng, 1, 4) + 1).item() / 8, randint(rng, 1, 3).item() / 8  # the one odd, the other below
    settings = {REPETITION: (1.25 + randint(rng, 1, 50).item() / 100,), FREQUENCY: eighths, NGRAMS: (2,)}
    for of, values in settings.items():
        logits = some(3, 8)
        yield case(of, "batch", logits, tokens, values)
        yield case(of, "one row", logits[1:2], tokens[1:2], values)
        yield case(of, "square", some(7, 7), randint(rng, 0, 7, 7, 9), values)
        yield case(of, "empty", logits, tokens, values, length=0)
        yield case(of, "banned", logits.index_fill(1, torch.randperm(8, generator=rng)[:2], -INF), tokens, values)
        for dtype in (torch.float16, torch.bfloat16):
            yield case(of, f"{dtype}", logits.to(dtype), tokens, values)
    logits = some(3, 8)
    yield case(REPETITION, "penalty 0.5", logits, tokens, (0.5,))
    yield case(REPETITION, "penalty 1.0", logits, tokens, (1.0,), (2.0,))
    for penalty in (0.0, -1.0, float("nan")):
        yield case(REPETITION, f"penalty {penalty}", logits, tokens, (penalty,))
    yield case(REPETITION, "signs", randint(rng, -2, 3, 6, 7).double(), randint(rng, 0, 7, 6, 5), (2.0,))
    for pair in ((0.0, 0.5), (0.5, 0.0), (-1.0, -0.5)):
        yield case(FREQUENCY, f"{pair}", some(3, 8), tokens, pair)
    share = 0.2 + 0.6 * torch.rand((), generator=rng)
    long = (torch.rand(1, 5120, generator=rng) < share).long()
    for dtype in (torch.float16, torch.bfloat16):
        yield case(FREQUENCY, f"long {dtype}", randint(rng, 56, 72, 1, 2).to(dtype), long, (1 / 128, 0))
    for n in (1, 2, 3, 4):
        yield case(NGRAMS, f"random n={n}", randn(rng, 30, 3), randint(rng, 0, 3, 30, 12), (n,))
    rows = {
        "loop": ([5, 5, 5], 3),
        "overlap": ([1, 2, 1, 2], 3),
        "odd place": ([0, 1, 4, 2, 1, 4], 3),
        "two successors": ([1, 2, 3, 1, 2, 4, 1, 2], 3),
        "undone": ([1, 3, 2, 3, 1], 2),
        "short": ([4, 4], 3, 2),
        "shorter": ([4, 4], 9, 1),
    }
    for name, (history, *ns) in rows.items():
        yield case(NGRAMS, name, some(1, 8), relabelled([history]), *[(n,) for n in ns])
    for n in (0, -1):
        yield case(NGRAMS, f"n={n}", some(1, 8), [[4, 4]], (n,))


def shown(result, logits):
    """The result; which finite number stands far below all logits does not matter, so each shows as one."""
    if not isinstance(result, torch.Tensor) or result.shape != logits.shape:
        return result
    lowest = float(logits[logits.isfinite()].min()) - 60
    return result.masked_fill(result.isfinite() & (result < lowest), lowest)


def run(kata, case):
    seen = {}
    for number, values in enumerate(case.calls):
        for length in (None,) if case.length is None else (None, case.length):
            logits, tokens = case.logits.clone(), case.tokens[:, :length].clone()
            result = getattr(kata, case.of)(logits, tokens, *values)
            seen[f"logits {number} {length}"] = shown(result, case.logits)
            result.fill_(7)  # shows in the argument, unless the result is a new tensor
            seen |= {f"before {number} {length}": logits, f"tokens {number} {length}": tokens}
    return seen
