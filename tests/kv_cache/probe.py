"""What can be seen of a KV cache: answers at real tokens, lengths, logits, generated tokens, and what a step costs.

Scripts drive the cache by itself, so that what it shows does not hang on cached_forward.
"""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case

WRITE, ATTEND, TRUNCATE, REORDER = (f"KVCache.{name}" for name in ("write", "attend", "truncate", "reorder"))


def cases(rng):
    for dtype in (torch.float32, torch.float16):
        yield Case(f"empty, {dtype}", of="KVCache", sizes=randint(rng, 1, 30, 5).tolist(), dtype=dtype)
    yield script(rng, "one token", ATTEND, [1, 1], [1, 1])
    yield script(rng, "whole", ATTEND, [4, 4])
    yield script(rng, "chunks", "KVCache.advance", [1, 1], [3, 3], [2, 2])
    yield script(rng, "unequal", WRITE, [3, 1, 2], [1, 1, 1], [1, 1, 1])
    yield script(rng, "turns", WRITE, [3, 0, 2], [0, 2, 1], [2, 1, 0])
    yield script(rng, "full", WRITE, [6, 2], [0, 4], size=6)
    yield script(rng, "uninitialised", ATTEND, [3, 1], [1, 1], fill=True)
    yield script(rng, "loud tail", TRUNCATE, [6, 6], ["truncate", 0, 0], [3, 1], [1, 1], size=6, loud=1e4)
    yield script(rng, "drafts", TRUNCATE, [4, 4, 3], ["truncate", 3, 1, 3], [2, 1, 3], ["truncate", 4, 0, 6], [1, 2, 0])
    yield script(rng, "rows", REORDER, [4, 2, 3], ["reorder", 2, 0, 1], [1, 2, 3])
    yield script(rng, "children", REORDER, [4, 2, 3], ["reorder", 1, 2, 2], [1, 1, 1], ["reorder", 0, 0, 1], [1, 1, 1])
    for dtype, stored in (
        (torch.float32, torch.float16),
        (torch.float64, torch.bfloat16),
        (torch.float16, torch.float32),
    ):
        yield script(rng, f"{dtype} from {stored}", ATTEND, [3, 1], [1, 1], dtype=dtype, stored=stored)
    yield script(rng, "graph", WRITE, [2, 2], [1, 1], grad=True)
    for counts in ([2, 2], [1, 3], [4, 0], [-1, 1]):
        yield script(rng, f"refused {counts}", WRITE, [4, 3], ["refuse", *counts], [1, 2], size=5)
    for lengths in ([5, 3], [3, 4], [-1, 3]):
        yield script(rng, f"truncate {lengths}", TRUNCATE, [4, 3], ["truncate", *lengths])
    for name, chunks in {
        "prefill": [(5, 5)],
        "steps": [(3, 3), (1, 1), (1, 1)],
        "chunks": [(1, 1), (3, 3), (2, 2)],
        "unequal": [(3, 1), (1, 1), (1, 1)],
        "turns": [(3, 0), (0, 2), (2, 3)],
        "full": [(6, 2), (0, 4)],
        "nothing": [(0, 0), (2, 0)],
        "too long": [(4, 4), (1, 3), (2, 1)],
        "bad counts": [(2, 2), (4, 0), (-1, 1)],
    }.items():
        new = [max(1, min(3, *counts) if min(counts) < 0 else max(counts)) for counts in chunks]
        new = [min(size, 3) if name == "bad counts" else size for size in new]
        tokens = [randint(rng, 0, 9, 2, size) for size in new]
        yield Case(
            f"{name}: logits", of="cached_forward", tokens=tokens, chunks=chunks, seed=int(randint(rng, 0, 2**60, 1))
        )
    for name, lengths, most, eos in (
        ("equal", (4, 4), 5, None),
        ("unequal", (4, 1, 3), 6, None),
        ("last position", (4, 2), 7, None),
        ("eos", (2, 3, 1), 7, 0),
        ("eos of another row", (2, 3, 1), 7, 1),
        ("eos later", (3, 1), 6, 2),
        ("eos in the prompt", (3, 2), 4, "prompt"),
        ("one token", (2, 3), 1, None),
        ("no token", (2, 3), 0, None),
        ("fewer", (2, 3), -1, None),
        ("empty prompt", (2, 0), 3, None),
    ):
        prompts = [randint(rng, 0, 9, length).tolist() for length in lengths]
        given = {"prompts": prompts, "most": most, "eos": eos, "seed": int(randint(rng, 0, 2**60, 1))}
        yield Case(f"{name}: tokens", of="generate", **given)
    yield Case("cost", of=ATTEND, q=randn(rng, 2, 2, 1, 64, dtype=torch.float32))


