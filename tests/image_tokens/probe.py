"""What can be seen of features, tokens, prompts, rows and labels: values, gradients, parameters, and what they cost."""

import re

import torch

from dojo.testing import measure, randint, randn
from dojo.testing.probes import Case, Pairs

SELECT, EXPAND, SPLICE, LABELS = "select_features", "expand_placeholders", "splice", "image_labels"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
INF, IMAGE = float("inf"), -200
WANTED = {"linear_1.weight": (4, 3), "linear_1.bias": (4,), "linear_2.weight": (4, 4), "linear_2.bias": (4,)}
FEATURES = [("activation", (5, 3)), ("tokens", (3,)), ("tokens", (2, 4, 3)), ("dtype", (2, 3))]
FEATURES += [(f"gradient of {each}", (2, 3)) for each in ("features", *WANTED)]
# A point is text, a letter a placeholder of the picture of this name; a space is between two rows.
PROMPTS = [("ids", each, None) for each in (".a..", "a", ".ab.", "ab", ".a.b.", "a.b.c", "....")]
PROMPTS += [("kept", ".a.b", None), ("new", "....", None), ("ids", ".a.b", [2]), ("ids", "a.", [2, 2])]
PROMPTS += [("ids", "...", [2]), ("ids", "a", []), ("ids", "a", [0]), ("ids", "ab", [3, -1])]
ROWS = [".aaa.", "aaa", "a...", "aa.bbb", ".aaabb", ".a.b.c.", "...", ".aa.. bbb.. ...cc", "..... .aa.. .bbbb"]
ROWS += ["aa.b. ..... .ccc.", "..... a.bbc", ".a.bb cc.d.", ".abb. .....", "... ..."]
# Rows that do not fit, the tokens of their pictures, and how many pictures each row has.
UNEVEN = [(".a. bb. .cc", [1, 1, 3], [1, 1, 1]), ("... aa.", [5], [0, 1]), ("..... aaaaa", [3], [0, 1])]
UNEVEN += [(".aa. .bb.", [4, 4], [1, 1]), (".aaaa .bbbb", [2, 2], [1, 1]), (".aa.. bbb..", [2], [1, 0])]
NUMBERS = {4, 5, 6, 9}  # of the last one's row 5, also counted from 1, its placeholders and its tokens
UNEVEN += [("...... .aaa.. ...... ...... ...... .bbbb. ...... ......", [3, 9], [0, 1, 0, 0, 0, 1, 0, 0])]
COUNTS = [[1], [1, 1, 0], [2, 1], [1, 0], [0, 1], [3, -1], [-1, 3], []]
SHAPES = [(2, 4), (1, 5), (2, 1), (1, 10), (5, 2), (10,)]
DTYPES = [(SINGLE, HALF), (BRAIN, SINGLE), (HALF, SINGLE), (SINGLE, DOUBLE), (HALF, BRAIN)]
LABELLED = [("labels", "..aa..", IMAGE), ("labels", ".aa.", 0), ("labels", ".aa.", 7), ("labels", "a.bb.", IMAGE)]
LABELLED += [
    ("labels", ".aa. .... bb.c", IMAGE),
    ("labels", "...", IMAGE),
    ("kept", ".aa.", IMAGE),
    ("new", "...", IMAGE),
]


def cases(rng):
    for part, layer in [("features", each) for each in ((), -1, 0, 1, 2, -3, 4, 9, -5)] + [("gradient of 0", ())]:
        more = [list(randn(rng, 4, 2, 4, 3)), *([] if layer == () else [layer])]
        yield Case(f"{part} {layer}", of=SELECT, part=part, more=more)
    for part in ("shapes", "names", "frozen", "numbers"):
        yield Case(part, of="Projector", part=part, sides=randint(rng, 2, 9, 2).tolist())
    for part, shape in FEATURES:
        values, given = {name: randn(rng, *size) for name, size in WANTED.items()}, randn(rng, *shape)
        yield Case(f"{part} {shape}", of="Projector.forward", part=part, values=values, features=given)
    for part, rows, sizes, image_id in [(*each, IMAGE) for each in PROMPTS] + [("ids", ".a..", None, 7)]:
        drawn = (torch.randperm(4, generator=rng) + 3).tolist()[: len(names(rows))]
        more = [prompt(rng, rows, image_id)[0].tolist(), image_id, drawn if sizes is None else sizes]
        yield Case(f"{part} {rows} {sizes} {image_id}", of=EXPAND, part=part, more=more)
    yield from splices(rng)
    for part, rows, image_id in [*LABELLED, ("labels", ".aa...", 7), *(("refused", shape, IMAGE) for shape in SHAPES)]:
        ids = wrong_ids(rng, rows) if isinstance(rows, tuple) else prompt(rng, rows, image_id)
        labels = randint(rng, 50, 90, *([2, 5] if isinstance(rows, tuple) else ids.shape))
        if rows == ".aa...":  # labels that hold image_id and -100
            labels[0, 0], labels[0, 2], labels[0, 4] = 7, -100, -100
        yield Case(f"{part} {rows} {image_id}", of=LABELS, part=part, more=[labels, ids, image_id])


