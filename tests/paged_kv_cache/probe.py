"""What can be seen of a paged cache: lengths, which tables share which blocks, answers, free blocks, and found prefixes.
Which free block is taken next is free, so blocks are renumbered in the order in which tables show them. In scripts, "a5"
appends 5 tokens to a, "a>b" forks, "-a" frees, "b<a2" creates b with two blocks of a; behind a comma stands the number of
blocks, if it is not 8. For the index, letters are tokens: "abcd=40" inserts, "abcde?" looks up, "-4" evicts."""

from contextlib import suppress

import torch

from dojo.testing import measure, randn
from dojo.testing.probes import Case

HALF, SINGLE, DOUBLE = torch.float16, torch.float32, torch.float64
SCRIPTS = """PagedKVCache: a1 a1 a1 a1 a1; a3 b1 c9 a2 b5
PagedKVCache.append: a3 a7 a0; a4 a7; a7 b5 a1 a1 b4 -b a1,4; a3 a10 a9 a1,3; a0 a>b b3 b>c c0 -a; x1; a2 a>b c1 b1 -c b1,2; a2 a>b c1 b3 -c b3,3
PagedKVCache.free: a9 -a b5 a2,3; a5 b9 c1 -b -a b11 -b -c; a6 a>b -a c8 b1 -b,4; a6 a>b -b c8 a1 -a,4; a6 -x b1 -a
PagedKVCache.fork: a6 a>b a1 b1 a4 -a -b; a6 a>b b1 a1 b4 -a -b; a8 a>b a1 b1 a4 -a -b; a8 a>b b1 a1 b4 -a -b; a5 a>b b>c c1 b1 a1 -b
PagedKVCache.fork: a6 b1 a>b -a,4; a6 a>a -a,4; a6 x>c -a,4
PagedKVCache.create: a10 b<a1 b3 -a c8 -b,7; a10 b<a2 b3 -a c8 -b,7; a6 a<a0 -a; a6 b1 b<a1 -a,4; a6 b1 c<!1 -a,4; a6 b1 c<+1 -a,4; a6 b1 c<~1 -a,4
PrefixIndex.lookup: abcdef=407 abcdefj?; abcdef=407 abcdef?; abcdef=407 abcde?; abcdef=407 abc?; abcdef=407 a?; abcdef=407 ?; abcdef=407 cdj?; abcdef=407 abijcdefg?
PrefixIndex.lookup: abcdef=407 abjdefg?; abcdef=407 bac?
PrefixIndex.insert: abcde=407 abcdefj? abcdej?; g=3 ghi?; abcdef=407 ghcd=12 abcdefj? ghcdj? cdcdj?; abab=10 abababj?; kf=4 lfj? lf=6 kfj?
PrefixIndex.insert: abcdef=407 abcdgh=123 abcdefj? abcdghj? -1 abcdefj?; ab=4 bac?
PrefixIndex.evict: abcdef=407 -4 abcdefj? -7 abcdefj?; abcdef=407 -0 abcdefj? -7 abcdefj?; abcdef=407 -7 abcdefj?; abcdef=407 -9 abcdefj?
PrefixIndex.evict: abcdef=407 -4 gh=4 ghcdj? abcdefj?; abcdef=407 -0 -7 -0 abcdef=407 abcdefj?"""


def cases(rng):
    for line in SCRIPTS.splitlines():
        function, scripts = line.split(": ")
        for steps in scripts.split("; "):
            yield case_of(rng, steps, function)
    yield from (case_of(rng, "a2 a1 b2 a>c c3", "PagedKVCache.append", size=size) for size in (1, 2))
    yield case_of(rng, "a8 b3 c4 a3 -a b9,6", "PagedKVCache.attend", loud=1e4)
    for steps, *dtypes in (("a5 b2", SINGLE, HALF), ("a1 b1", HALF, SINGLE), ("a5 a>b b2", DOUBLE, SINGLE)):
        yield case_of(rng, steps, "PagedKVCache.attend", dtype=dtypes[0], stored=dtypes[1])
    for flag in ("fill", "grad", "given", "list", "twin", "empty", "unknown"):
        yield case_of(rng, "a5 b1 c0" if flag == "empty" else "a5 b1", "PagedKVCache.attend", flag=flag)
    for place, size in ((0, 0), (1, 0), (2, 0), (3, 0), (0, -1), (0, 5)):
        yield case_of(rng, "", "PagedKVCache", sizes=[size if number == place else 1 for number in range(4)])
    yield Case("cost", of="PagedKVCache.attend", kv=randn(rng, 2, 2, 128, 8, dtype=SINGLE))
    yield from (case_of(rng, "abcdef=123456 abcdefg? abcde?", "PrefixIndex", size=size) for size in (0, -1, 1, 3))


def case_of(rng, text, of, *, size=None, sizes=None, loud=1.0, dtype=DOUBLE, stored=None, flag=None):
    words = [*(3 * torch.randperm(50, generator=rng)[:10] + 5).tolist(), -1, -2]
    if of.startswith("PrefixIndex"):
        return Case(f"index {text} {size}", of=of, steps=text, words=words, size=2 if size is None else size)
    steps, _, blocks = text.partition(",")
    kv = randn(rng, 2, 2, 32, 4, dtype=dtype) * torch.tensor([loud] * 8 + [1.0] * 24, dtype=dtype)[:, None]
    sizes = sizes or [int(blocks or 8), size or 4, 2, 4]
    name, q = f"{text} sizes {sizes} loud {loud} {dtype} {stored} {flag}", randn(rng, 3, 2, 4, dtype=dtype)
    return Case(name, of=of, kv=kv, q=q, steps=steps, sizes=sizes, stored=stored or dtype, flag=flag)