def script(rng, name, of, *steps, size=8, loud=1.0, dtype=torch.float64, stored=None, grad=False, fill=False):
    """Lists of numbers are a step's counts; behind a word they are what that method is given."""
    batch, parts = len(steps[0]), []
    for number, (first, *others) in enumerate(steps):
        do, given = (first, others) if isinstance(first, str) else ("step", [first, *others])
        new = min(3, max(1, *given)) if do == "refuse" else max(1, *given)
        scale = loud if number == 0 else 1.0
        qkv = scale * randn(rng, 2, 3, batch, 2, new, 4) if do in ("step", "refuse") else None
        parts.append([do, torch.tensor(given), qkv if qkv is None else qkv.to(dtype)])
    return Case(name, of=of, script=parts, size=size, stored=stored or dtype, grad=grad, fill=fill)


def run(kata, case):
    if case.of == "KVCache":
        cache = kata.KVCache(*case.sizes, dtype=case.dtype)
        return {"nbytes": cache.nbytes, "lengths": cache.lengths}
    if case.name == "cost":
        return cost(kata, case)
    return {"cached_forward": forward, "generate": tokens}.get(case.of, play)(kata, case)


def play(kata, case):
    torch.set_deterministic_debug_mode("error" if case.fill else "default")  # "error": torch.empty gives NaN
    try:
        cache = kata.KVCache(2, len(case.script[0][1]), 2, case.size, 4, dtype=case.stored)
    finally:
        torch.set_deterministic_debug_mode("default")
    seen = {}
    for number, (do, given, qkv) in enumerate(case.script):
        before = given.clone()
        if do in ("truncate", "reorder"):
            getattr(cache, do)(given)
        elif do == "refuse":
            seen[f"{number} refused"] = refused(lambda: cache.write(0, qkv[0, 1], qkv[0, 2], given))  # noqa: B023
        else:
            for layer in range(2):
                q, k, v = qkv[layer].clone().unbind()
                cache.write(layer, k.requires_grad_(case.grad), v, given)
                answers = cache.attend(layer, q, given)
                seen[f"{number} layer {layer}"] = [
                    row[:, :count] for row, count in zip(answers, given.tolist(), strict=True)
                ]
                seen[f"{number} layer {layer} graph"] = answers.requires_grad
                seen[f"{number} lengths in layer {layer}"] = cache.lengths.clone()
                k.detach().zero_()
            cache.advance(given)
        seen[f"{number} lengths"] = cache.lengths.clone()
        seen[f"{number} given"] = torch.equal(given, before)
        given.zero_()
        seen[f"{number} lengths of its own"] = cache.lengths.clone()
    return seen


def refused(call):
    try:
        call()
    except ValueError:
        return True
    return False


def decoder_of(kata, seed):
    decoder = kata.Decoder(9, 2, 2, 4, 10).double()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.copy_(0.7 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return decoder


def forward(kata, case):
    decoder, cache, seen = decoder_of(kata, case.seed), kata.KVCache(2, 2, 2, 6, 4, dtype=torch.float64), {}
    for number, (tokens, counts) in enumerate(zip(case.tokens, case.chunks, strict=True)):
        counts = torch.tensor(counts)
        wrong = bool((counts < 0).any() or (counts > tokens.shape[1]).any() or (cache.lengths + counts > 6).any())
        if wrong:
            seen[f"{number} refused"] = refused(lambda: kata.cached_forward(decoder, tokens, counts, cache))  # noqa: B023
        else:
            logits = kata.cached_forward(decoder, tokens, counts, cache)
            seen[f"{number}"] = [row[:count] for row, count in zip(logits, counts.tolist(), strict=True)]
            seen[f"{number} graph"] = [logits.requires_grad, torch.is_grad_enabled()]
        torch.set_grad_enabled(True)
        seen[f"{number} lengths"] = cache.lengths.clone()
    return seen


def tokens(kata, case):
    decoder, widths, eos = decoder_of(kata, case.seed), [], case.eos
    if isinstance(eos, int):  # the third token of that row, when nothing ends it
        eos = kata.generate(decoder, case.prompts, 7)[eos][2]
    eos = case.prompts[0][-1] if eos == "prompt" else eos
    decoder.register_forward_hook(lambda module, given, logits: widths.append(logits.shape[1]))
    return {"tokens": kata.generate(decoder, case.prompts, case.most, eos_token=eos), "widths": widths}


def cost(kata, case):
    cache, counts = kata.KVCache(1, 2, 2, 1200, 64), torch.tensor([300, 300])
    memory = case.q.expand(2, 2, 300, 64)
    cache.write(0, memory, memory, counts)
    cache.advance(counts)
    with measure() as spent:
        cache.write(0, case.q, case.q, torch.tensor([1, 1]))
        answers = cache.attend(0, case.q, torch.tensor([1, 1]))
        cache.advance(torch.tensor([1, 1]))
    with measure() as less:
        cache.truncate(torch.tensor([299, 298]))
    stored = memory.numel() * 4
    lean = [spent.flops <= 1.05 * 4 * 2 * 2 * 64 * 301, spent.allocated < stored / 4, less.bytes < stored / 4]
    return {"answers": answers, "lean": lean}
