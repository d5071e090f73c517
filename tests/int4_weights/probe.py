"""What can be seen of 4-bit weights: scales, zero points, codes, bytes, a layer's buffers and outputs, and their cost."""

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.casts import UndefinedCasts
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

GROUPS, BACK, PACK, UNPACK, NF4 = "quantize_groups", "dequantize_groups", "pack", "unpack", "quantize_nf4"
BACK_NF4, BITS, LAYER = "dequantize_nf4", "bits_per_weight", "Int4Linear"
FROM, FORWARD = f"{LAYER}.from_linear", f"{LAYER}.forward"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
LEVELS = torch.tensor([-1, -0.6962, -0.5251, -0.3949, -0.2844, -0.1848, -0.0911, 0]), torch.arange(1, 9) / 8


def near(rng, rows, groups, size=4):
    """Weights whose scale is a power of two, clear of every tie: any way to divide gives their codes."""
    zeros = randint(rng, 1, 15, rows, groups, 1)
    codes = randint(rng, 0, 16, rows, groups, size)
    codes[..., :2] = torch.tensor([0, 15])
    steps = codes - zeros + 0.3 * randint(rng, -1, 2, rows, groups, size) * (codes > 0) * (codes < 15)
    shift = 0.25 * randint(rng, -1, 2, rows, groups, 1)  # the zero point is rounded
    steps[..., :2] += shift
    sizes = 2.0 ** randint(rng, -3, 4, rows, groups, 1)
    return (steps * sizes).flatten(1).float()


def uint8(rng, high, *shape):
    return randint(rng, 0, high, *shape).to(torch.uint8)


def layer(rng, of, name, *shape, bias=True, dtype=SINGLE, x_dtype=SINGLE, outputs=5):
    more = {"weight": near(rng, outputs, 2).to(dtype), "bias": randn(rng, outputs).to(dtype) if bias else None}
    return Case(f"layer {name}", of=of, x=randint(rng, -8, 9, *shape, 8).to(x_dtype) / 4, **more)


