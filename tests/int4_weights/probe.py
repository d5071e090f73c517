"""What can be seen of 4-bit weights: scales, zero points, codes, bytes, a layer's buffers and outputs, and their cost."""

from contextlib import suppress

import torch

from dojo.testing import measure, randint, randn
from dojo.testing.casts import UndefinedCasts
from dojo.testing.probes import Case, Pairs

GROUPS, BACK, NF4, BACK_NF4 = "quantize_groups", "dequantize_groups", "quantize_nf4", "dequantize_nf4"
PACK, UNPACK, BITS, FROM, FORWARD = "pack", "unpack", "bits_per_weight", "Int4Linear.from_linear", "Int4Linear.forward"
WRONG = ("wrong", "pack 16", "pack (2, 3);", ") 0;", ") -1;", "(0, 32", " 0);")  # and an error must be a ValueError
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64


def near(
    rng, rows, groups, size=4, sign=None
):  # scales are powers of two, no ties: any way to divide gives the same codes
    zeros, codes = randint(rng, 1, 15, rows, groups, 1), randint(rng, 1, 15, rows, groups, size)
    steps = codes - zeros + 0.3 * randint(rng, -1, 2, rows, groups, size)
    steps[..., :2] = torch.tensor([0, 15]) - zeros + 0.25 * randint(rng, -1, 2, rows, groups, 1)
    steps = steps if sign is None else sign * (codes + 0.3).index_fill(2, torch.tensor(1), 15)
    return (steps * 2.0 ** randint(rng, -3, 4, rows, groups, 1)).flatten(1).float()


def uint8(rng, high, *shape):
    return randint(rng, 0, high, *shape).to(torch.uint8)


def layer(rng, of, name, *shape, bias=True, dtype=SINGLE, x_dtype=SINGLE, outputs=8):
    state = {"weight": (near(rng, outputs, 2) * (1.1 if of == FROM else 1)).to(dtype)}
    state |= {"bias": randn(rng, outputs).to(dtype)} if bias else {}
    x = randint(rng, -2, 3, *shape, 8) * (1 if x_dtype in (SINGLE, DOUBLE) else torch.arange(8) == 3)
    return Case(f"layer {name}", of=of, x=x.to(x_dtype), before=state)


def group(name, w, size=4, of=GROUPS):
    return Case(f"{of} {name}", of=of, w=w, size=size)


