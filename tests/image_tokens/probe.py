"""What can be seen of features, tokens, prompts, rows and labels: values, gradients, parameters, and what they cost."""

import re
from functools import partial

import torch

from dojo.testing import measure, randint, randn
from dojo.testing.evidence import attempted, copied, gradients, refused, sentence_of, unchanged, unfilled_is_nan
from dojo.testing.probes import Case

SELECT, EXPAND, SPLICE, LABELS = "select_features", "expand_placeholders", "splice", "image_labels"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
INF, IMAGE = float("inf"), -200
WANTED = {"linear_1.weight": (4, 3), "linear_1.bias": (4,), "linear_2.weight": (4, 4), "linear_2.bias": (4,)}
PROJECTED = [("activation", (5, 3)), ("tokens", (3,)), ("tokens", (2, 4, 3)), ("dtype", (2, 3))]
PROJECTED += [(f"gradient of {each}", (2, 3)) for each in ("features", *WANTED)]
# A point is text, a letter a placeholder of the picture of this name; a space is between two rows.
PROMPTS = [("ids", each, None) for each in (".a..", "a", ".ab.", "ab", ".a.b.", "a.b.c", "....")]
PROMPTS += [("kept", ".a.b", None), ("new", "....", None), ("ids", ".a.b", [2]), ("ids", "a.", [2, 2])]
PROMPTS += [("ids", "...", [2]), ("ids", "a", []), ("ids", "a", [0]), ("ids", "ab", [3, -1])]
ROWS = [".aaa.", "aaa", "a...", "aa.bbb", ".aaabb", ".a.b.c.", "...", ".aa.. bbb.. ...cc", "..... .aa.. .bbbb"]
ROWS += ["aa.b. ..... .ccc.", "..... a.bbc", ".a.bb cc.d.", ".abb. .....", "... ..."]
# Rows, the tokens of their pictures, and how many pictures each row has; it does not fit.
NUMBERS = {"4", "5", "6", "9"}  # of the first one's row 5, also counted from 1, its placeholders and its tokens
WRONG = [("...... .aaa.. ...... ...... ...... .bbbb. ...... ......", [3, 9], [0, 1, 0, 0, 0, 1, 0, 0])]
WRONG += [(".a. bb. .cc", [1, 1, 3], [1, 1, 1]), ("... aa.", [5], [0, 1]), ("..... aaaaa", [3], [0, 1])]
WRONG += [(".aa. .bb.", [4, 4], [1, 1]), (".aaaa .bbbb", [2, 2], [1, 1]), (".aa.. bbb..", [2], [1, 0])]
WRONG += [(".a. .b.", [1, 1], each) for each in ([1], [1, 1, 0], [2, 1], [1, 0], [0, 1], [3, -1], [-1, 3], [])]
WRONG += [(".a. .b.", [1, 1, 1], [1, 1]), ("... .a.", [1], [-1, 2])]
SHAPES = [(2, 4), (1, 5), (2, 1), (1, 10), (5, 2), (10,)]
DTYPES = [(SINGLE, HALF), (BRAIN, SINGLE), (HALF, SINGLE), (SINGLE, DOUBLE), (HALF, BRAIN)]
LABELLED = [(rows, IMAGE) for rows in ("..aa..", "a.bb.", ".aa. .... bb.c", "...")] + [(".aa.", 0), (".aa.", 7)]
LABELLED = [("labels", *each) for each in LABELLED] + [("kept", ".aa.", IMAGE), ("new", "...", IMAGE)]


def cases(rng):
    for part, layer in [("features", each) for each in ((), -1, 0, 1, 2, -3, 4, 9, -5)] + [("gradient of 0", ())]:
        more = [list(randn(rng, 4, 2, 4, 3)), *([] if layer == () else [layer])]
        yield Case(f"{part} {layer}", of=SELECT, part=part, more=more)
    for part in ("shapes", "names", "frozen", "numbers"):
        yield Case(part, of="Projector", part=part, sides=randint(rng, 2, 9, 2).tolist())
    for part, shape in PROJECTED:
        values, given = {name: randn(rng, *size) for name, size in WANTED.items()}, randn(rng, *shape)
        given = given.to(BRAIN if part == "dtype" else DOUBLE)
        yield Case(f"{part} {shape}", of="Projector.forward", part=part, values=values, features=given)
    for part, rows, sizes, image_id in [(*each, IMAGE) for each in PROMPTS] + [("ids", ".a..", None, 7)]:
        drawn = (torch.randperm(4, generator=rng) + 3).tolist()[: len({*rows} - {"."})]
        more = [prompt(rng, rows, image_id)[0].tolist(), image_id, drawn if sizes is None else sizes]
        yield Case(f"{part} {rows} {sizes} {image_id}", of=EXPAND, part=part, more=more)
    yield from splices(rng)
    for part, rows, image_id in LABELLED:
        ids = prompt(rng, rows, image_id)
        more = [randint(rng, 50, 90, *ids.shape), ids, image_id]
        yield Case(f"{part} {rows} {image_id}", of=LABELS, part=part, more=more)
    labels = torch.tensor([[7, 60, -100, 61, -100, 62]])
    yield Case("labels of the same numbers", of=LABELS, part="labels", more=[labels, prompt(rng, ".aa...", 7), 7])
    for shape in SHAPES:
        more = [randint(rng, 50, 90, 2, 5), randint(rng, 1, 40, *shape), IMAGE]
        yield Case(f"refused {shape}", of=LABELS, part="refused", more=more)


