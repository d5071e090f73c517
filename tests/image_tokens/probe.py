"""What can be seen of features, tokens, prompts, rows and labels: values, gradients, parameters, and what they cost."""

import re

import torch

from dojo.testing import measure, randint, randn
from dojo.testing.probes import Case, Pairs

HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
INF, IMAGE = float("inf"), -200
WANTED = {"linear_1.weight": (4, 3), "linear_1.bias": (4,), "linear_2.weight": (4, 4), "linear_2.bias": (4,)}
FEATURES = [("activation", (5, 3)), ("tokens", (3,)), ("tokens", (2, 4, 3)), ("dtype", (2, 3))]
FEATURES += [(f"gradient of {each}", (2, 3)) for each in ("features", *WANTED)]
# A point is text, a letter a placeholder of the picture of this name.
PROMPTS = [("ids", each, None) for each in (".a..", "a", ".ab.", "ab", ".a.b.", "a.b.c", "....", "")]
PROMPTS += [("kept", ".a.b", None), ("kept", "....", None), ("wrong", ".a.b", [2]), ("wrong", "a.", [2, 2])]
PROMPTS += [("wrong", "...", [2]), ("wrong", "a", []), ("wrong", "a", [0]), ("wrong", "ab", [3, -1])]
ROWS = [".aaa.", "aaa", "a...", "aa.bbb", ".aaabb", ".a.b.c.", "...", ".aa.. bbb.. ...cc", "..... .aa.. .bbbb"]
ROWS += ["aa.b. ..... .ccc.", "..... a.bbc", ".a.bb cc.d.", ".abb. .....", "... ..."]
# Rows that do not fit, the tokens of their pictures and how many each row has; the last with what may stand in a sentence.
UNEVEN = [(".a. bb. .cc", [1, 1, 3], [1, 1, 1]), ("... aa.", [5], [0, 1]), ("..... aaaaa", [3], [0, 1])]
UNEVEN += [(".aa. .bb.", [4, 4], [1, 1]), (".aaaa .bbbb", [2, 2], [1, 1]), (".aa.. bbb..", [2], [1, 0])]
LONG, NUMBERS = (
    ("......... ..a...... " + 3 * "......... " + ".bbbb.... ......... .........", [1, 9], [0, 1, 0, 0, 0, 1, 0, 0]),
    {4, 5, 6, 9},
)
COUNTS = [[1], [1, 1, 0], [2, 1], [1, 0], [0, 1], [3, -1], [-1, 3], []]
SHAPES = [(2, 4), (1, 5), (2, 1), (1, 10), (5, 2), (10,)]
DTYPES = [(SINGLE, HALF), (BRAIN, SINGLE), (HALF, SINGLE), (SINGLE, DOUBLE), (HALF, BRAIN)]
LABELS = [("..aa..", IMAGE), (".aa.", 0), (".aa.", 7), ("a.bb.", IMAGE), (".aa. .... bb.c", IMAGE), ("...", IMAGE)]


def cases(rng):
    for part, layer in [("values", each) for each in (None, -1, 0, 1, 2, -3, 4, 9, -5)] + [("gradient", None)]:
        yield Case(f"{part} {layer}", of="select_features", part=part, states=randn(rng, 4, 2, 4, 3), layer=layer)
    for part in ("shapes", "trains", "numbers"):
        yield Case(part, of="Projector", part=part, sides=randint(rng, 2, 9, 2).tolist())
    for part, shape in FEATURES:
        values = {name: randn(rng, *size) for name, size in WANTED.items()}
        given = randn(rng, *shape)
        yield Case(f"{part} {shape}", of="Projector.forward", part=part, values=values, features=given)
    for part, rows, sizes, image_id in [(*each, IMAGE) for each in PROMPTS] + [("ids", ".a..", None, 7)]:
        ids, drawn = (
            prompt(rng, rows, image_id)[0].tolist(),
            (torch.randperm(4, generator=rng) + 2).tolist()[: len(names(rows))],
        )
        more = [ids, image_id, drawn if sizes is None else sizes]
        yield Case(f"{part} {rows} {sizes} {image_id}", of="expand_placeholders", part=part, more=more)
    yield from splices(rng)
    for part, rows, image_id in [("", *each) for each in LABELS] + [("kept", ".aa.", IMAGE), ("new", "...", IMAGE)]:
        yield labelled(rng, part, prompt(rng, rows, image_id), image_id, f"{rows} {image_id}")
    held = labelled(rng, "", prompt(rng, ".aa..", 7), 7, "held by labels")
    held.labels[0, 0], held.labels[0, 2], held.labels[0, 4] = 7, -100, -100
    yield held
    for shape in SHAPES:
        ids = prompt(rng, "..a.. ..a..").flatten()[: torch.Size(shape).numel()].reshape(shape)
        yield Case(
            f"wrong {shape}", of="image_labels", part="", labels=randint(rng, 50, 90, 2, 5), ids=ids, image_id=IMAGE
        )


