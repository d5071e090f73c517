"""What can be seen of patches, of resized positions and of an embedding: values, gradients, parameters, and their cost."""

import torch

from dojo.testing import measure, randint, randn
from dojo.testing.probes import Case, Pairs

PATCHIFY, UNPATCHIFY, RESIZE, INIT = "patchify", "unpatchify", "resize_positions", "PatchEmbedding"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
WRONG_CUTS = [(5, 4, 2), (4, 5, 2), (5, 5, 2), (4, 6, 4), (6, 4, 4), (2, 2, 3), (4, 4, 0), (4, 4, -2)]
WRONG_PATCHES = [[1, 8, 4], [1, 2, 4], [1, 3, 4], [1, 4, 6], [1, 4, 3], [1, 1, 16], [2, 2, 8], [1, 2, 8]]  # of 4 x 4
WRONG_GRIDS = [(5, (2, 3), (4, 4)), (4, (2, 2), (4, 4)), (6, (2, 2), (4, 4)), (7, (2, 2), (2, 2)), (6, (2, 3), (2, 3))]
WRONG_GRIDS += [(5, (-2, -2), (4, 4)), (5, (2, 2), (0, 4)), (5, (2, 2), (4, -1))]  # sides below 1
# batch, channels, height, width, patch_size; then grids, old and new; then the sizes of a model and of its pictures
PICTURES = [(1, 1, 4, 4, 2), (1, 3, 2, 2, 2), (1, 2, 6, 6, 3), (1, 1, 2, 6, 2), (1, 1, 6, 2, 2), (1, 2, 3, 3, 1)]
PICTURES += [(3, 1, 4, 4, 2), (1, 1, 4, 6, 2), (2, 3, 6, 4, 2), (0, 3, 4, 6, 2)]
GRIDS = [((4, 1), (8, 1)), ((4, 1), (2, 1)), ((1, 4), (1, 7)), ((2, 3), (2, 3)), ((4, 4), (6, 6)), ((2, 3), (5, 3))]
GRIDS += [((3, 2), (3, 5)), ((4, 3), (1, 1)), ((2, 8), (4, 4)), ((2, 3), (3, 2)), ((11, 2), (15, 3))]
SIZES = [((4, 4), (4, 4)), ((4, 6), (4, 6)), ((4, 4), (6, 10)), ((4, 4), (2, 8)), ((4, 6), (6, 4)), ((2, 6), (4, 4))]
PARAMETERS = ("projection.weight", "projection.bias", "cls_token", "positions")
SHOWN = {"patches": PARAMETERS[:2], "class": PARAMETERS[2:3], "positions": PARAMETERS[3:]}  # the others are 0
ROWS = {"class": slice(1), "places": slice(1, None), "patches": slice(1, None)}


def cases(rng):
    for of in (PATCHIFY, UNPATCHIFY):
        yield from (picture(rng, of, "plain", *sizes) for sizes in PICTURES)
        yield from (picture(rng, of, name, 2, 2, 12, 8, 2) for name in ("strided", "gradient", "cost"))
        yield picture(rng, of, "infinite", 2, 2, 4, 6, 2, BRAIN)
        yield from (picture(rng, of, "wrong", 1, 2, *wrong) for wrong in WRONG_CUTS)
    for shape in WRONG_PATCHES:
        yield Case(f"wrong patches {shape}", of=UNPATCHIFY, given=randn(rng, *shape), more=[2, 4, 4])
    for old, new in GRIDS:
        yield from (positions(rng, part, 1 + old[0] * old[1], old, new, 2) for part in ("class", "places"))
    for part, dtype in (("gradient", DOUBLE), ("digits", DOUBLE), ("once", HALF), ("once", BRAIN), ("single", SINGLE)):
        yield positions(rng, part, 31, (6, 5), (7, 9), 4, dtype)
    yield from (positions(rng, "places", *wrong, 3) for wrong in WRONG_GRIDS)
    sides = (2 * randint(rng, 2, 6, 2)).tolist()
    for part, cut in enumerate([[*sides, 2]] * 3 + WRONG_CUTS):
        yield Case(f"start {part}", of=INIT, part=part % 3, cut=cut)
    for size, other in SIZES:
        yield from (embedding(rng, part, size, other) for part in ("patches", "positions"))
    yield from (embedding(rng, part, (4, 6), (4, 6)) for part in ("class", "tokens", "half"))
    for part in ("again", "gradient", "cost"):
        yield from (embedding(rng, part, (4, 6), other) for other in ((4, 6), (6, 4))[part == "again" :])
    for batch, channels, *size in [(2, 3, 5, 4), (2, 3, 4, 5), (0, 3, 4, 4), (1, 3, 4, 4), (2, 1, 4, 4), (2, 4, 4, 4)]:
        yield embedding(rng, "tokens", (4, 4), size, batch, channels)


