"""What can be seen of a sigmoid loss, of its blocks and of probabilities: one question for each case."""

import torch
from torch.nn import functional as F

from dojo.testing import measure, randn
from dojo.testing.alive import Alive
from dojo.testing.probes import Case, Pairs

LOSS, BLOCKS, PROBABILITIES = "siglip_loss", "siglip_loss_blocks", "match_probabilities"
NAMES = ("image_features", "text_features", "logit_scale", "logit_bias")
HALVES = (torch.float16, torch.bfloat16)
SIZES = ((5, 2), (5, 3), (4, 4), (3, 7), (4, 1), (1, 1), (1, 2), (5, 4))  # n, block
WRONG_PAIRS = [((3, 4), (2, 4)), ((3, 4), (3, 5)), ((1, 4), (3, 4)), ((3, 4), (3, 1)), ((0, 4), (0, 4)), ((4,), (4,))]
WRONG_PAIRS += [((2, 3, 4), (2, 3, 4)), ((3, 4), (1, 4)), ((3, 4), (4, 3)), ((3, 4), (4,))]
WRONG_WIDTHS = [((3, 4), (3, 5)), ((3, 4), (2, 1)), ((4,), (3, 4)), ((3, 4), (4,)), ((2, 3, 4), (3, 4))]


def cases(rng):
    number = 0.5 + torch.rand(2, generator=rng, dtype=torch.float64)
    scale, bias = 2 * number[0].item(), -2 * number[1].item()
    tensors = [torch.tensor(x).double() for x in (scale, bias)]

    def draw(n, m, dim=5, dtype=torch.float64):
        """Features of length 1, unless they are made longer."""
        return [F.normalize(randn(rng, rows, dim), dim=-1).to(dtype) for rows in (n, m)]

    for of, n, m in ((LOSS, 3, 3), (BLOCKS, 4, 4), (PROBABILITIES, 2, 3)):
        more = [2] if of == BLOCKS else []

        def case(name, pair, scale, bias, kind="value", more=more, of=of, **given):
            return Case(f"{of}: {name}", of=of, kind=kind, given=[*pair, scale, bias, *more], **given)

        yield case("scale 1, bias 0", draw(n, m), 1.0, 0.0)
        yield case("a scale", draw(n, m), scale, 0.0)
        yield case("a bias", draw(n, m), 1.0, bias)
        yield case("scale and bias", draw(n, m), scale, bias)
        yield case("tensors", draw(n, m), *tensors)
        yield case("scale 0", draw(n, m), 0.0, bias)
        yield case("a negative scale", draw(n, m), -scale, 0.0)
        yield case("a negative scale and a bias", draw(n, m), -scale, bias)
        yield case("a positive bias", draw(n, m), 1.0, -bias)
        yield case("a scale of 120", draw(n, m), 100 + 20 * scale, 0.0)
        yield case("one image and one text", draw(1, 1), scale, bias)
        yield case("one dimension", draw(n, m, 1), scale, bias)
        images, texts = draw(n, m)
        longer = 1 + 3 * torch.arange(4)[:, None]
        yield case("long images", (images * longer[:n], texts), scale, 0.0)
        yield case("long texts", (images, texts * longer[:m]), scale, 0.0)
        yield case("a hundredth as long", draw(n, m), scale, bias, "lengths")
        for dtype in (*HALVES, torch.float32):
            yield case(f"in {dtype}", draw(n, m, 64, dtype), scale, bias)
            yield case(f"parameters in {dtype}", draw(n, m), *(torch.tensor(x, dtype=dtype) for x in (scale, bias)))
        yield case("float16 and float64", draw(n, m, dtype=HALVES[0]), *tensors)
        for sign in (1, -1):
            huge = 5e3 * scale * sign
            eyes = [torch.eye(4).double()[:rows] for rows in (n, m)]
            yield case(f"scale {sign}e4", eyes, huge, 0.0)
            yield case(f"bias {sign}e4", draw(n, m), 1.0, huge)
        yield case("columns first", [each.T.contiguous().T for each in draw(n, m)], scale, bias)
        yield case("inputs", draw(n, m), torch.tensor(scale), torch.tensor(bias), "inputs")
        for shapes in WRONG_WIDTHS if of == PROBABILITIES else WRONG_PAIRS:
            yield case(f"wrong {shapes}", [randn(rng, *shape) for shape in shapes], 1.0, 0.0)
        rows, width, more = (24, 2, [6]) if of == BLOCKS else (96, 16, [])
        yield case("cost", draw(rows, rows, width, torch.float32), 5.0, -3.0, "cost", more=more)
        if of == PROBABILITIES:
            for n, m in ((3, 2), (3, 3), (1, 4), (4, 1), (0, 2), (2, 0)):
                yield case(f"{n} x {m}", draw(n, m), scale, bias)
            yield case("small", draw(2, 3, dtype=torch.float32), 9.0, -40 - scale, "logarithm")
            yield case("rather small", draw(2, 3, dtype=torch.float32), 1.0, -10 - scale, "logarithm")
            continue
        yield case("device", draw(2, 2), scale, bias, "device")
        for leaf in NAMES:
            yield case(f"gradient of {leaf}", draw(n, n), *tensors, "gradient", by=[leaf], times=1.0)
        yield case("1/4 of the gradients", draw(n, n), *tensors, "gradient", by=NAMES, times=0.25)
        for sign in (1, -1):
            given = torch.tensor(scale), torch.tensor(sign * 5e3 * scale)
            yield case(f"gradient at bias {sign}e4", draw(n, n), *given, "gradient", by=NAMES, times=1.0)
        if of == BLOCKS:
            for n, block in SIZES:
                yield case(f"n={n}, block={block}", draw(n, n), scale, bias, more=[block])
            for n, block in SIZES[:4]:
                name = f"gradients for n={n}, block={block}"
                yield case(name, draw(n, n), *tensors, "gradient", by=NAMES, times=1.0, more=[block])
            yield case("wrong block -2", draw(3, 3), scale, bias, more=[-2])
            yield case("wrong block 0", draw(3, 3), scale, bias, more=[0])


