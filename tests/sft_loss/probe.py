"""What can be seen of labels, of the loss and of packed rows. Each case asks one thing."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

INF, HALF, BRAIN, SINGLE, DOUBLE = float("inf"), torch.float16, torch.bfloat16, torch.float32, torch.float64
FIELDS = ("tokens", "labels", "positions", "segments")

# Shapes of tokens, attention mask and prompt lengths, and prompt lengths beside numbers of attended tokens.
WRONG_LABELS = [([2, 3], [2, 4], [2]), ([2, 3], [1, 3], [2]), ([2, 3], [2, 3], [1]), ([2, 3], [2, 3], [2, 1])]
WRONG_LABELS += [([3, 3], [3, 3], [2]), ([2, 3], [3], [2])]
WRONG_PROMPTS = [([-1, 2], [4, 4]), ([1, 5], [4, 4]), ([3, 2], [2, 4]), ([1, 1], [0, 4]), ([2, -3], [4, 3])]
WRONG_LOSS = [[2, 3], [1, 4], [4, 2], [8], [2, 4, 1]]  # of labels, where the logits are [2, 4, 3]
# Lengths of tokens and of labels, and the most tokens of a row.
WRONG_PACK = {"an example too long": ([2, 4], [2, 4], 3), "one example too long": ([6], [6], 5)}
WRONG_PACK |= {"an example without tokens": ([2, 0], [2, 0], 3), "one example without tokens": ([0], [0], 3)}
WRONG_PACK |= {"fewer labels than examples": ([2, 1], [2], 3), "more labels than examples": ([2], [2, 1], 3)}
WRONG_PACK |= {"a label too few": ([2, 3], [2, 2], 6), "a label too many": ([2, 3], [3, 3], 6)}
WRONG_PACK |= {"lengths exchanged": ([2, 3], [3, 2], 6)}

# Prompt lengths, the attention mask, and the number at padding.
LABELS = {"one example": ([2], [[1] * 5], 0), "no prompt": ([0], [[1] * 4], 0), "no answer": ([4], [[1] * 4], 0)}
LABELS |= {"rows with different prompts": ([1, 3, 2], [[1] * 5] * 3, 0), "own memory": ([2, 1], [[1] * 4] * 2, 0)}
LABELS |= {"padding, right": ([1], [[1, 1, 1, 0, 0]], 7), "padding, left": ([1], [[0, 0, 1, 1, 1]], 7)}
LABELS |= {"padding, both": ([2], [[0, 1, 1, 1, 1, 0]], 7), "padding of -100": ([1], [[1, 1, 1, 0]], -100)}
LABELS |= {"padding alone": ([0, 1], [[0, 0, 0], [1, 1, 1]], 7), "EOS is 0": ([1], [[1] * 4], 0)}
LABELS |= {"EOS, right": ([2], [[1, 1, 1, 1, 0]], 9), "EOS, left": ([1], [[0, 1, 1, 1]], 9)}
LABELS |= {"own memory, all": ([0], [[1] * 3], 0)}
# The labels that count, and what else the case has.
LOSS = {"one label": ([[0, 1]], {}), "one example": ([[0, 1, 1, 1]], {}), "label 0": ([[1, 1, 1, 1]], {})}
LOSS |= {"a prompt": ([[0, 0, 0, 1, 1]], {}), "padding": ([[0, 1, 1, 0, 0]], {}), "a gap": ([[0, 1, 0, 1, 1]], {})}
LOSS |= {"rows": ([[0, 1, 1, 1], [0, 1, 1, 1]], {}), "label 0 of rows": ([[1, 1, 1], [1, 1, 1]], {})}
LOSS |= {"own memory": ([[0, 1, 0], [1, 1, 0]], {}), "a row of nothing": ([[0, 1, 1], [0, 0, 0]], {})}
LOSS |= {"rows of different lengths": ([[0, 0, 0, 1, 1], [0, 1, 1, 1, 1], [0, 0, 1, 0, 0]], {})}
LOSS |= {"two classes": ([[0, 1, 1, 1, 1]], {"vocab": 2}), "huge": ([[0, 1, 1, 1]], {"scale": 3000.0})}
LOSS |= {f"num_items={n!r}": ([[0, 1, 1, 1]], {"items": n}) for n in (7, 1, torch.tensor(7), -1, -5)}
LOSS |= {"num_items of rows": ([[0, 1, 1, 1], [0, 0, 1, 1]], {"items": 7})}
LOSS |= {"nothing": ([[0, 0, 0], [0, 0, 0]], {}), "nothing but label 0": ([[1, 0, 0]], {}), "length 1": ([[1]], {})}
LOSS |= {f"nothing of {n!r}": ([[0, 0, 0]], {"items": n}) for n in (5, 0, torch.tensor(0))}
LOSS |= {f"{banned}banned": ([[0, 0, 1, 1, 0]], {"banned": True}) for banned in ("", "gradient, ")}
LOSS |= {"nothing, banned": ([[0, 0, 0], [0, 0, 0]], {"banned": True}), "high": ([[0, 1, 1, 1]], {})}
LOSS |= {"low, banned": ([[0, 0, 1, 1, 0]], {"banned": True})}
LOSS |= {"gradient": ([[0, 1, 1], [0, 0, 1]], {}), "gradient, num_items": ([[0, 1, 1], [0, 0, 1]], {"items": 9})}
LOSS |= {"gradient, nothing": ([[0, 0, 0], [0, 0, 0]], {}), "gradient, length 1": ([[1]], {})}
LOSS |= {f"{dtype}": ([[0, 1, 1, 1]], {"dtype": dtype}) for dtype in (SINGLE, HALF, BRAIN)}
LOSS |= {"many labels in bfloat16": ([[0] + [1] * 700], {"dtype": BRAIN, "scale": 0.0, "vocab": 34})}
LOSS |= {"cost": ([[0, 1, 1, 1], [0, 0, 1, 1]], {"dtype": SINGLE, "vocab": 160})}
ROWS = {"two in one row": ([3, 2], 7), "one example": ([4], 6), "one that fills its row": ([4], 4), "none": ([], 4)}
ROWS |= {"two that fill a row": ([2, 3, 2], 5), "two rows": ([3, 2, 4, 1], 6), "one token each": ([1, 1, 1], 3)}
ROWS |= {"small after full": ([3, 4, 5, 1], 5), "long after short": ([1, 2, 4], 5), "each alone": ([3, 3], 3)}


def cases(rng):
    for name, (prompts, mask, under) in LABELS.items():
        mask = torch.tensor(mask).bool()
        tokens = (10 + torch.randperm(mask.numel(), generator=rng).view(mask.shape)).where(mask, under)
        if name.startswith("EOS"):
            tokens[0, 3] = under
        yield Case(f"labels: {name}", of="build_labels", given=[tokens, mask, torch.tensor(prompts)])
    for shapes in WRONG_LABELS:
        tokens, mask, prompts = (torch.ones(shape).long() for shape in shapes)
        yield Case(f"labels: wrong {shapes}", of="build_labels", given=[tokens, mask.bool(), prompts])
    for prompts, lengths in WRONG_PROMPTS:
        given = [torch.ones(2, 4).long(), torch.arange(4) < torch.tensor(lengths)[:, None], torch.tensor(prompts)]
        yield Case(f"labels: prompts {prompts} of {lengths}", of="build_labels", given=given)
    for name, (counted, more) in LOSS.items():
        counted, vocab = torch.tensor(counted).bool(), more.get("vocab", 4)
        logits = (more.get("scale", 2.0) * randn(rng, *counted.shape, vocab)).to(more.get("dtype", DOUBLE))
        labels = randint(rng, 0, vocab, *counted.shape)
        if "banned" in more:
            logits[..., 0], labels = -INF, labels.clamp(min=1)
        logits += {"high": 3000, "low, banned": -9990}.get(name, 0)
        if name.startswith("many"):
            logits += randint(rng, -2, 3, 1, 701, 1)
        options = {"num_items": more["items"]} if "items" in more else {}
        given = {"logits": logits, "labels": labels.where(counted, -100), "options": options}
        yield Case(f"loss: {name}", of="causal_lm_loss", **given)
    for shape in WRONG_LOSS:
        given = {"logits": randn(rng, 2, 4, 3), "labels": torch.ones(shape).long(), "options": {}}
        yield Case(f"loss: wrong {shape}", of="causal_lm_loss", **given)
    packs = {f"{field}, {name}": (n, n, most) for name, (n, most) in ROWS.items() for field in FIELDS} | WRONG_PACK
    packs |= {"labels, ignored": ([3, 4], [3, 4], 9), "operators": ([3, 2, 4], [3, 2, 4], 6)}
    packs |= {"own memory": ([3, 3], [3, 3], 6), "own memory, one": ([3], [3], 5)}
    for name, (lengths, of_labels, most) in packs.items():
        tokens, labels = [randint(rng, 0, 100, n) for n in lengths], [randint(rng, 100, 200, n) for n in of_labels]
        for example in labels if name == "labels, ignored" else []:
            example[:2] = -100
        yield Case(f"pack: {name}", of="pack", tokens=tokens, labels=labels, most=most)


def run(kata, case):
    kind = case.name.split(": ")[1]
    if case.of == "pack":
        return of_rows(kata, case, kind)
    if case.of == "build_labels":
        given = [each.clone() for each in case.given]
        got = kata.build_labels(*given)
        return owned([got], given, case.given) if kind.startswith("own") else {"labels": got}
    logits, labels = case.logits.clone(), case.labels.clone()
    if kind == "cost":
        return cost(kata, logits, labels)
    if kind.startswith("gradient"):
        loss = kata.causal_lm_loss(logits.requires_grad_(), labels, **case.options)
        return {"gradient": torch.autograd.grad(loss, logits)[0] if loss.requires_grad else "no graph"}
    loss = kata.causal_lm_loss(logits, labels, **case.options)
    if kind == "own memory":
        return owned([], [logits, labels], [case.logits, case.labels])
    if kind.startswith(("nothing", "length")):
        loss = loss.double()  # other cases show the dtype
    return {"loss": loss if loss.isfinite() else "not finite"}


def of_rows(kata, case, kind):
    tokens, labels = [each.clone() for each in case.tokens], [each.clone() for each in case.labels]
    if kind == "operators":
        few, many = (operators(kata, tokens, labels, case.most, times) for times in (1, 9))
        return {"loop": many > few + 3}
    given = tokens + labels
    rows = kata.pack(tokens, labels, case.most)
    if kind.startswith("own"):
        results = [getattr(row, field) for row in rows for field in FIELDS]
        lists = {"lists": [len(tokens), len(labels)]}
        return owned(results, given, case.tokens + case.labels) | lists
    field = kind.split(",")[0]
    return (
        {field: [getattr(row, field) for row in rows]}
        if field in FIELDS
        else {"rows": [len(row.tokens) for row in rows]}
    )


def owned(results, given, before):
    """Whether what was given is as before, and whether a result shares its memory."""
    places = {each.untyped_storage().data_ptr() for each in given}
    shares = any(result.untyped_storage().data_ptr() in places for result in results)
    return {"after": [Pairs(a, b) for a, b in zip(given, before, strict=True)], "shares": shares}


def operators(kata, tokens, labels, most, times):
    with measure() as spent:
        kata.pack([t.repeat(times) for t in tokens], [t.repeat(times) for t in labels], most * times)
    return spent.operators


def cost(kata, logits, labels):
    """Whether it is lean, and whether the operators grow with the length or the vocabulary."""
    with measure() as few:
        kata.causal_lm_loss(logits[:, :3, :10], labels[:, :3].clamp(max=9))
    with measure() as spent:
        loss = kata.causal_lm_loss(logits.repeat(1, 3, 1), labels.repeat(1, 3))
    lean = spent.bytes <= 3 * 8.2 * logits.nbytes
    return {"loss": loss, "lean": lean, "loop": spent.operators > few.operators + 3}