def labelled(rng, part, ids, image_id, name):
    labels = randint(rng, 50, 90, *ids.shape)
    return Case(f"{part} {name}", of="image_labels", part=part, labels=labels, ids=ids, image_id=image_id)


def names(rows):
    return sorted(set(rows) - {".", " "})


def prompt(rng, rows, image_id=IMAGE):
    drawn = torch.tensor([[place != "." for place in row] for row in rows.split(" ")]).bool()
    ids = randint(rng, 1, 40, *drawn.shape)
    return ids.where(ids != image_id, 41).masked_fill(drawn, image_id)


def splices(rng):
    def case(part, rows, name="", dtypes=(DOUBLE, DOUBLE), dim=3, image_id=IMAGE, sizes=None, counts=None, wider=0):
        ids, sizes = prompt(rng, rows, image_id), sizes or [rows.count(each) for each in names(rows)]
        embeddings = randn(rng, *ids.shape, dim).to(dtypes[0])
        features = [randn(rng, size, dim + wider).to(dtypes[1]) for size in sizes]
        counts = [len(names(row)) for row in rows.split(" ")] if counts is None else counts
        more = [embeddings, ids, features, counts, image_id]
        return Case(f"{part} {rows} {name}", of="splice", part=part, more=more)

    yield from (case("row", rows) for rows in ROWS)
    yield from (case("row", ".aa.", f"of {image_id}", image_id=image_id) for image_id in (0, 7))
    yield from (case("row", ".aa.b .....", f"{dim} wide", dim=dim) for dim in (1, 7))
    yield from (case(part, ".aa.b ccc..") for part in ("text gradient", "picture gradient", "kept", "lists", "strided"))
    yield case("text gradient", "... ...")
    for fault, place in ((INF, 1), (float("nan"), 1), (INF, 3)):
        unlike = case("finite", ".aa.b", f"{fault} at {place}")
        unlike.more[0][0, place], unlike.more[2][0][1, 0] = fault, INF if place == 3 else 1.0
        yield unlike
    small = case("small", ".aa.", "beside large")
    small.more[0] *= 1e12
    digits = case("digits", ".aa.")
    digits.more[0], digits.more[2][0] = 1 + 1e-9 * digits.more[0], 1 + 1e-9 * digits.more[2][0]
    yield from (small, digits)
    yield from (case("dtype", ".aa.", f"{dtypes}", dtypes) for dtypes in DTYPES)
    for part, fit in [*(("refused", each) for each in UNEVEN), ("sentence", LONG)]:
        yield case(part, fit[0], f"{fit[1]}", sizes=fit[1], counts=fit[2])
    yield from (case("row", ".a. .b.", f"wrong {counts}", counts=counts) for counts in COUNTS)
    yield case("row", ".a. .b.", "wrong, three", sizes=[1, 1, 1])
    yield case("row", "... .a.", "wrong [-1, 2]", counts=[-1, 2])
    yield from (case("row", ".aa.", f"wrong {wider}", wider=wider) for wider in (-1, 1, 3))
    for shape in SHAPES:
        wrong = case("row", "..... .....", f"wrong {shape}")
        wrong.more[1] = wrong.more[1].flatten()[: torch.Size(shape).numel()].reshape(shape)
        yield wrong
    yield case("lean", "." * 8 + "a" * 92 + "b" * 20, dim=8, dtypes=(SINGLE, SINGLE))
    yield case("loop", ".a.bb", dim=8, dtypes=(SINGLE, SINGLE))