def run(kata, case):
    function = getattr(kata, case.of)
    given = [each.clone() if torch.is_tensor(each) else each for each in case.given]
    if case.kind == "cost":
        return (blocks_cost if case.of == BLOCKS else cost)(function, given)
    if case.kind == "device":
        return {"device": function(*(each.to("meta") for each in given[:2]), *given[2:]).device.type}
    if case.kind == "gradient":
        return gradients(function, given, case)
    result = function(*given)
    if case.kind == "lengths":
        short = function(*(each / 100 for each in case.given[:2]), *given[2:])
        return {"same": short.shape == result.shape and torch.allclose(short, result, rtol=1e-5, atol=0.0)}
    if case.kind == "inputs":
        after = [Pairs(*pair) for pair in zip(given[:4], case.given, strict=False)]
        return {"after": after, "shape": list(result.shape)}
    if case.kind == "logarithm":
        return {"logarithm": result.double().log().float(), "dtype": result.dtype}
    return {"result": result}


def gradients(function, given, case):
    """Those of the leaves that require one, and what the loss has instead of a graph."""
    leaves = dict(zip(NAMES, given, strict=False))
    for name in case.by:
        leaves[name].requires_grad_()
    loss = function(*given)
    if not loss.requires_grad:
        return {"graph": "none"}
    (case.times * loss.sum()).backward()
    return {name: "none" if leaves[name].grad is None else leaves[name].grad for name in case.by}


def cost(function, given):
    """Whether it is lean, in numbers that right answers agree in."""
    few = [given[0][:12], given[1][:12], *given[2:]]
    with measure() as small:
        function(*few)
    with measure() as spent:
        function(*given)
    lean = 0.9 <= spent.flops / (2 * 96 * 96 * 16) <= 1.05
    return {"lean": lean, "largest": spent.largest <= 2 * 96 * 96, "flat": spent.operators <= small.operators + 5}


def blocks_cost(function, given):
    """24 pairs in blocks of 6: what is made, and what is kept between the passes, of which the matrix has 576 numbers."""
    counts = []
    for n in (8, 24):
        with measure() as spent:
            function(*(each[:n] for each in given[:2]), *given[2:4], n)
        counts.append(spent.operators)
    given = [each.requires_grad_() if torch.is_tensor(each) else each for each in given]
    with measure() as spent:
        with Alive() as alive:
            loss = function(*given)
            kept = alive.elements()
        if loss.requires_grad:
            loss.backward()
    lean, flat = 2.7 <= spent.flops / (2 * 24 * 24 * 2) <= 4.2, counts[1] <= counts[0] + 5
    return {"lean": lean, "flat": flat, "largest": spent.largest <= 2 * 6 * 24, "kept": kept <= 400}
