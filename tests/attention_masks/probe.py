"""What can be seen of the masks, positions, slopes and biases, and of attention in a window, with gradients and cost."""

import torch

from dojo.testing import measure, randint, randn
from dojo.testing.probes import Case, Pairs

FORBIDDEN = ("torch.nn.attention",)
WINDOW, CHECKED = "window_attention", "document"
LARGE = (2**24, 2**24 + 1, 2**24 + 1 + 2**32)


def packed(rng, *batch, n=12):
    """Labels of documents of length 1 to 3, in any order; every third is padding."""
    rows = []
    for _ in range(torch.Size(batch).numel()):
        labels = torch.randperm(n, generator=rng).repeat_interleave(randint(rng, 1, 4, n))[:n]
        rows.append(torch.where(labels % 3 == 1, -1, labels))
    return torch.stack(rows).reshape(*batch, n)


def sized(of, name, *args, **options):
    return Case(name, of=of, args=list(args), options=options)


def cases(rng):
    keys = int(randint(rng, 8, 14, 1))
    queries, window, sinks = (int(randint(rng, 2, 7, 1)) for _ in range(3))
    for name, sizes in {"square": (keys, keys), "cache": (queries, keys), "one": (1, keys), "wrong": (4, 3)}.items():
        yield sized("causal_mask", f"causal, {name}", *sizes)
        for sink in (0, sinks):
            yield sized("window_mask", f"window, {name}, sinks {sink > 0}", *sizes, window, sinks=sink)
    for wide, sink in ((1, 0), (99, 2), (2, 99), (2, 2), (0, 0), (-1, 0), (1, -1)):
        yield sized("window_mask", f"window {wide}, sinks {sink}", keys, keys, wide, sinks=sink)
    yield sized("window_mask", "window of all", keys, keys, keys)
    for of in ("document_mask", "document_positions"):
        for batch in ((), (3,), (2, 2)):
            yield Case(f"{of}, batch {batch}", of=of, documents=packed(rng, *batch))
        lengths = randint(rng, 1, 5, 3)
        for labels in ((9, 5, 2), (0, 1, 2), (0, 0, 0)):
            yield Case(
                f"{of}, {labels} of any length", of=of, documents=torch.tensor(labels).repeat_interleave(lengths)
            )
        for labels in ((4, -1, 4, 4), (-1, -1, 3, 3), (1, 2, 2, 1), (0, 1, 1, 0), (0, 0, -2, 1), (-1, -1), LARGE):
            yield Case(f"{of}, {labels}", of=of, documents=torch.tensor(labels))
        yield Case(f"{of}, two rows, one label", of=of, documents=torch.tensor([[1, 1, 2], [2, 1, 1]]))
    some = int(randint(rng, 9, 16, 1))
    for name, heads in {"1": 1, "2": 2, "8": 8, "3": 3, "12": 12, "71": 71, "some": some, "0": 0, "-4": -4}.items():
        yield sized("alibi_slopes", f"slopes of {name}", heads)
        if name not in ("2", "71"):
            yield sized("alibi_bias", f"bias, {name} heads", heads, 3, keys)
    yield sized("alibi_bias", "bias, square", 2, keys, keys)
    yield sized("alibi_bias", "bias, more queries than keys", 2, 4, 3)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        yield sized("alibi_bias", f"bias in {dtype}", 9, 2, 1024, dtype=dtype)
    sizes = {
        "blocks": (9, 3),
        "ragged": (10, 3),
        "a row short": (8, 3),
        "a window of 1": (5, 1),
        "a wide window": (4, 9),
    }
    for name, (n, wide) in {**sizes, "n - 1": (7, 6), "one token": (1, 2), "window 0": (4, 0)}.items():
        yield attend(name, rng, 2, n, 4, window=wide)
    yield attend("one matrix", rng, 7, 3, window=2)
    yield attend("heads", rng, 2, 3, 7, 3, window=4)
    yield attend("queries of zeros", rng, 7, 3, window=3, q=torch.zeros(7, 3).double())
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        yield attend(f"in {dtype}", rng, 7, 16, window=3, dtype=dtype, v=8 + randn(rng, 7, 16))
        if dtype is torch.float32:
            continue  # next to 3e4 it has steps of 2^-9, so that right weights differ
        signs = torch.where(randn(rng, 9, 1) > 0, 64.0, -64.0).expand(9, 16)
        strong = {"q": torch.full((9, 16), 117.0), "v": randint(rng, 1, 99, 9, 1).expand(9, 16).double()}
        yield attend(f"scores of 3e4 in {dtype}", rng, 9, 16, window=3, dtype=dtype, k=signs, **strong)
        yield attend(f"scores of -3e4 in {dtype}", rng, 9, 16, window=3, dtype=dtype, k=-signs.abs(), **strong)
    yield attend("cost", rng, 256, 4, window=32)


