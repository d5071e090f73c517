"""What can be seen of int8 quantisation: codes, scales, products, a layer's buffers and outputs, and what they cost."""

import torch
from torch import nn

from dojo.testing import randint, randn
from dojo.testing.casts import UndefinedCasts
from dojo.testing.cost import measure
from dojo.testing.modules import bytes_held
from dojo.testing.probes import Case, Pairs

ROW, BACK, MATMUL, LAYER = "quantize_per_row", "dequantize", "int8_matmul", "Int8Linear"
FROM, FORWARD = f"{LAYER}.from_linear", f"{LAYER}.forward"
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64


def near(rng, rows, n):
    """Rows whose scale is a power of two, and whose numbers are clear of a tie: any way to divide gives their codes."""
    codes = randint(rng, -120, 121, rows, n) + 0.375 * randint(rng, -1, 2, rows, n)
    codes[torch.arange(rows), randint(rng, 0, n, rows)] = 127.0 * (2 * randint(rng, 0, 2, rows) - 1)
    sizes = 2.0 ** torch.randperm(rows, generator=rng) / 8
    return codes * sizes[:, None]


def layer(rng, of, name, dynamic, *shape, outputs=5, bias=True, dtype=SINGLE, x_dtype=SINGLE, **more):
    weight = near(rng, outputs, 6).to(dtype)
    x = near(rng, max(1, torch.Size(shape).numel()), 6)[: torch.Size(shape).numel()].reshape(*shape, 6) / 256
    bias = near(rng, 1, outputs)[0].to(dtype) if bias else None
    return Case(f"{name} {dynamic}", of=of, dynamic=dynamic, weight=weight, bias=bias, x=x.to(x_dtype), **more)