def picture(rng, of, name, batch, channels, height, width, patch, dtype=DOUBLE):
    """Pictures, or the patches that they would have."""
    shape = batch, channels, height, width
    if of == UNPATCHIFY:
        shape = batch, (height // (patch or 1)) * (width // (patch or 1)), channels * patch**2
    more = [patch] if of == PATCHIFY else [patch, height, width]
    return Case(
        f"{of}: {name} {batch, channels, *more, shape}", of=of, given=randn(rng, *shape, dtype=dtype), more=more
    )


def positions(rng, part, count, old, new, dim, dtype=DOUBLE):
    """Multiples of 1/8 between 80 and 112, which are a few roundings apart in half precision."""
    given = (96 + randint(rng, -128, 129, 1, count, dim) / 8).to(dtype)
    return Case(f"{part} of {count} {dtype}, {old} to {new}", of=RESIZE, part=part, given=given, more=[old, new])


def embedding(rng, part, size, other, batch=2, channels=3):
    """Whole numbers, so that half precision does not round them."""
    shapes = (5, 3, 2, 2), (5,), (1, 1, 5), (1, 1 + size[0] * size[1] // 4, 5)
    values = {key: randint(rng, -3, 4, *shape).double() for key, shape in zip(PARAMETERS, shapes, strict=True)}
    images = randint(rng, -2, 3, batch, channels, *other).double()
    name = f"{part} of {batch} pictures of {channels} x {other} for {size}"
    return Case(name, of="PatchEmbedding.forward", part=part, size=size, images=images, values=values)


def run(kata, case):
    return {RESIZE: resized, INIT: start}.get(case.of, tokens if hasattr(case, "size") else moved)(kata, case)


def moved(kata, case):
    given, function = case.given.clone(), getattr(kata, case.of)
    if "gradient" in case.name:
        return {"gradient": gradient(lambda each: function(each, *case.more), given)}
    if "infinite" in case.name:
        given.view(-1)[0] = float("inf")
    given = given.mT.contiguous().mT if "strided" in case.name else given
    before, (got, spent) = given.clone(), measured(function, given, *case.more)
    if "cost" not in case.name:
        return {"result": got, "after": Pairs(given, before)}
    _, few = measured(function, *((given[:, :, :2], 2) if case.of == PATCHIFY else (given[:, :2], 2, 2, 4)))
    return {"lean": spent.bytes <= 8 * given.nbytes, "loop": spent.operators > few.operators + 4}


def measured(function, *given):
    with measure() as spent:
        got = function(*given)
    return got, spent


def gradient(function, given):
    leaf = given.requires_grad_()
    got = function(leaf * 1)  # no leaf, so that changing it is no error
    if got.requires_grad:
        (got * torch.arange(1.0, 1 + got.numel()).reshape(got.shape).to(got)).sum().backward()
    return "none" if leaf.grad is None else leaf.grad


def resized(kata, case):
    given = case.given.clone()
    if case.part == "gradient":
        return {"gradient": gradient(lambda each: kata.resize_positions(each, *case.more), given)}
    if case.part == "digits":
        return {"digits": 1e9 * (kata.resize_positions(1 + 1e-9 * given, *case.more) - 1)}
    got = kata.resize_positions(given, *case.more)
    if case.part == "once":
        apart = (got.double() - kata.resize_positions(given.double(), *case.more)).abs().max()
        return {"dtype": str(got.dtype), "rounded once": bool(apart <= 0.6 * 64 * torch.finfo(given.dtype).eps)}
    return {"result": got[:, ROWS.get(case.part, slice(None))], "after": Pairs(given, case.given)}


def start(kata, case):
    torch.set_deterministic_debug_mode("warn")  # memory that nobody fills is NaN
    try:
        own = sorted(kata.PatchEmbedding(case.cut[:2], case.cut[2], 3, 5).named_parameters())
    finally:
        torch.set_deterministic_debug_mode("default")
    return {name: [list(p.shape), p.requires_grad, bool(p.isfinite().all())][case.part] for name, p in own}


def tokens(kata, case):
    layer, images = kata.PatchEmbedding(case.size, 2, 3, 5).double(), case.images.clone()
    own = dict(layer.named_parameters())
    with torch.no_grad():
        [own[name].copy_(values * (name in SHOWN.get(case.part, own))) for name, values in case.values.items()]
    if case.part == "gradient":
        seen = {"images": gradient(layer, images)}
        return seen | {name: "none" if own[name].grad is None else own[name].grad for name in PARAMETERS}
    if case.part == "half":
        layer, images = layer.to(BRAIN), images.to(BRAIN)
    got, spent = measured(layer, images)
    if case.part == "cost":
        more, few = (measured(layer, each)[1].operators for each in (images.repeat(9, 1, 1, 1), images[:, :, :2]))
        loops = [more > spent.operators + 4, spent.operators > few + 4]  # over pictures, over patches
        return {"flops": spent.flops <= 2 * 2 * 12 * 12 * 5, "loops": loops}
    if case.part == "again":
        layer.positions.data *= 2
        return {"tokens": got, "again": layer(images), "turned": layer(images.mT)}
    return {"tokens": got[:, ROWS.get(case.part, slice(None))], "after": Pairs(images.double(), case.images)}