def attend(name, rng, *shape, window, dtype=torch.float64, **given):
    given = {key: randn(rng, *shape) for key in "qkv"} | given
    return Case(f"attention, {name}", of=WINDOW, window=window, dtype=dtype, **given)


def run(kata, case):
    function = getattr(kata, case.of)
    if case.of == WINDOW:
        return cost(function, case) if case.name.endswith("cost") else attended(function, case)
    if case.of.startswith(CHECKED):
        return labelled(function, case)
    first = function(*case.args, **case.options)
    seen = {"first": picked(first), "shape": list(first.shape), "dtype": str(first.dtype)}
    first.zero_()
    seen |= {"again": picked(function(*case.args, **case.options))}
    if case.name == "bias, square":  # what is kept of a larger table must not answer for a smaller one
        seen |= {"newest": function(2, 3, case.args[2])}
    return seen


def picked(found):
    """Which large number stands in place of -inf is open. Of a long table the first keys and the last, without the future."""
    found = found.clamp(min=-5000).where(found.isfinite(), found) if found.is_floating_point() else found
    return torch.cat([found[..., :16], found[..., -9:-1]], -1) if found.shape[-1] > 100 else found


def labelled(function, case):
    documents = case.documents.clone()
    first = function(documents)
    kept = first.clone()
    first.zero_()
    seen = {"shape": list(kept.shape), "dtype": str(kept.dtype), "again": Pairs(function(documents), kept)}
    seen |= {"after": Pairs(documents, case.documents)}
    if case.of == "document_mask":
        return seen | {"mask": kept}
    inside = bool(((kept >= 0) & (kept < documents.shape[-1])).all())  # at padding positions are free
    return seen | {"positions": kept[documents >= 0], "inside": inside}


def attended(function, case):
    leaves = [getattr(case, name).to(case.dtype).clone().requires_grad_() for name in "qkv"]
    free = [leaf * 1 for leaf in leaves]  # no leaves, so that changing them is no error
    y = function(*free, case.window)
    seen = {
        "y": y.to(case.dtype),
        "dtype": y.dtype == case.dtype,
        "after": [Pairs(one, leaf) for one, leaf in zip(free, leaves, strict=True)],
    }
    if case.dtype is not torch.float64:
        return seen
    if not y.requires_grad:
        return seen | {"no graph": True}
    gradients = torch.autograd.grad(y.square().sum(), leaves, allow_unused=True)
    return seen | {"gradients": [torch.zeros(()) if g is None else g for g in gradients]}


def cost(function, case):
    given, n = [case.q, case.k, case.v], len(case.q)

    def spent(*given, window=case.window):
        with measure() as cost:
            function(*given, window)
        return cost

    once = spent(*given)
    two, eight = (spent(*(t.repeat(rows, 1, 1) for t in given)).operators for rows in (2, 8))
    short, wide = (spent(*(t[:8] for t in given), window=window).flops for window in (8, 64))
    flops = 4 * case.q.shape[-1] * sum(min(i + 1, case.window) for i in range(n))
    # 2.3: in so short a row the first block, half of which is wasted, weighs more than in the tests' 1024 tokens.
    lean = [0.99 * flops <= once.flops <= 2.3 * flops, once.largest < n * n, 0 < once.operators < n]
    return {"y": function(*given, case.window), "lean": lean, "grows": [eight > two, wide > short]}