def cases(rng):
    yield Case("groups", of=GROUPS, w=near(rng, 3, 3), size=4)
    yield Case("square", of=GROUPS, w=near(rng, 8, 2), size=4)
    yield from (Case(f"one {size}", of=GROUPS, w=near(rng, 2, 2), size=size) for size in (1, 8))
    yield Case("zeros", of=GROUPS, w=near(rng, 2, 3) * torch.tensor([1.0, 0, 1]).repeat_interleave(4), size=4)
    yield Case(
        "signs", of=GROUPS, w=near(rng, 2, 2).abs() * torch.tensor([1.0, -1]).repeat_interleave(4) - 2e-3, size=4
    )
    yield Case("ends", of=GROUPS, w=torch.tensor([[-7.5, 7.5, 2.2, 0.3]]) * randint(rng, 1, 9, 2, 1), size=4)
    for dtype, size in ((HALF, 2.0**-20), (BRAIN, 1.0), (HALF, 2.0**12), (SINGLE, 2.0**-100), (DOUBLE, 2.0**-40)):
        yield Case(f"{dtype}, {size:g}", of=GROUPS, w=(near(rng, 2, 2) * size).to(dtype), size=4)
    yield Case("turned", of=GROUPS, w=near(rng, 8, 2).mT.contiguous(), size=4)
    tiny = torch.tensor([[1.0, -1, 0, 0.5]]).double()
    yield from (Case(f"tiny {size:g}", of=GROUPS, w=tiny * size, size=4) for size in (1e-41, 1e-300))
    for shape, size in (((2, 6), 4), ((2, 4), 0), ((4,), 2), ((2, 2, 4), 2), ((2, 4), -2)):
        yield Case(f"wrong {shape} {size}", of=GROUPS, w=randn(rng, *shape), size=size)
    for dtype in (HALF, BRAIN, SINGLE, DOUBLE):
        scales = torch.tensor([[0.3, 1e-6], [257 / 256, 2.0]])
        yield Case(
            f"back {dtype}", of=BACK, codes=uint8(rng, 16, 2, 8), scales=scales, zeros=uint8(rng, 16, 2, 2), to=dtype
        )
    yield from (Case(f"pack {s}", of=PACK, codes=uint8(rng, 16, *s)) for s in ((6,), (2, 4), (4, 4), (2, 3, 2), (2, 3)))
    yield from (
        Case(f"pack {n}", of=PACK, codes=uint8(rng, 16, 1, 4) + torch.tensor(n, dtype=torch.uint8)) for n in (1, 99)
    )
    yield from (Case(f"unpack {s}", of=UNPACK, packed=uint8(rng, 256, *s)) for s in ((4,), (4, 4), (2, 3, 2)))
    for shape, size in (((4, 16), 16), ((3, 10), 8), ((6, 6), 4), ((7,), 64), ((5,), 1), ((4,), 0), ((4,), -1)):
        yield Case(f"nf4 {shape} {size}", of=NF4, w=randn(rng, *shape, dtype=SINGLE), size=size)
    yield Case("nf4 standard", of=NF4, w=randn(rng, 2, 65), size=None)
    yield Case("nf4 levels", of=NF4, w=torch.cat(LEVELS)[torch.randperm(16, generator=rng)] * 3, size=16)
    yield Case("nf4 zeros", of=NF4, w=randn(rng, 2, 4, dtype=SINGLE) * torch.tensor([[0], [1.0]]), size=4)
    for dtype, size in ((HALF, 2.0**-20), (BRAIN, 1.0), (HALF, 2.0**12), (SINGLE, 2.0**-100)):
        yield Case(f"nf4 {dtype}, {size:g}", of=NF4, w=(randn(rng, 2, 8) * size).to(dtype), size=8)
    for dtype in (HALF, BRAIN, SINGLE):
        absmax = torch.tensor([0.3, 1e-7, 257 / 256])
        yield Case(
            f"back nf4 {dtype}", of=BACK_NF4, codes=uint8(rng, 16, 10), absmax=absmax, shape=[2, 5], to=dtype, size=4
        )
    yield Case(
        "back nf4 64",
        of=BACK_NF4,
        codes=uint8(rng, 16, 70),
        absmax=randn(rng, 2).float(),
        shape=[70],
        to=SINGLE,
        size=None,
    )
    for sizes in (
        (64, 32, None),
        (32, 40, None),
        (64, 32, 256),
        (32, 16, 8),
        (0, 32, None),
        (64, 32, 0),
        (1, 8, 1),
        (-1, 8, 1),
    ):
        yield Case(f"bits {sizes}", of=BITS, sizes=sizes)
    yield Case("bits", of=BITS, sizes=(int(randint(rng, 1, 99, 1)), 32, int(randint(rng, 1, 99, 1))))
    yield from (layer(rng, FROM, f"buffers {bias}", 2, bias=bias) for bias in (True, False))
    yield layer(rng, FROM, "half", 2, dtype=HALF, outputs=8)
    yield from (layer(rng, FORWARD, f"{list(s)}", *s) for s in ((), (2, 3), (0,)))
    yield from (layer(rng, FORWARD, f"{d}", 3, bias=False, x_dtype=d) for d in (HALF, BRAIN, DOUBLE))
    yield layer(rng, FORWARD, "mixed", 3, dtype=HALF, x_dtype=SINGLE)
    yield layer(rng, FORWARD, "calls", 3)
    yield from (Case(f"scale {s}", of=FORWARD, s=s, x=torch.ones(1, 8192).half()) for s in (2.0**-27, 2.0**-7))
    yield Case("cost", of=LAYER, w=randn(rng, 64, 128, dtype=SINGLE))


