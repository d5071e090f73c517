"""What can be seen of repetition control: the logits after each rule."""

import torch

from dojo.probes import Case
from dojo.testing import randint, randn

INF = float("inf")


def cases(rng):
    def case(of, name, logits, tokens, *values):
        return Case(f"{of}: {name}", of=of, logits=logits, tokens=torch.as_tensor(tokens), values=values)

    logits, square = 2 * randn(rng, 3, 6), 2 * randn(rng, 5, 5)
    tokens = torch.tensor([[0, 1, 0, 0, 2], [3, 3, 1, 3, 1], [5, 4, 5, 4, 4]])
    settings = {"repetition_penalty": (1.5,), "frequency_presence_penalty": (0.5, 0.2), "block_repeated_ngrams": (2,)}
    for of, values in settings.items():
        yield case(of, "batch", logits, tokens, *values)
        yield case(of, "one row", logits[:1], tokens[:1], *values)
        yield case(of, "square", square, randint(rng, 0, 5, 5, 7), *values)
        yield case(of, "empty", logits, tokens[:, :0], *values)
        yield case(of, "banned", logits.index_fill(1, torch.tensor([1, 5]), -INF), tokens, *values)
        for dtype in (torch.float16, torch.bfloat16):
            yield case(of, f"{dtype}", logits.to(dtype), tokens, *values)
    for penalty in (0.5, 1.0, 0.0, -1.0, float("nan")):
        yield case("repetition_penalty", f"penalty {penalty}", logits, tokens, penalty)
    signs = torch.tensor([[2.0, -2.0, 0.0, 3.0, -3.0]], dtype=torch.float64)
    yield case("repetition_penalty", "signs", signs, [[0, 1, 2, 1]], 2.0)
    for pair in ((0.0, 0.5), (0.5, 0.0), (-1.0, -0.5)):
        yield case("frequency_presence_penalty", f"{pair}", logits, tokens, *pair)
    long = torch.zeros(1, 5120, dtype=torch.int64)
    for dtype in (torch.float16, torch.bfloat16):
        yield case(
            "frequency_presence_penalty", f"long {dtype}", torch.tensor([[64, 1]], dtype=dtype), long, 1 / 128, 0
        )
    flat = torch.zeros(30, 3, dtype=torch.float64)
    for n in (1, 2, 3, 4):
        yield case("block_repeated_ngrams", f"random n={n}", flat, randint(rng, 0, 3, 30, 12), n)
    rows = {
        "loop": ([[5, 5, 5]], 3),
        "overlap": ([[1, 2, 1, 2]], 3),
        "odd place": ([[0, 1, 4, 2, 1, 4]], 3),
        "two successors": ([[1, 2, 3, 1, 2, 4, 1, 2]], 3),
        "undone": ([[1, 3, 2, 3, 1]], 2),
        "short": ([[4, 4]], 3),
        "shorter": ([[4, 4]], 9),
        "n=0": ([[4, 4]], 0),
        "n=-1": ([[4, 4]], -1),
    }
    for name, (tokens, n) in rows.items():
        yield case("block_repeated_ngrams", name, flat[:1].repeat(1, 2), tokens, n)


def run(kata, case):
    logits, tokens = case.logits.clone(), case.tokens.clone()
    result = getattr(kata, case.of)(logits, tokens, *case.values)
    new = result.data_ptr() != logits.data_ptr()
    return {"logits": result, "a new tensor": new, "logits before": logits, "tokens after": tokens}