def cases(rng):
    yield from (group(f"of {n}", near(rng, 3, 3, n), n) for n in (4, 8))
    yield from (group("of 1", near(rng, 2, 2) + 200, 1), group("turned", near(rng, 8, 2)))
    yield group("of zeros", near(rng, 2, 3) * torch.tensor([1.0, 0, 1]).repeat_interleave(4))
    yield from (group(f"of sign {sign}", near(rng, 2, 2, sign=sign)) for sign in (1, -1))
    yield group("ends", torch.tensor([[-7.5, 7.5, 2.2, 0.3]]) * randint(rng, 1, 9, 2, 1))
    yield from (group(f"{d}", (near(rng, 2, 2) * s).to(d)) for d, s in ((SINGLE, 2.0**-100), (DOUBLE, 2.0**-40)))
    few = ((HALF, 2.0**-24, (2, -1, 0, 1)), (HALF, 8192, (-7.75, 7.25, 3, 1)), (BRAIN, 1, (1.1, -0.7, 0.33, 0)))
    for dtype, size, w in few:
        yield group(f"{dtype} {size:g}", size * torch.tensor([w])[:, torch.randperm(4, generator=rng)].to(dtype))
    yield group("tiny", torch.tensor([[1.0, -1, 0, 0.5]]).double() * 3e-45)
    wrong = ((2, 6), 4), ((2, 4), 0), ((4,), 2), ((2, 2, 4), 2), ((2, 4), -2)
    yield from (group(f"wrong {shape} {size}", randn(rng, *shape), size) for shape, size in wrong)
    scales, absmax = torch.tensor([[0.3, 1e-6], [1.0035, 2.0]]), torch.tensor([0.3, 1e-6, 1.0035])
    for to in (HALF, BRAIN, SINGLE):
        yield group(f"{to}", uint8(rng, 16, 2, 8), [scales, uint8(rng, 16, 2, 2), to], BACK)
        yield group(f"{to}", uint8(rng, 16, 10), [absmax, [2, 5], to, 4], BACK_NF4)
    yield group("64", uint8(rng, 16, 70), [randn(rng, 2).float(), [70], SINGLE], BACK_NF4)
    yield from (group(f"{s}", uint8(rng, 16, *s), [], PACK) for s in ((6,), (4, 4), (2, 3, 2), (2, 3)))
    yield group("16", uint8(rng, 16, 1, 4).index_fill(1, torch.tensor(1), 16), [], PACK)
    yield from (group(f"{s}", uint8(rng, 256, *s), [], UNPACK) for s in ((4,), (4, 4), (2, 3, 2)))
    for shape, size in (((4, 16), 16), ((3, 10), 8), ((6, 6), 4), ((7,), 64), ((5,), 1), ((4,), 0), ((4,), -1)):
        yield group(f"{shape} {size}", randn(rng, *shape, dtype=SINGLE), size, NF4)
    for name, w, size in (("64", randn(rng, 2, 65), None), ("zeros", randn(rng, 2, 4) * torch.eye(2, 1), 4)):
        yield group(f"of {name}", w, size, NF4)
    yield group("of all", torch.linspace(-1, 1, 41)[torch.randperm(41, generator=rng)] * 3, 41, NF4)
    for d, size in ((HALF, 1), (BRAIN, 1), (BRAIN, 2.0**-70), (SINGLE, 2.0**-100), (DOUBLE, 2.0**-90)):
        yield group(f"{d} {size:.0e}", (randn(rng, 4, 48) * size).to(d), 48, NF4)
    sizes = ((64, 32, None), (32, 40, None), (64, 32, 256), (32, 16, 8), (0, 32, None), (64, 32, 0), (1, 8, 1))
    yield from (Case(f"bits {size}", of=BITS, sizes=size) for size in sizes)
    yield Case("bits", of=BITS, sizes=(int(randint(rng, 1, 99, 1)), 32, int(randint(rng, 1, 99, 1))))
    yield from (layer(rng, FROM, f"buffers {bias}", 2, bias=bias, outputs=5) for bias in (True, False))
    yield from (layer(rng, FORWARD, f"{list(s)}", *s) for s in ((), (2, 3), (0,)))
    yield from (layer(rng, FORWARD, f"{d}", 3, bias=False, x_dtype=d) for d in (HALF, BRAIN))
    yield from (layer(rng, FORWARD, f"half {d}", 3, dtype=HALF, x_dtype=d) for d in (SINGLE, DOUBLE))
    yield from (layer(rng, FROM, "half", 2, dtype=HALF), layer(rng, FORWARD, "calls", 3))
    yield from (Case(f"scale {s}", of=FORWARD, s=s, x=torch.ones(1, 8192)) for s in (2.0**-27, 2.0**-7, 1 + 2.0**-12))
    yield Case("cost", of=FORWARD, w=randn(rng, 64, 128, dtype=SINGLE))


def run(kata, case):
    wrong = any(part in case.name + ";" for part in WRONG)
    with suppress(*[ValueError] * (not wrong)):
        seen = look(kata, case)
        return {"taken": True} if wrong else seen
    return {"refused": True}


def look(kata, case):
    if case.of in (GROUPS, NF4):
        w = case.w.mT.contiguous().mT if case.name == f"{GROUPS} turned" else case.w.clone()
        with UndefinedCasts() as casts:
            codes, scales, *zeros = getattr(kata, case.of)(w, *([] if case.size is None else [case.size]))
        seen = {"after": Pairs(w, case.w), "finite": [scales.isfinite(), casts.count > 0]}
        return seen | (groups(case, codes, scales, *zeros) if zeros else {"codes": codes, "absmax": scales * 2.0**99})
    if case.of in (PACK, UNPACK, BACK, BACK_NF4):
        result = getattr(kata, case.of)(case.w, *(tuple(arg) if isinstance(arg, list) else arg for arg in case.size))
        return {"dtype": str(result.dtype), "numbers": result.float() * 2.0**20}
    if case.of == BITS:
        return {"bits": kata.bits_per_weight(case.sizes[0], scale_bits=case.sizes[1], double_block=case.sizes[2]) / 1}
    return cost(kata, case) if case.name == "cost" else play(kata, case)