def run(kata, case):
    if case.of == GROUPS:
        return groups(kata, case)
    if case.of == BACK:
        back = kata.dequantize_groups(case.codes, case.scales, case.zeros, case.to)
        return {"dtype": str(back.dtype), "numbers": back.double() * 2.0**20}
    if case.of in (PACK, UNPACK):
        return {"result": kata.pack(case.codes) if case.of == PACK else kata.unpack(case.packed)}
    if case.of == NF4:
        w = case.w.clone()
        with UndefinedCasts() as casts:
            codes, absmax = kata.quantize_nf4(w) if case.size is None else kata.quantize_nf4(w, case.size)
        return {"codes": codes, "absmax": absmax, "after": Pairs(w, case.w), "undefined": casts.count > 0}
    if case.of == BACK_NF4:
        more = () if case.size is None else (case.size,)
        back = kata.dequantize_nf4(case.codes, case.absmax, tuple(case.shape), case.to, *more)
        return {"dtype": str(back.dtype), "numbers": back.double() * 2.0**20}
    if case.of == BITS:
        block, scale, double = case.sizes
        return {"bits": kata.bits_per_weight(block, scale_bits=scale, double_block=double)}
    if case.name == "cost":
        return cost(kata, case)
    return play(kata, case)


def groups(kata, case):
    w = case.w.clone().mT.contiguous().mT if case.name == "turned" else case.w.clone()
    with UndefinedCasts() as casts:
        codes, scales, zeros = kata.quantize_groups(w, case.size)
    seen = {"after": Pairs(w, case.w), "finite": [scales.isfinite(), casts.count > 0]}
    steps = codes.double().reshape(*scales.shape, -1) - zeros.double()[..., None]
    back = (steps * scales.double()[..., None]).flatten(1)
    if case.name.startswith("tiny"):
        return seen | {"near": (back - case.w).abs() <= 2e-37}
    if case.name == "zeros":
        return seen | {"back": back.float()}
    if case.name == "ends":
        return seen | {"scales": scales, "fits": [codes <= 15, (back - case.w).abs() <= 0.501 * scales[0, 0]]}
    return seen | {"codes": codes, "scales": scales.double() * 2.0**99, "zeros": zeros}


def play(kata, case):
    if case.name.startswith("scale"):
        packed, zeros = torch.full((1, 4096), 255, dtype=torch.uint8), torch.full((1, 1), 7, dtype=torch.uint8)
        return {"y": kata.Int4Linear(packed, torch.full((1, 1), case.s), zeros, None)(case.x).double()}
    source = nn.Linear(8, len(case.weight), case.bias is not None, dtype=case.weight.dtype)
    with torch.no_grad():
        source.weight.copy_(case.weight)
        if case.bias is not None:
            source.bias.copy_(case.bias)
    before = {name: parameter.detach().clone() for name, parameter in source.named_parameters()}
    made = type("Special", (kata.Int4Linear,), {}).from_linear(source, 4)
    seen = {f"{name} after": Pairs(p.detach().clone(), before[name]) for name, p in source.named_parameters()}
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.zero_()
    if case.of == FROM:
        buffers = {name: buffer.requires_grad for name, buffer in sorted(made.named_buffers())}
        trains = [parameter.requires_grad for parameter in source.parameters()]
        seen |= {"trains": trains, "made": [type(made).__name__, len(list(made.parameters()))]}
        return seen | {"state": dict(sorted(made.state_dict().items())), "buffers": buffers}
    x = case.x.clone() if case.x.dim() < 3 else case.x.transpose(0, 1).contiguous().transpose(0, 1)
    if case.name != "layer calls":
        return {"y": made(x)}
    y = made(x.requires_grad_())
    (grad,) = torch.autograd.grad(y.sum(), x)
    modes, state = [made.train()(x).detach(), made.eval()(x).detach()], dict(sorted(made.state_dict().items()))
    made.load_state_dict({name: value * 0 for name, value in state.items()})
    return {"y": y, "grad": grad, "modes": modes, "after": Pairs(x, case.x), "state": state, "loaded": made(x).detach()}
