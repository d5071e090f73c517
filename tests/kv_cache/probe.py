"""What can be seen of a KV cache: answers at real tokens, lengths, logits, generated tokens, and what a step costs."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case

WRITE, ATTEND, TRUNCATE, REORDER = (f"KVCache.{name}" for name in ("write", "attend", "truncate", "reorder"))
VOCAB, HALF, SINGLE, DOUBLE = 23, torch.float16, torch.float32, torch.float64


def cases(rng):
    for dtype in (SINGLE, HALF):
        yield Case(f"empty, {dtype}", of="KVCache", sizes=randint(rng, 1, 12, 5).tolist(), dtype=dtype)
    yield script(rng, "two caches", WRITE, [1, 1], [1, 1], flag="other")
    yield script(rng, "chunks", "KVCache.advance", [1, 1], [3, 3], [2, 2])
    yield script(rng, "turns", WRITE, [3, 0, 2], [0, 2, 1], [2, 1, 0])
    yield script(rng, "full", WRITE, [5, 2], [1, 4], size=6)
    yield script(rng, "uninitialised", ATTEND, [3, 1], [1, 1], flag="fill")
    yield script(rng, "loud tail", TRUNCATE, [6, 6], ["truncate", 0, 0], [3, 1], size=6, loud=1e4)
    yield script(rng, "drafts", TRUNCATE, [4, 4, 3], ["truncate", 3, 1, 3], [2, 1, 3], ["truncate", 4, 0, 6], [1, 2, 0])
    yield script(rng, "rows", REORDER, [4, 2, 3], ["reorder", 2, 0, 1], [1, 2, 3])
    yield script(rng, "children", REORDER, [4, 2, 3], ["reorder", 1, 2, 2], [1, 1, 1])
    for dtype, stored in ((SINGLE, HALF), (DOUBLE, HALF), (HALF, SINGLE)):
        yield script(rng, f"{dtype} from {stored}", ATTEND, [3, 1], [1, 1], dtype=dtype, stored=stored)
    yield script(rng, "graph", WRITE, [2, 2], [1, 1], flag="grad")
    for counts in ([2, 2], [1, 3], [4, 0], [-1, 1]):
        yield script(rng, f"refused {counts}", WRITE, [4, 3], ["write", *counts], [1, 2], size=5)
    for lengths in ([5, 3], [3, 4], [-1, 3]):
        yield script(rng, f"truncate {lengths}", TRUNCATE, [4, 3], ["truncate", *lengths], [1, 1])
    for name, *chunks in (
        *(("chunks", [1, 1], [3, 3], [2, 2]), ("unequal", [1, 3], [1, 1], [1, 1]), ("turns", [0, 3], [2, 0], [2, 2])),
        *(("full", [5, 2], [1, 4]), ("nothing", [0, 0], [2, 0]), ("too long", [4, 4], [1, 3], [2, 1])),
        ("bad counts", [2, 2], [4, 0], [-1, 1]),
    ):
        given = [randint(rng, 0, VOCAB, 2, 2 if name == "bad counts" else max(1, *counts)) for counts in chunks]
        yield Case(
            f"{name}: logits", of="cached_forward", tokens=given, chunks=chunks, weights=randint(rng, 0, 2**60, 1)
        )
    for lengths, most, eos in (
        *(((4, 4), 5, None), ((4, 1, 3), 6, None), ((6, 2), 7, None), ((2, 3), 1, None)),
        *(((2, 3), 0, None), ((2, 3), -1, None), ((2, 0), 3, None)),
        *(((4,), 6, 0), ((2, 3, 1), 6, 1), ((3, 3), 4, "prompt")),
    ):
        prompts = [randint(rng, 0, VOCAB, length).tolist() for length in lengths]
        given = {"prompts": prompts, "most": most, "eos": eos, "weights": randint(rng, 0, 2**60, 1)}
        yield Case(f"{most} after {lengths}, eos {eos}", of="generate", **given)
    yield Case("cost", of=ATTEND, q=randn(rng, 2, 2, 1, 64, dtype=SINGLE))


def script(rng, name, of, *steps, size=8, loud=1.0, dtype=DOUBLE, stored=None, flag=None):
    """Lists of numbers are a step's counts; behind a word they are what that method is given."""
    parts = []
    for first, *rest in steps:
        do, given = (first, rest) if isinstance(first, str) else ("step", [first, *rest])
        qkv = randn(rng, 2, 3, len(given), 2, 3 if do == "write" else max(1, *given), 4) * (1.0 if parts else loud)
        parts.append([do, torch.tensor(given), qkv.to(dtype)])
    return Case(name, of=of, script=parts, size=size, stored=stored or dtype, flag=flag)