def names(rows):
    return sorted(set(rows) - {".", " "})


def prompt(rng, rows, image_id=IMAGE):
    drawn = torch.tensor([[place != "." for place in row] for row in rows.split(" ")])
    ids = randint(rng, 1, 40, *drawn.shape)
    return ids.where(ids != image_id, 41).masked_fill(drawn, image_id)


def wrong_ids(rng, shape):
    return prompt(rng, "..... .....").flatten()[: torch.Size(shape).numel()].reshape(shape)


def splices(rng):
    def case(part, rows, name="", dtypes=(DOUBLE, DOUBLE), dim=3, image_id=IMAGE, sizes=None, counts=None, wider=0):
        ids, sizes = prompt(rng, rows, image_id), sizes or [rows.count(each) for each in names(rows)]
        embeddings = randn(rng, *ids.shape, dim).to(dtypes[0])
        features = [randn(rng, size, dim + wider).to(dtypes[1]) for size in sizes]
        counts = [len(names(row)) for row in rows.split(" ")] if counts is None else counts
        more = [embeddings, ids, features, counts, image_id]
        return Case(f"{part} {rows} {name}", of=SPLICE, part=part, more=more)

    yield from (case("row", rows) for rows in ROWS)
    yield from (case("row", ".aa.", f"of {image_id}", image_id=image_id) for image_id in (0, 7))
    yield from (case("row", ".aa.b .....", f"{dim} wide", dim=dim) for dim in (1, 7))
    yield from (case(part, ".aa.b ccc..") for part in ("gradient of 0", "gradient of 2", "kept", "strided"))
    yield case("gradient of 0", "... ...")
    for fault, place in ((INF, 1), (float("nan"), 1), (INF, 3)):
        unlike = case("finite", ".aa.b", f"{fault} at {place}")
        unlike.more[0][0, place], unlike.more[2][0][1, 0] = fault, INF if place == 3 else 1.0
        yield unlike
    small, digits = case("small", ".aa.", "beside large"), case("digits", ".aa.")
    small.more[0] *= 1e12
    digits.more[0], digits.more[2][0] = 1 + 1e-9 * digits.more[0], 1 + 1e-9 * digits.more[2][0]
    yield from (small, digits, *(case("dtype", ".aa.", f"{dtypes}", dtypes) for dtypes in DTYPES))
    for part, (rows, sizes, counts) in [*(("refused", each) for each in UNEVEN), ("sentence", UNEVEN[-1])]:
        yield case(part, rows, f"{sizes}", sizes=sizes, counts=counts)
    yield from (case("refused", ".a. .b.", f"wrong {counts}", counts=counts) for counts in COUNTS)
    yield from (
        case("refused", ".a. .b.", "wrong, three", sizes=[1, 1, 1]),
        case("refused", "... .a.", "wrong", counts=[-1, 2]),
    )
    yield from (case("refused", ".aa.", f"wrong {wider}", wider=wider) for wider in (-1, 1, 3))
    for shape in SHAPES:
        wrong = case("refused", "..... .....", f"wrong {shape}")
        wrong.more[1] = wrong_ids(rng, shape)
        yield wrong
    yield from (case(part, ".aa.bb", dim=8, dtypes=(SINGLE, SINGLE)) for part in ("lean", "loop"))