def run(kata, case):
    return (index if case.of.startswith("PrefixIndex") else cost if case.name == "cost" else play)(kata, case)


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except (ValueError, MemoryError, LookupError) as error:
        return "another" if isinstance(error, LookupError) else type(error).__name__


def play(kata, case):
    try:
        torch.set_deterministic_debug_mode(2 * (case.flag == "fill"))  # 2: torch.empty gives NaN
        cache, twin = (kata.PagedKVCache(*case.sizes, dtype=case.stored) for _ in range(2))
    except ValueError:
        return {"made": "ValueError"}
    finally:
        torch.set_deterministic_debug_mode("default")
    same = torch.full_like(case.kv[:, :, :1], 0.5).repeat(1, 1, case.sizes[0] * case.sizes[1], 1)
    with suppress(Exception):  # what nobody has stored is the same number in every pool
        if case.steps and case.flag not in {"fill", "twin"}:
            _ = [cache.create("wash"), cache.free("wash"), cache.create("wash"), cache.append("wash", *same)]
            cache.free("wash")
    names, seen, start, tables = [], {"free": cache.free_blocks}, 0, {}
    for number, step in enumerate(case.steps.split()):
        seq, before, made = step[0], tables, None
        if seq == "-":
            result = attempt(cache.free, step[1])
            if result != "ValueError":
                names.remove(step[1])
                result = sorted(before[step[1]].index(block) for block in result)
        elif step[1] == ">":
            result, made = attempt(cache.fork, seq, step[2]), step[2]
        elif step[1] == "<":
            result, made = attempt(cache.create, seq, blocks_of(cache, case, names, *step[2:])), seq
        else:
            n, made = int(step[1:]), seq if seq not in names and seq != "x" else None
            k, v = case.kv[:, :, start : start + n].clone().requires_grad_(case.flag == "grad")
            result = [attempt(cache.create, seq) if made else None, attempt(cache.append, seq, k, v)]
            if case.flag == "twin":
                result += [twin.create(seq), twin.append(seq, v, k), twin.table(seq) == cache.table(seq)]
            result.append(torch.equal(torch.stack([k, v]), case.kv[:, :, start : start + n]))
            result.append(k.zero_() if case.flag == "given" else None)
            start += n if result[1] is None else 0
        names += [made] if made and result != "ValueError" else []
        tables, order = {name: cache.table(name) for name in names}, {}
        labels = [[order.setdefault(block, len(order)) for block in table] for table in tables.values()]
        moved = [[old != new for old, new in zip(before.get(name, []), tables[name], strict=False)] for name in names]
        inside = all(0 <= block < case.sizes[0] for block in order)
        seen[str(number)] = [result, [*map(cache.length, names)], labels, moved, cache.free_blocks, inside]
        last = f"{case.steps} -".split()[number + 1][0] == "-"  # or before something is freed
        if seqs := [name for name in names[::-1] if last and cache.length(name)]:
            seen[f"{number} answers"] = cache.attend(seqs, case.q[: len(seqs)])
    return {**seen, **(flagged(cache, case) if case.flag else {})}


def blocks_of(cache, case, names, source, count):  # of a table; or one that is free, too high, or negative
    unused = {*range(case.sizes[0])} - {block for name in names for block in cache.table(name)}
    odd = {"!": [min(unused, default=0)], "+": [case.sizes[0]], "~": [-1]}
    return odd[source] if source in odd else cache.table(source)[: int(count)]


def flagged(cache, case):  # the table that the caller has changed, and what cannot be told of others
    cache.table("a").clear()
    asked = [attempt(*call) for call in ((cache.length, "x"), (cache.table, "x"), (cache.create, 0), (cache.length, 0))]
    last = attempt(cache.attend, ["a", "b", "c" if case.flag in {"empty", "unknown"} else "a"], case.q)
    return {"last": last, "graph": getattr(last, "requires_grad", None), "table": len(cache.table("a")), "asked": asked}


def index(kata, case):
    (made, other), seen = (attempt(kata.PrefixIndex, case.size) for _ in range(2)), {}
    for number, step in enumerate(case.steps.split() if made != "ValueError" else ()):
        tokens, blocks = [case.words[ord(c) - 97] for c in step if c.isalpha()], [int(c) for c in step if c.isdigit()]
        do = made.evict if step[0] == "-" else made.lookup if step[-1] == "?" else made.insert
        result = do(*([blocks[0]] if step[0] == "-" else [tokens, blocks] if blocks else [tokens]))
        seen[str(number)] = [list(result) if isinstance(result, list) else result, list(tokens), list(blocks)]
        _ = [part.clear() for part in (tokens, blocks, result) if isinstance(part, list)]
    return {**seen, "other": other if made == "ValueError" else other.lookup(case.words), "words": case.words}


def cost(kata, case):
    cache, (k, v), spent = kata.PagedKVCache(400, 16, 2, 8), case.kv, []
    for seq, start, n in (("a", 0, 120), ("b", 0, 20), ("a", 120, 1), ("c", 121, 1)):
        _ = cache.fork("a", "c") if seq == "c" else cache.create(seq) if not start else None
        with measure() as one:
            cache.append(seq, k[:, start : start + n], v[:, start : start + n])
        spent.append(one)
    for seqs in ("ab", "bb"):
        with measure() as one:
            answers = cache.attend([*seqs], k[:, :2].transpose(0, 1))
        spent.append(one)
    lean = spent[4].bytes < 50 * k.nbytes, spent[2].bytes < k.nbytes, 4 * spent[3].bytes < 9 * k.nbytes
    flat = [spent[long].operators <= spent[short].operators + 4 for long, short in ((4, 5), (0, 1))]
    return {"answers": answers, "lean": lean, "flat": flat}