def run(kata, case):
    if case.name == "cost":
        return cost(kata, case)
    if case.of == "KVCache":
        cache = kata.KVCache(*case.sizes, dtype=case.dtype)
        return {"nbytes": cache.nbytes, "lengths": cache.lengths}
    return {"cached_forward": forward, "generate": tokens}.get(case.of, play)(kata, case)


def play(kata, case):
    torch.set_deterministic_debug_mode("error" if case.flag == "fill" else "default")  # "error": torch.empty gives NaN
    try:
        caches = [kata.KVCache(2, len(case.script[0][1]), 2, case.size, 4, dtype=case.stored) for _ in range(2)]
    finally:
        torch.set_deterministic_debug_mode("default")
    cache, seen = caches[0], {}
    for number, (do, given, qkv) in enumerate(case.script):
        before = given.clone()
        if do != "step":
            seen[do] = attempt(getattr(cache, do), *((0, *qkv[0, 1:], given) if do == "write" else (given,)))
        else:
            for layer in range(2):
                q, k, v = qkv[layer].clone().unbind()
                cache.write(layer, k.requires_grad_(case.flag == "grad"), v, given)
                answers = cache.attend(layer, q, given)
                seen[f"{number} {layer}"] = [*real(answers, given, 1), answers.requires_grad, cache.lengths.clone()]
                if case.flag == "other":
                    caches[1].write(layer, v, q, given)
            cache.advance(given)
        seen[f"{number} given"] = torch.equal(given, before)
        seen[f"{number} lengths"] = [cache.lengths.clone(), given.zero_(), cache.lengths.clone()]
    return seen


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except ValueError:
        return "ValueError"


def real(rows, counts, dim):
    return [row.narrow(dim, 0, max(0, count)) for row, count in zip(rows, counts.tolist(), strict=True)]


def decoder_of(kata, case, positions=12):
    decoder, rng = kata.Decoder(VOCAB, 2, 2, 4, positions).double(), torch.Generator().manual_seed(int(case.weights))
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=rng, dtype=DOUBLE))
            if name.endswith("bias") or "norm" in name:
                parameter.mul_(0.2).add_(float(name.endswith("weight")))
        decoder.head.bias.zero_()
        decoder.head.weight.copy_(3 * torch.nn.functional.normalize(decoder.head.weight))
    return decoder


def forward(kata, case):
    decoder, cache, seen = decoder_of(kata, case, 6), kata.KVCache(2, 2, 2, 6, 4, dtype=DOUBLE), {}
    for number, (given, counts) in enumerate(zip(case.tokens, map(torch.tensor, case.chunks), strict=True)):
        logits = attempt(kata.cached_forward, decoder, given, counts, cache)
        seen[f"{number} then"] = [cache.lengths.clone(), torch.is_grad_enabled()]
        torch.set_grad_enabled(True)
        seen[f"{number}"] = logits if isinstance(logits, str) else [*real(logits, counts, 0), logits.requires_grad]
    return seen


def tokens(kata, case):
    decoder, seen, eos = decoder_of(kata, case), [], case.eos
    if eos is not None:  # of a prompt, or the third token of that row, when nothing ends it
        eos = case.prompts[0][-1] if eos == "prompt" else kata.generate(decoder, case.prompts, 6)[eos][2]
    decoder.register_forward_hook(lambda module, given, logits: seen.append(logits.detach()))
    answers = kata.generate(decoder, case.prompts, case.most, eos_token=eos)
    logits = seen if case.most == 5 else [logits.shape[1] for logits in seen]  # 5: equal lengths and no eos
    return {"tokens": answers, "logits": logits}


def cost(kata, case):
    cache, counts, one = kata.KVCache(1, 2, 2, 1200, 64), torch.tensor([300, 300]), torch.tensor([1, 1])
    memory = case.q.expand(2, 2, 300, 64)
    cache.write(0, memory, memory, counts)
    cache.advance(counts)
    with measure() as spent:
        cache.write(0, case.q, case.q, one)
        answers = cache.attend(0, case.q, one)
    with measure() as less:
        cache.truncate(counts - 1)
    lean = spent.flops <= 1.05 * 4 * 2 * 2 * 64 * 301, spent.allocated < memory.nbytes / 4, less.bytes < 40_000
    return {"answers": answers, "lean": lean}