def cases(rng):
    draw = lambda *shape: randint(rng, -127, 128, *shape).to(torch.int8)  # noqa: E731
    yield Case("rows", of=ROW, x=near(rng, 4, 6).float())
    for dtype, size in ((HALF, 2.0**-22), (BRAIN, 1.0), (HALF, 2.0**12)):
        x = size * torch.tensor([[1.0, -1, 0], [3, 0, -3]]) * randint(rng, 1, 3, 1)
        yield Case(f"{dtype}, {size:g}", of=ROW, x=x.to(dtype))
    yield Case("ties", of=ROW, x=(randint(rng, -99, 99, 1, 9) + 0.5).index_fill(1, torch.tensor(0), 127.0))
    yield Case("zeros", of=ROW, x=near(rng, 3, 6).float() * torch.tensor([[1.0], [0], [1]]))
    sizes = torch.tensor([2.0**-110, 2.0**-126, 2.0**-146, 2.0**-300]).double()
    yield Case("tiny", of=ROW, x=torch.tensor([1.0, -1, 0]).double() * sizes[:, None])
    most = {dtype: torch.finfo(dtype).max * torch.tensor([[1.0, -1, 0]], dtype=dtype) for dtype in (HALF, SINGLE)}
    yield from (Case(f"largest, {dtype}", of=ROW, x=x) for dtype, x in most.items())
    for value in (float("nan"), float("inf"), (4,), (2, 2, 3)):
        x = randn(rng, *value) if isinstance(value, tuple) else torch.tensor([[1.0, 2], [value, 0]])
        yield Case(f"{value}", of=ROW, x=x)
    for dtype in (HALF, BRAIN, SINGLE, DOUBLE):  # products that are clear of a tie
        codes = torch.stack([4 * randint(rng, -31, 32, 3), *(127 * (2 * randint(rng, 0, 2, 2, 3) - 1))]).to(torch.int8)
        scales = torch.tensor([2.0**-26, 257 / 256, 2049 / 2048])
        yield Case(f"to {dtype}", of=BACK, codes=codes, scales=scales, to=dtype)
    yield from (Case(f"{k} {n}", of=MATMUL, a=draw(2, k), b=draw(n, k)) for k, n in ((2, 3), (9, 4), (5, 5)))
    long = 120 + randint(rng, 0, 8, 3, 4097).to(torch.int8)
    yield Case("4097", of=MATMUL, a=long[:2], b=long[2:])
    ends = (torch.full((1, k), 127, dtype=torch.int8) for k in (2**17, 2**17 + 1))
    yield from (Case(f"{a.numel()}", of=MATMUL, a=a, b=a - 1) for a in ends)
    for a, b in (((3,), (2, 3)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((1, 2, 3), (2, 3)), ((2, 3), (1, 2, 3))):
        yield Case(f"{list(a)} {list(b)}", of=MATMUL, a=draw(*a), b=draw(*b))
    yield from (layer(rng, FROM, f"buffers {bias}", bias, 2, bias=bias) for bias in (True, False))
    yield from (layer(rng, FROM, "half layer", False, 2, dtype=HALF), layer(rng, LAYER, "cast", True, 2))
    for dynamic in (False, True):
        yield from (layer(rng, FORWARD, f"{list(s)}", dynamic, *s) for s in ((), (2, 3), (0,)))
        yield from (layer(rng, FORWARD, f"{d}", dynamic, 3, bias=False, x_dtype=d) for d in (HALF, BRAIN))
        yield layer(rng, FORWARD, "mixed", dynamic, 3, dtype=HALF)
        yield layer(rng, FORWARD, "calls", dynamic, 3)
        yield layer(rng, FORWARD, "zeros", dynamic, 3, fill=0.0)
        yield layer(rng, FORWARD, "NaN", dynamic, 3, fill=float("nan"))
        yield Case(f"ones {dynamic}", of=FORWARD, dynamic=dynamic, x=torch.ones(1, 1024).half())
        yield Case(f"cost {dynamic}", of=FORWARD, dynamic=dynamic, x=randn(rng, 4, 256, dtype=SINGLE))
    yield layer(rng, FORWARD, "rounded", True, 7, x_dtype=HALF)
    yield layer(rng, FORWARD, "fine", False, 3, x_dtype=DOUBLE)


def run(kata, case):
    if case.of == ROW:
        x = case.x.clone()
        with UndefinedCasts() as casts:
            codes, scales = kata.quantize_per_row(x)
        if not case.x.isfinite().all():
            return {"after": Pairs(x, case.x)}
        codes = codes + (codes.double() == -128)  # what has such a code has another scale, too
        back, some = codes.double() * scales.double()[:, None], case.x.abs().amax(1) > 0
        seen = {"after": Pairs(x, case.x), "finite": [scales.isfinite(), casts.count > 0]}
        if case.name.endswith("e-07"):  # a scale that is 0 in half precision: what becomes of it is open
            return {"near": (127 * (back - case.x).abs() <= 0.6 * case.x.abs().amax(1, keepdim=True)).all()}
        close = {"near": ((back - case.x).abs() <= 2e-36).all(1)}  # tiny rows may count as zeros
        return seen | (close if case.name == "tiny" else {"codes": codes, "scales": scales[some], "back": back.float()})
    if case.of == BACK:
        back = kata.dequantize(case.codes, case.scales, case.to)
        return {"dtype": str(back.dtype), "numbers": back.double() * 2.0**26}
    if case.of == MATMUL:
        return {"product": kata.int8_matmul(case.a, case.b)}
    kind = case.name.split()[0]
    if kind == "ones":
        codes, scales = torch.full((2, 1024), 127, dtype=torch.int8), torch.full((2,), 1 / 128)
        return output(case.x, kata.Int8Linear(codes, scales, None, dynamic=case.dynamic)(case.x))
    return cost(kata, case) if kind == "cost" else play(kata, case, kind)


def play(kata, case, kind):
    source = nn.Linear(6, len(case.weight), case.bias is not None, dtype=case.weight.dtype)
    with torch.no_grad():
        source.weight.copy_(case.weight / 3 if kind in ("cast", "half") else case.weight)
        if case.bias is not None:
            source.bias.copy_(case.bias)
    before = {name: parameter.detach().clone() for name, parameter in source.named_parameters()}
    made = type("Special", (kata.Int8Linear,), {}).from_linear(source, dynamic=case.dynamic)
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
    x[1:2] = getattr(case, "fill", x[1:2])
    if kind == "cast":
        seen = [made.bfloat16() is made, made.codes.clone(), made.scales.clone(), made(x).isfinite().all()]
        return {"cast": seen, "device": [made.to("meta", HALF) is made, made.scales.device.type]}
    try:
        y = made(x)
    except (RuntimeError, IndexError) as error:
        if kind != "[0]" or isinstance(error, NotImplementedError):  # there any error is the same
            raise
        return {"y": None}
    if kind == "fine":
        return output(x, y) | {"y": (2.0**26 * (made(x + 2.0**-26) - y)).float()}  # the scales' last digits are open
    if kind == "calls":
        modes = [made.train()(64 * x), made.eval()(64 * x)]
        return {"y": y, "modes": modes, "after": Pairs(x, case.x), "state": dict(sorted(made.state_dict().items()))}
    return {"y": y} if kind == "mixed" else output(x, y) | ({"y": y.double()} if kind == "rounded" else {})


def output(x, y):
    """Where x is float32, only `calls` and `mixed` look at the dtype of y: one question for each case."""
    return {"y": y.to(x.dtype)} | ({} if x.dtype == SINGLE else {"dtype": y.dtype == x.dtype})


def cost(kata, case):
    codes, scales = torch.ones(256, 256, dtype=torch.int8), torch.ones(256)
    made = kata.Int8Linear(codes, scales, None, dynamic=case.dynamic)
    before = bytes_held(made)
    with measure() as less:
        made(case.x[:1])
    with measure() as spent:
        made(case.x)
    lean = spent.bytes <= 4 * 2**16 and spent.largest < 2**14 if case.dynamic else spent.allocated <= 11 * 2**16
    return {"held": [before, bytes_held(made)], "lean": lean, "loop": spent.operators > less.operators + 2}