def groups(case, codes, scales, zeros):
    steps = codes.reshape(*scales.shape, -1) - zeros.double()[..., None]
    back = (steps * scales.double()[..., None]).flatten(1)
    if "tiny" in case.name or "zeros" in case.name:  # a scale of zeros is free
        return {"near": (back - case.w).abs() <= 2e-37} if "tiny" in case.name else {"back": back.float()}
    if "ends" in case.name:
        return {"scales": scales, "fits": [codes <= 15, (back - case.w).abs() <= 0.501 * scales[:, :1]]}
    return {"codes": codes, "scales": scales * 2.0**99, "zeros": zeros}


def play(kata, case):
    if hasattr(case, "s"):
        packed, zeros = (torch.full((1, n), fill, dtype=torch.uint8) for n, fill in ((4096, 255), (1, 7)))
        made = kata.Int4Linear(packed, torch.full((1, 1), case.s), zeros, None)
        return {"y": made(case.x.half() if case.s < 1 else case.x) != 65536 * int(case.s)}
    source = torch.nn.Linear(8, len(case.before["weight"]), "bias" in case.before, dtype=case.before["weight"].dtype)
    source.load_state_dict(case.before)
    made = type("Special", (kata.Int4Linear,), {}).from_linear(source, 4)
    seen = {f"{name} after": Pairs(p.detach().clone(), case.before[name]) for name, p in source.named_parameters()}
    source.load_state_dict({name: value * 0 for name, value in case.before.items()})
    if case.of == FROM:
        seen |= {"trains": [p.requires_grad for p in source.parameters()], "parameters": len(list(made.parameters()))}
        seen |= {"made": type(made).__name__, "state": dict(sorted(made.state_dict().items()))}
        return seen | {"buffers": {name: buffer.requires_grad for name, buffer in sorted(made.named_buffers())}}
    x = case.x.clone() if case.x.dim() < 3 else case.x.transpose(0, 1).contiguous().transpose(0, 1)
    if case.name != "layer calls":
        return {"y": made(x)} if x.dtype != DOUBLE else {"fine": 2.0**26 * (made(x + 2.0**-26) - made(x))}
    y = made(x.requires_grad_())
    seen = {"modes": [made.train()(x).detach(), made.eval()(x).detach()], "grad": torch.autograd.grad(y.sum(), x)[0]}
    made.load_state_dict({name: value * 0 for name, value in made.state_dict().items()})
    return seen | {"y": y, "after": Pairs(x, case.x), "state": sorted(made.state_dict()), "loaded": made(x).detach()}


def cost(kata, case):
    def spent(function, *args):
        with measure() as spent:
            result = function(*args)
        return spent.operators, spent.largest, result

    parts = (torch.zeros(64, n).to(t) for n, t in ((64, torch.uint8), (8, SINGLE), (8, torch.uint8)))
    made = kata.Int4Linear(*parts, None)
    nf4, both = ([spent(f, w, 8) for w in (case.w, case.w[:4])] for f in (kata.quantize_nf4, kata.quantize_groups))
    back = [spent(kata.dequantize_groups, *parts, SINGLE) for *_, parts in both]
    lean = [spent(made, case.w[:1])[1] <= 1.01 * case.w.numel(), nf4[0][1] <= 2 * case.w.numel()]
    kept = [value.nbytes for value in vars(made).values() if isinstance(value, torch.Tensor)]
    return {"loops": [large[0] > small[0] + 2 for large, small in (nf4, both, back)], "lean": lean, "kept": kept}