def run(kata, case):
    if case.of.startswith("Projector"):
        return start(kata, case) if case.of == "Projector" else tokens(kata, case)
    part, function, before, given = case.part, getattr(kata, case.of), copied(case.more), copied(case.more)
    if part in ("refused", "sentence", "dtype", "row"):
        return attempt(function, part, given)
    if part.startswith("gradient"):
        at = int(part[-1])
        leaves = [each.requires_grad_() for each in (given[at] if isinstance(given[at], list) else [given[at]])]
        free = [each * 1 for each in leaves]  # no leaves: changing them is no error
        given[at] = free if isinstance(given[at], list) else free[0]
        return {"gradient": gradient(function(*given), leaves)}
    if part == "strided":
        given[:2] = given[0].mT.contiguous().mT, given[1].repeat_interleave(2, 1)[:, ::2]
    if part in ("lean", "loop"):
        few, many = (measured(function, given, times) for times in (1, 40))
        lean, loop = many.bytes <= 10 * 40 * given[0].nbytes, many.operators > few.operators + 2
        return {"lean": lean} if part == "lean" else {"loop": loop}
    got = function(*given)
    if part == "new":
        got += [1] if isinstance(got, list) else 1
    if part in ("kept", "new"):
        return {"after": [after(*pair) for pair in zip(given, before, strict=True)]}
    shown = {"digits": lambda: 1e9 * (got - 1), "small": lambda: got[:, 1:3], "finite": lambda: got.isfinite()}
    return {part: shown.get(part, lambda: got)()}


def copied(given):
    """Arguments that belong to one call."""
    return [
        each.clone() if hasattr(each, "clone") else copied(each) if isinstance(each, list) else each for each in given
    ]


def after(now, before):
    return Pairs(now, before) if isinstance(now, torch.Tensor) else len(now) if isinstance(now, list) else now


def measured(function, given, times):
    embeddings, ids, features, *more = given
    features = [each.repeat_interleave(times, 0) for each in features]
    given = embeddings.repeat_interleave(times, 1), ids.repeat_interleave(times, 1), features, *more
    with measure() as spent:
        function(*given)
    return spent


def gradient(got, leaves):
    """Of a weighted sum of the result, for each of the leaves; zeros where none arrives."""
    weights = torch.arange(1.0, 1 + got.numel()).reshape(got.shape).to(got)
    weighted = (got * weights).sum() + 0 * leaves[0].flatten()[0]  # a graph in any case
    each = torch.autograd.grad(weighted, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, each, strict=True)]


def start(kata, case):
    torch.set_deterministic_debug_mode("warn")  # memory that nobody fills is NaN
    try:
        own = sorted(kata.Projector(*case.sides).named_parameters())
    finally:
        torch.set_deterministic_debug_mode("default")
    parts = {"shapes": sorted(list(p.shape) for _, p in own), "names": [n for n, _ in own] == sorted(WANTED)}
    parts |= {"frozen": [n for n, p in own if not p.requires_grad]}
    return {case.part: parts.get(case.part, all(bool(p.isfinite().all()) for _, p in own))}


def tokens(kata, case):
    layer, features = kata.Projector(3, 4).double(), case.features.clone()
    own = dict(layer.named_parameters())
    if {name: tuple(p.shape) for name, p in own.items()} != WANTED:
        return {"tokens": "of other parameters"}
    for name, values in case.values.items():
        copies = torch.eye(*WANTED[name]) if "weight" in name else torch.zeros(WANTED[name])
        own[name].data.copy_(copies if case.part == "activation" else values)
    if case.part == "dtype":
        return {"dtype": str(layer.to(BRAIN)(features.to(BRAIN)).dtype)}
    if "gradient" not in case.part:
        return {"tokens": layer(features)}
    leaf = own.get(case.part.split(" ")[-1], features).requires_grad_()
    return {"gradient": gradient(layer(features), [leaf])}


def attempt(function, part, given):
    """What a call gives that may be an error: which one does not matter, but for a ValueError that is asked for."""
    try:
        got = function(*given)
    except NotImplementedError:
        raise
    except ValueError as error:
        if part == "refused":
            raise
        numbers = NUMBERS.intersection(map(int, re.findall(r"\d+", str(error))))
        return {"numbers": sorted(numbers)} if part == "sentence" else {part: "refused"}
    except Exception:
        return {part: "another error"} if part != "refused" else {"refused": False}
    return {"dtype": str(got.dtype)} if part == "dtype" else {"row": got} if part == "row" else {"refused": False}