def prompt(rng, rows, image_id=IMAGE):
    drawn = torch.tensor([[place != "." for place in row] for row in rows.split(" ")])
    ids = randint(rng, 1, 40, *drawn.shape)
    return ids.where(ids != image_id, 41).masked_fill(drawn, image_id)


def splices(rng):
    def case(part, rows, name="", dtypes=(DOUBLE, DOUBLE), dim=3, image_id=IMAGE, wider=0, **given):
        ids, names = prompt(rng, rows, image_id), sorted({*rows} - {".", " "})
        sizes = given.get("sizes", [rows.count(each) for each in names])
        embeddings = randn(rng, *ids.shape, dim).to(dtypes[0])
        features = [randn(rng, size, dim + wider).to(dtypes[1]) for size in sizes]
        counts = given.get("counts", [len({*row} - {"."}) for row in rows.split(" ")])
        more = [embeddings, given.get("ids", ids), features, counts, image_id]
        return Case(f"{part} {rows[:60]} {name}", of=SPLICE, part=part, more=more)

    yield from (case("row", rows) for rows in ROWS)
    yield from (case("row", ".aa.", f"of {image_id}", image_id=image_id) for image_id in (0, 7))
    yield from (case("row", ".aa.b .....", f"{dim} wide", dim=dim) for dim in (1, 7))
    yield from (case(part, ".aa.b ccc..") for part in ("gradient of 0", "gradient of 2", "kept", "strided"))
    yield case("gradient of 0", "... ...")
    for fault, place in ((INF, 1), (float("nan"), 1), (INF, 3)):
        unlike = case("finite", ".aa.b", f"{fault} at {place}")
        unlike.more[0][0, place], unlike.more[2][0][1, 0] = fault, INF if place == 3 else 1.0
        yield unlike
    small, digits = case("small", ".aa."), case("digits", ".aa.")
    small.more[0] *= 1e12
    digits.more[0], digits.more[2][0] = 1 + 1e-9 * digits.more[0], 1 + 1e-9 * digits.more[2][0]
    yield from (small, digits, *(case("dtype", ".aa.", f"{dtypes}", dtypes) for dtypes in DTYPES))
    for part, (rows, sizes, counts) in [("sentence", WRONG[0]), *(("refused", each) for each in WRONG)]:
        yield case(part, rows, f"{sizes}, {counts}", sizes=sizes, counts=counts)
    yield from (case("refused", ".aa.", f"wrong {wider}", wider=wider) for wider in (-1, 1, 3))
    yield from (case("refused", "..... .....", f"{shape}", ids=randint(rng, 1, 40, *shape)) for shape in SHAPES)
    yield from (case(part, 40 * ".aa.bb", dim=8, dtypes=(SINGLE, SINGLE)) for part in ("lean", "loop"))


def run(kata, case):
    if case.of.startswith("Projector"):
        return {case.part: start(kata, case) if case.of == "Projector" else tokens(kata, case)}
    call = partial(see, getattr(kata, case.of), case.part, copied(case.more), case.more)
    return {case.part: refused(call) if case.part == "refused" else attempted(call)}


def see(function, part, given, before):
    if part.startswith("gradient"):
        at = int(part[-1])
        leaves = given[at] if isinstance(given[at], list) else [given[at]]
        free = [each.requires_grad_() * 1 for each in leaves]  # no leaves: changing them is no error
        given[at] = free if isinstance(given[at], list) else free[0]
        return gradients(function(*given), leaves)
    if part == "sentence":
        return sorted(NUMBERS.intersection(re.findall(r"\d+", sentence_of(partial(function, *given)))))
    if part == "strided":
        given[:2] = given[0].mT.contiguous().mT, given[1].repeat_interleave(2, 1)[:, ::2]
    if part in ("lean", "loop"):
        with measure() as spent:
            function(*given)
        return spent.bytes <= 10 * given[0].nbytes if part == "lean" else spent.operators > 100
    got = function(*given)
    if part == "new":
        got += [1] if isinstance(got, list) else 1
    shown = {"digits": lambda: 1e9 * (got - 1), "small": lambda: got[:, 1:3], "finite": lambda: got.isfinite()}
    shown |= {"dtype": lambda: str(got.dtype)} | dict.fromkeys(("kept", "new"), lambda: unchanged(given, before))
    return shown.get(part, lambda: got)()


def start(kata, case):
    with unfilled_is_nan():
        own = sorted(kata.Projector(*case.sides).named_parameters())
    parts = {"shapes": sorted(list(p.shape) for _, p in own), "names": [n for n, _ in own] == sorted(WANTED)}
    parts |= {"frozen": [n for n, p in own if not p.requires_grad]}
    return parts.get(case.part, all(bool(p.isfinite().all()) for _, p in own))


def tokens(kata, case):
    layer, features = kata.Projector(3, 4).to(case.features.dtype), case.features.clone()
    own = dict(layer.named_parameters())
    if {name: tuple(p.shape) for name, p in own.items()} != WANTED:
        return "of other parameters"
    for name, values in case.values.items():
        copies = torch.eye(*WANTED[name]) if "weight" in name else torch.zeros(WANTED[name])
        own[name].data.copy_(copies if case.part == "activation" else values)
    leaf = own.get(case.part.split(" ")[-1], features).requires_grad_()
    got = layer(features)
    if "gradient" in case.part:
        return gradients(got, [leaf])
    return str(got.dtype) if case.part == "dtype" else got
