"""What can be seen of a paged cache: lengths, which tables share which blocks, answers, free blocks, and found prefixes.
Which free block is taken next is free, so blocks are renumbered in the order in which tables show them. In scripts, "a5"
appends 5 tokens to a, "a>b" forks, "-a" frees, "b<a2" creates b with 2 blocks of a; ",4" is a pool of 4 blocks. "Books" are
all but the answers. For the index, letters are tokens: "abcd=40" inserts, "abcde?" looks up, "-4" evicts."""

import torch

from dojo.testing import measure, randn
from dojo.testing.probes import Case

HALF, SINGLE, DOUBLE = torch.float16, torch.float32, torch.float64
SCRIPTS = """PagedKVCache: a1 a1 a1 a1 a1; a3 b1 c9 a2 b5
PagedKVCache.append: books: a3 a9,2; a3 a5 a1,2; a1 b1 a5,2; a2 a>b b1,1; a2 a>b b3,2; a0 a5,1; a1 a>b b0; a4 a>b b0; a4 a>b b1; a2 a>b b1
PagedKVCache.free: books: a6 a>b -a c1; a4 a>b -b a1; a1 a>b b>c -b -a; a5 -a; a5 -a a3; a6 b3 -b; a6 b2 -a c3 -b
PagedKVCache.fork: books: a6 a>b; a0 a>b; a6 a>b -a; a6 a>b b1; a6 a>b a3; a3 a>b b>c c1; a1 b1 a>b; a6 x>c -a
PagedKVCache.create: books: a6 b<a1; a6 b<a1 -a; a9 b<a2 b1; a9 b<a2 -b; a2 c<!1; a2 c<+1; a2 c<~1; a1 a<a0; a6 b1 b<a1 -a
PagedKVCache.append: a3 a7 a0; a4 a7; x1; a2 a>b c1 b1 -c b1,2; a2 a>b c1 b3 -c b3,3
PagedKVCache.free: a6 a>b -a c8 b1 -b,4; a6 a>b -b c8 a1 -a,4; a6 -x b1 -a
PagedKVCache.fork: a6 a>b a1 b1 a4 -a -b; a6 a>b b1 a1 b4 -a -b; a5 a>b b>c c1 b1 a1 -b; a6 a>a -a,4
PagedKVCache.create: a10 b<a2 b3 -a c7 -b,7
PagedKVCache.attend: zeros: a1; a2; a5; a6; a3 -a b1
PrefixIndex.lookup: abcdefj?; abcdef?; abcde?; abcd?; abc?; ab?; a?; ?; cdj?; abijcdefg?; abjdefg?; bac?
PrefixIndex.insert: abcde=407 abcdej?; abc=40 abcj?; abcd=40 abcd=12 abcdj?; abcd=40 abef=12 abefj?; ab=4 ab=1 abj? -1 abj?; ab=4 abcd=10 abcdj?; g=3 ghi?
PrefixIndex.insert: abcdef=407 ghcd=12 abcdefj? ghcdj? cdcdj?; abab=10 abababj?; kf=4 lfj? lf=6 kfj?; abcdef=407 abcdgh=123 abcdefj? abcdghj? -1 abcdefj?; ab=4 bac?
PrefixIndex.evict: abcd=40 -4 abcdj?; abcd=40 -0 abcdj?; abcd=40 -9; abcd=40 -4 -0; abcd=40 -0 -0; abcd=40 cd=1 -4 cdj?
PrefixIndex.evict: abcd=40 -4 gh=4 ghcdj?; abcd=40 -4 gh=4 abcdj?; abcd=40 -0 gh=0 abcdj?; abcd=40 efgh=12 -4 efghj?; abcdef=407 -4 abcdefj? -7 abcdefj?; abcdef=407 -0 -7 -0 abcdef=407 abcdefj?"""


def cases(rng):
    for line in SCRIPTS.splitlines():
        of, *flag, scripts = line.split(": ")
        for steps in scripts.split("; "):
            yield case_of(rng, "abcdef=407 " * (of == "PrefixIndex.lookup") + steps, of, flag="".join(flag))
    for loud, *dtypes in ((1e4, DOUBLE, DOUBLE), (1e-5, SINGLE, HALF), (1.0, HALF, SINGLE), (1e-39, DOUBLE, SINGLE)):
        yield case_of(rng, "a5 b1", "PagedKVCache.attend", dtype=dtypes[0], stored=dtypes[1], loud=loud)
    for flag in ("fill", "grad", "given", "list", "twin", "empty", "unknown"):
        yield case_of(rng, "a5 b1" + " c0" * (flag == "empty"), "PagedKVCache.attend", flag=flag)
    for place, size in ((0, 0), (1, 0), (2, 0), (3, 0), (0, -1), (0, 5)):
        yield case_of(rng, "", "PagedKVCache", sizes=[size if number == place else 1 for number in range(4)])
    yield Case("cost", of="PagedKVCache.attend", kv=randn(rng, 2, 2, 128, 8, dtype=SINGLE))
    yield from (case_of(rng, "abcdef=123456 abcdefg?", "PrefixIndex", size=size) for size in (0, -1, 1, 3))


