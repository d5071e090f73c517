"""What can be seen of patches, of resized positions and of an embedding: values, gradients, parameters, and their cost."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

PATCHIFY, UNPATCHIFY, RESIZE, INIT = "patchify", "unpatchify", "resize_positions", "PatchEmbedding"
FORWARD = "PatchEmbedding.forward"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
WRONG_CUTS = [(5, 4, 2), (4, 5, 2), (5, 5, 2), (4, 6, 4), (6, 4, 4), (2, 2, 3), (4, 4, 0), (4, 4, -2)]
WRONG_PATCHES = [
    ([1, 8, 4], 2, 4, 4),
    ([1, 2, 4], 2, 4, 4),
    ([1, 3, 4], 2, 4, 4),
    ([1, 4, 6], 2, 4, 4),
    ([1, 4, 3], 2, 4, 4),
]
WRONG_PATCHES += [([1, 1, 16], 2, 4, 4), ([2, 2, 8], 2, 4, 4), ([1, 2, 8], 2, 4, 4)]  # as many numbers as pixels
WRONG_GRIDS = [(5, (2, 3), (4, 4)), (4, (2, 2), (4, 4)), (6, (2, 2), (4, 4)), (7, (2, 2), (2, 2)), (6, (2, 3), (2, 3))]
WRONG_GRIDS += [(5, (-2, -2), (4, 4)), (5, (2, 2), (0, 4)), (5, (2, 2), (4, -1))]  # sides below 1
# batch, channels, height, width, patch_size; one thing can go wrong in each of most
PICTURES = {"square": (1, 1, 4, 4, 2), "channels": (1, 3, 2, 2, 2), "square with channels": (1, 2, 6, 6, 3)}
PICTURES |= {"a row of patches": (1, 1, 2, 6, 2), "a column of patches": (1, 1, 6, 2, 2), "pixels": (1, 2, 3, 3, 1)}
PICTURES |= {"batch": (3, 1, 4, 4, 2), "wide": (1, 1, 4, 6, 2), "high": (2, 3, 6, 4, 2), "empty": (0, 3, 4, 6, 2)}
PICTURES |= dict.fromkeys(("strided", "gradient", "cost"), (2, 2, 4, 6, 2))
GRIDS = {
    "doubled": ((4, 1), (8, 1)),
    "halved": ((4, 1), (2, 1)),
    "in columns": ((1, 4), (1, 7)),
    "same": ((2, 3), (2, 3)),
}
GRIDS |= {"square": ((4, 4), (6, 6)), "wide": ((2, 3), (5, 3)), "high": ((3, 2), (3, 5)), "to 1": ((4, 3), (1, 1))}
GRIDS |= {"as many": ((2, 8), (4, 4)), "turned": ((2, 3), (3, 2)), "exact": ((11, 2), (15, 3))}
SIZES = {"square": ((4, 4), (4, 4)), "wide": ((4, 6), (4, 6)), "larger": ((4, 4), (8, 8)), "other": ((4, 4), (6, 10))}
SIZES |= {"as many": ((4, 4), (2, 8)), "turned": ((4, 6), (6, 4)), "from wide": ((2, 6), (4, 4))}
PARAMETERS = ("projection.weight", "projection.bias", "cls_token", "positions")
SHOWN = {"patches": PARAMETERS[:2], "class": PARAMETERS[2:3], "positions": PARAMETERS[3:], "tokens": PARAMETERS}


def cases(rng):
    for of in (PATCHIFY, UNPATCHIFY):
        for name, sizes in PICTURES.items():
            yield picture(rng, of, name, *sizes)
        yield picture(rng, of, "infinite", 2, 2, 4, 6, 2, BRAIN)
        for wrong in WRONG_CUTS:
            yield picture(rng, of, f"wrong {wrong}", 1, 2, *wrong)
    for shape, *more in WRONG_PATCHES:
        yield Case(f"wrong {shape} {more}", of=UNPATCHIFY, given=randn(rng, *shape), more=more)
    for name, (old, new) in GRIDS.items():
        for part in ("class", "places"):
            yield positions(rng, f"{part}: {name}", part, 1 + old[0] * old[1], old, new, 2)
    for name, dtype in (("gradient", DOUBLE), ("digits", DOUBLE), ("once", HALF), ("once ", BRAIN), ("single", SINGLE)):
        yield positions(rng, f"positions: {name}", name.strip(), 31, (6, 5), (7, 9), 4, dtype)
    for wrong in WRONG_GRIDS:
        yield positions(rng, f"wrong {wrong}", "places", *wrong, 3)
    for name in ("shapes", "trainable", "finite"):
        yield Case(f"start: {name}", of=INIT, size=(4, 6), patch=2)
    for height, width, patch in WRONG_CUTS:
        yield Case(f"start: wrong {height} x {width}, {patch}", of=INIT, size=(height, width), patch=patch)
    for name, (size, other) in SIZES.items():
        for part in SHOWN:
            yield embedding(rng, f"{part}: {name}", part, size, other)
    for part in ("again", "gradient", "half", "cost"):
        yield embedding(rng, f"tokens: {part}", part, (4, 6), (4, 6) if part == "half" else (6, 4))
    yield embedding(rng, "tokens: empty", "tokens", (4, 4), (4, 4), batch=0)
    for other in ((5, 4), (4, 5), (3, 3)):
        yield embedding(rng, f"wrong {other}", "tokens", (4, 4), other)
    for channels in (1, 4):
        yield embedding(rng, f"wrong {channels} channels", "tokens", (4, 4), (4, 4), channels=channels)


def picture(rng, of, name, batch, channels, height, width, patch, dtype=DOUBLE):
    """Pictures, or the patches that they would have."""
    shape = batch, channels, height, width
    if of == UNPATCHIFY:
        shape = batch, (height // (patch or 1)) * (width // (patch or 1)), channels * patch**2
    more = [patch] if of == PATCHIFY else [patch, height, width]
    return Case(f"{of}: {name}", of=of, given=randn(rng, *shape, dtype=dtype), more=more)


def positions(rng, name, part, count, old, new, dim, dtype=DOUBLE):
    """Multiples of 1/8 between 80 and 112, which are a few roundings apart in half precision."""
    given = (96 + randint(rng, -128, 129, 1, count, dim) / 8).to(dtype)
    return Case(name, of=RESIZE, part=part, given=given, more=[old, new])


def embedding(rng, name, part, size, other, batch=2, channels=3):
    """Whole numbers, so that half precision does not round them."""
    shapes = (5, 3, 2, 2), (5,), (1, 1, 5), (1, 1 + size[0] * size[1] // 4, 5)
    values = {key: randint(rng, -3, 4, *shape).double() for key, shape in zip(PARAMETERS, shapes, strict=True)}
    images = randint(rng, -2, 3, batch, channels, *other).double()
    return Case(name, of=FORWARD, part=part, size=size, images=images, values=values)


def run(kata, case):
    known = {RESIZE: resized, INIT: start, FORWARD: tokens}
    return known.get(case.of, moved)(kata, case)


def moved(kata, case):
    given, function = case.given.clone(), getattr(kata, case.of)
    if "gradient" in case.name:
        return {"gradient": gradient(lambda each: function(each, *case.more), given)}
    if "infinite" in case.name:
        given.view(-1)[0] = float("inf")
    if "strided" in case.name:
        given = given.mT.contiguous().mT
    before, (got, spent) = given.clone(), measured(function, given, *case.more)
    if "cost" not in case.name:
        return {"result": got, "after": Pairs(given, before)}
    one = (given[:1, :1, :2, :2], 2) if case.of == PATCHIFY else (given[:1, :1, :4], 2, 2, 2)
    return {"lean": spent.bytes <= 6 * given.nbytes, "loop": spent.operators > measured(function, *one)[1].operators}


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
    got = kata.resize_positions(1 + 1e-9 * given if case.part == "digits" else given, *case.more)
    if case.part == "digits":
        return {"digits": (1e8 * (got - 1)).round()}
    if case.part == "once":
        apart = (got.double() - kata.resize_positions(given.double(), *case.more)).abs().max()
        return {"dtype": str(got.dtype), "rounded once": bool(apart <= 0.6 * 64 * torch.finfo(given.dtype).eps)}
    seen = {"class": got[:, :1], "places": got[:, 1:]}.get(case.part, got)
    return {"result": seen, "after": Pairs(given, case.given)}


def start(kata, case):
    torch.set_deterministic_debug_mode("warn")  # memory that nobody fills is NaN
    try:
        own = sorted(kata.PatchEmbedding(case.size, case.patch, 3, 5).named_parameters())
    finally:
        torch.set_deterministic_debug_mode("default")
    if "shapes" in case.name:
        return {name: list(parameter.shape) for name, parameter in own}
    return {name: p.requires_grad if "trainable" in case.name else bool(p.isfinite().all()) for name, p in own}


def tokens(kata, case):
    """Of an embedding whose parameters but those that the part shows are 0."""
    layer, images = kata.PatchEmbedding(case.size, 2, 3, 5).double(), case.images.clone()
    own = dict(layer.named_parameters())
    with torch.no_grad():
        for name, values in case.values.items():
            own[name].copy_(values * (name in SHOWN.get(case.part, PARAMETERS)))
    if case.part == "gradient":
        seen = {"images": gradient(layer, images)}
        return seen | {name: "none" if own[name].grad is None else own[name].grad for name in PARAMETERS}
    if case.part == "half":
        return {"tokens": layer.to(BRAIN)(images.to(BRAIN))}
    got, spent = measured(layer, images)
    if case.part == "cost":
        loop = spent.operators > measured(layer, images[:1, :, :2])[1].operators
        return {"flops": spent.flops <= 1.2 * 2 * 12 * 12 * 5, "loop": loop}
    if case.part == "again":
        before = own["positions"].detach().clone()
        with torch.no_grad():
            own["positions"].mul_(2)
        return {"tokens": got, "again": layer(images), "positions": before}
    seen = {"class": got[:, :1], "patches": got[:, 1:]}.get(case.part, got)
    return {"tokens": seen, "after": Pairs(images, case.images)}