def run(kata, case):
    if case.of == "splice":
        return splice(kata, case)
    if case.of == "select_features":
        states = [each.clone().requires_grad_(case.part == "gradient") for each in case.states]
        got = kata.select_features(states, *([] if case.layer is None else [case.layer]))
        return {"gradient": gradient(got, states)} if case.part == "gradient" else {"features": got}
    if case.of == "expand_placeholders":
        ids, image_id, sizes = case.more
        given = [list(ids), list(sizes)]
        got = kata.expand_placeholders(given[0], image_id, given[1])
        return {"new": got is not given[0], "after": given} if case.part == "kept" else {"ids": got}
    if case.of == "image_labels":
        ids = case.ids.clone()
        got = kata.image_labels(ids if case.part else case.labels.clone(), ids, case.image_id)
        got += case.part == "new"
        return {"after": Pairs(ids, case.ids)} if case.part else {"labels": got}
    return start(kata, case) if case.of == "Projector" else tokens(kata, case)


def gradient(got, leaves):
    """Of a weighted sum of the result, for each of the leaves; zeros where none arrives."""
    if not got.requires_grad:
        return "none"
    weighted = (got * torch.arange(1.0, 1 + got.numel()).reshape(got.shape).to(got)).sum()
    each = torch.autograd.grad(weighted, leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(leaves, each, strict=True)]


def start(kata, case):
    torch.set_deterministic_debug_mode("warn")  # memory that nobody fills is NaN
    try:
        own = sorted(kata.Projector(*case.sides).named_parameters())
    finally:
        torch.set_deterministic_debug_mode("default")
    parts = {"shapes": {n: list(p.shape) for n, p in own}, "trains": all(p.requires_grad for _, p in own)}
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


def splice(kata, case):
    before, features, counts, image_id = case.more[:2], *case.more[2:]
    if case.part in ("refused", "sentence", "dtype"):
        return attempt(kata, case)
    embeddings, ids, features, counts = *(x.clone() for x in before), [x.clone() for x in features], [*counts]
    if case.part == "strided":
        embeddings, ids = embeddings.mT.contiguous().mT, ids.repeat_interleave(2, 1)[:, ::2]
    if "gradient" in case.part:
        leaves = [each.requires_grad_() for each in ([embeddings] if "text" in case.part else features)]
        features = [each * 1 for each in features]  # no leaves: changing them is no error
        return {"gradient": gradient(kata.splice(embeddings * 1, ids, features, counts, image_id), leaves)}
    with measure() as spent:
        got = kata.splice(embeddings, ids, features, counts, image_id)
    if case.part == "loop":
        features = [each.repeat_interleave(6, 0) for each in features]
        with measure() as more:
            kata.splice(embeddings.repeat_interleave(6, 1), ids.repeat_interleave(6, 1), features, counts, image_id)
        return {"loop": more.operators > spent.operators + 2}
    if case.part == "kept":
        return {"after": [Pairs(*pair) for pair in zip((embeddings, ids), before, strict=True)]}
    if case.part == "lists":
        return {"after": [len(features), counts]}
    if case.part == "lean":
        return {"lean": spent.bytes <= 10 * embeddings.nbytes}
    if case.part == "digits":
        return {"digits": 1e9 * (got - 1)}
    return {"row": got[:, 1:3] if case.part == "small" else got.isfinite() if case.part == "finite" else got}


def attempt(kata, case):
    """What became of a call that may be an error: whether it is refused, with which numbers, or the dtype of its result."""
    try:
        got = kata.splice(*case.more)
    except NotImplementedError:
        raise
    except ValueError as error:
        numbers = NUMBERS.intersection(map(int, re.findall(r"\d+", str(error))))
        return {"numbers": sorted(numbers)} if case.part == "sentence" else {"refused": True}
    except Exception:
        return {"refused": False}
    return {"refused": False} if case.part != "dtype" else {"dtype": str(got.dtype)}