def case_of(rng, text, of, *, size=None, sizes=None, loud=1.0, dtype=DOUBLE, stored=None, flag=""):
    if of.startswith("PrefixIndex"):
        words = (3 * torch.randperm(50, generator=rng)[:10] + 5).tolist()
        return Case(f"index {text} {size}", of=of, steps=text, words=[*words, -1, -2], size=2 if size is None else size)
    steps, _, blocks = text.partition(",")
    kv = randn(rng, 2, 2, 32, 4, dtype=dtype)
    kv[0, :, :8] *= loud
    sizes = sizes or [int(blocks or 8), size or 4, 2, 4]
    name = f"{text} sizes {sizes} loud {loud} {dtype} {stored} {flag}"
    q = randn(rng, 3, 2, 4, dtype=dtype) / min(loud, 1.0)  # beyond half's range, if the keys are small
    return Case(name, of=of, kv=kv, q=q, steps=steps, sizes=sizes, stored=stored or dtype, flag=flag)


def run(kata, case):
    return (index if case.of.startswith("PrefixIndex") else cost if case.name == "cost" else play)(kata, case)


def attempt(call, *arguments):
    try:
        return call(*arguments)
    except (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError) as error:
        return next((kind.__name__ for kind in (ValueError, MemoryError) if isinstance(error, kind)), "another")


def play(kata, case):
    try:
        torch.set_deterministic_debug_mode(2 * (case.flag == "fill"))  # 2: torch.empty gives NaN
        cache, twin = (kata.PagedKVCache(*case.sizes, dtype=case.stored) for _ in range(2))
    except ValueError:
        return {"made": "ValueError"}
    finally:
        torch.set_deterministic_debug_mode("default")
    if case.steps and case.flag not in {"fill", "twin", "books"}:  # what nobody has stored is the same in every pool
        same = torch.full_like(case.kv[:, :, :1], 0.5 * (case.flag != "zeros")).repeat(
            1, 1, case.sizes[0] * case.sizes[1], 1
        )
        _ = attempt(cache.create, "wash"), attempt(cache.append, "wash", *same), attempt(cache.free, "wash")
    names, seen, start, tables = [], {"free": cache.free_blocks}, 0, {}
    for number, step in enumerate(case.steps.split()):
        seq, before, made = step[0], tables, None
        if seq == "-":
            result = attempt(cache.free, step[1])
            if not isinstance(result, str):
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
            result += [torch.equal(torch.stack([k, v]), case.kv[:, :, start : start + n])]
            _ = k.zero_() if case.flag == "given" else None
            start += n if result[1] is None else 0
        names += [made] if made and not isinstance(result, str) else []
        tables, order = {name: cache.table(name) for name in names}, {}
        labels = [[order.setdefault(block, len(order)) for block in table] for table in tables.values()]
        moved = [[old != new for old, new in zip(before.get(name, []), tables[name], strict=False)] for name in names]
        inside = all(0 <= block < case.sizes[0] for block in order)
        seen[str(number)] = [result, [*map(cache.length, names)], labels, moved, cache.free_blocks, inside]
        last = f"{case.steps} -".split()[number + 1][0] == "-"  # or before something is freed
        if seqs := [name for name in names[::-1] if last and cache.length(name)]:
            seen[f"{number} answers"] = case.flag == "books" or attempt(cache.attend, seqs, case.q[: len(seqs)])
    return {**seen, **({} if case.flag in {"", "books", "zeros"} else flagged(cache, case))}


def blocks_of(cache, case, names, source, count):  # of a table; or one that is free, too high, or negative
    free = min({*range(case.sizes[0])} - {block for name in names for block in cache.table(name)}, default=0)
    return cache.table(source)[: int(count)] if source in names else [{"!": free, "+": case.sizes[0], "~": -1}[source]]


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
        result = attempt(do, *([blocks[0]] if step[0] == "-" else [tokens, blocks] if blocks else [tokens]))
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
