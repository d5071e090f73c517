"""What can be seen of a convolution: results, gradients one by one, refusals, dtypes, and what they cost."""

from contextlib import nullcontext

import torch

from dojo.testing import randint
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution",
    "convolution_backward", "_slow_conv2d_forward", "_slow_conv2d_backward", "thnn_conv2d", "mkldnn_convolution", "im2col", "col2im",
    "torch.conv2d", "torch.nn.functional.conv2d", "torch.nn.functional.unfold", "torch.nn.functional.fold", "torch.nn.Conv1d",
    "torch.nn.Conv2d", "torch.nn.Conv3d", "torch.nn.ConvTranspose1d", "torch.nn.ConvTranspose2d", "torch.nn.ConvTranspose3d",
    "torch.nn.LazyConv2d", "torch.nn.Unfold", "torch.nn.Fold", "torch.nn.grad", "torch.func",
    "torch.autograd.grad", "torch.autograd.backward", "torch.autograd.functional", "torch.autograd.Function", "scipy.signal",
)  # fmt: skip
FORWARD, BACK, GRADS = "conv2d", "conv2d_backward", ("grad_x", "grad_weight", "grad_bias")
COSTS = ("wasted", "products", "large", "loop")
HALF, BRAIN, DOUBLE = torch.float16, torch.bfloat16, torch.float64
LOOPS = {"images": (70, 1, 1, 2), "inputs": (1, 70, 1, 2), "outputs": (1, 1, 70, 2), "positions": (1, 1, 1, 9)}
SERIES = [(HALF, 2048, "first"), (HALF, 2048, "last"), (HALF, 2048, "cancel"), (BRAIN, 256, "first")]

# Of each: the image, the kernel, stride, padding, and the size of the result. One question in each, where possible.
SETTINGS = {
    "wide kernel": ((5, 6), (2, 3), 1, 0, (4, 4)),
    "tall kernel": ((6, 5), (3, 2), 1, 0, (4, 4)),
    "stride": ((6, 4), (2, 2), 2, 0, (3, 2)),
    "columns left over": ((4, 7), (2, 2), 2, 0, (2, 3)),
    "vertical stride": ((6, 4), (2, 2), (2, 1), 0, (3, 3)),
    "horizontal stride": ((4, 6), (2, 2), (1, 2), 0, (3, 3)),
    "overlap": ((5, 7), (3, 3), 2, 0, (2, 3)),
    "padding": ((3, 4), (2, 2), 1, 1, (4, 5)),
    "vertical padding": ((3, 4), (2, 2), 1, (1, 0), (4, 3)),
    "horizontal padding": ((3, 4), (2, 2), 1, (0, 1), (2, 5)),
    "everything": ((7, 8), (3, 2), (2, 3), (1, 2), (4, 4)),
}


def cases(rng):
    def draw(*shape):
        return randint(rng, 0, 17, *shape).double() - 8  # exact also in float32, in any order

    def case(name, see, of, x, weight, last=None, dtype=DOUBLE, less=None, **options):
        last = None if last is None else last.to(dtype)  # the bias, or grad
        more = {"x": x.to(dtype), "weight": weight.to(dtype), "last": last, "options": options}
        return Case(f"{of} {name}: {see}", of=of, see=see, less=less, **more)

    def both(name, see, x, weight, grad, bias=None, **options):
        return [case(name, see, FORWARD, x, weight, bias, **options), case(name, see, BACK, x, weight, grad, **options)]

    for name, (size, kernel, stride, padding, result) in SETTINGS.items():
        x, weight = draw(2, 3, *size), draw(4, 3, *kernel)
        yield case(name, "y", FORWARD, x, weight, stride=stride, padding=padding)
        for see in GRADS[: 2 + (padding != 0)]:
            yield case(name, see, BACK, x, weight, draw(2, 4, *result), stride=stride, padding=padding)
    for name, b, o, grads in (("batch of 0", 0, 4, GRADS[1:2]), ("as many outputs", 3, 3, GRADS)):
        x, weight = draw(b, 3, 4, 5), draw(o, 3, 2, 2)
        yield case(name, "y", FORWARD, x, weight)
        yield from (case(name, see, BACK, x, weight, draw(b, o, 3, 4)) for see in grads)
    for size in ((3, 5), (5, 3), (3, 3), (5, 5)):  # 4 columns, 4 rows, neither, both
        yield case(f"bias, {size}", "y", FORWARD, draw(2, 3, *size), draw(4, 3, 2, 2), draw(4))
    yield case("bias of zeros", "y", FORWARD, draw(2, 3, 3, 4), draw(4, 3, 2, 2), torch.zeros(4).double())
    yield case("fits when padded", "y", FORWARD, draw(2, 3, 2, 2), draw(4, 3, 3, 3), padding=1)

    x, weight, bias, grad = draw(2, 3, 4, 5), draw(4, 3, 2, 2), draw(4), draw(2, 4, 3, 4)
    for see in ("after", "layout", "by hand"):
        yield from both("arguments", see, x, weight, grad, bias)
    for dtype in (HALF, BRAIN):
        yield case(f"{dtype}", "y", FORWARD, x, weight, bias, dtype=dtype)
        yield from (case(f"{dtype}", see, BACK, x, weight, grad, dtype=dtype) for see in GRADS)
    yield from (*numbers(rng, case), *refusals(case))
    x, weight, grad = draw(2, 4, 12, 10), draw(40, 4, 3, 3), draw(2, 40, 5, 4)
    for see in ("wasted", "products", "large"):
        yield from both("cost", see, x, weight, grad, stride=2)
    for name, (b, c, o, h) in LOOPS.items():
        yield from both(f"many {name}", "loop", draw(b, c, h, h), draw(o, c, 1, 1), draw(b, o, h, h))


def numbers(rng, case):
    """Sums that half precision loses, a large number and ones in either order, and numbers that cancel."""
    ones, one, zeros = torch.ones(3), torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, 5)
    row, deep, many, pair = (1, 1, 1, 3), (1, 3, 1, 1), (3, 1, 1, 1), (1, 2, 1, 1)
    for dtype, base, name in SERIES:
        large, kind = base + 4 * int(randint(rng, 1, 9, 1)), {"dtype": dtype, "less": base}
        values = {"first": (large, 1, 1), "last": (1, 1, large), "cancel": (2**15, 2**15, -(2**15))}[name]
        v, square = torch.tensor(values), torch.tensor([0, *values]).view(1, 1, 2, 2)
        yield case(f"{name}, {dtype}, kernel", "y", FORWARD, square, torch.ones(1, 1, 2, 2), **kind)
        yield case(f"{name}, {dtype}, inputs", "y", FORWARD, v.view(deep), ones.view(deep), **kind)
        yield case(f"{name}, {dtype}, bias", "y", FORWARD, v[:2].view(pair), ones[:2].view(pair), v[2:], **kind)
        yield case(f"{name}, {dtype}, outputs", "grad_x", BACK, one, ones.view(many), v.view(deep), **kind)
        yield case(f"{name}, {dtype}, windows", "grad_x", BACK, zeros, ones.view(row), v.view(row), **kind)
        for along, shape in (("images", many), ("positions", row)):
            given = ones.view(shape), one, v.view(shape)
            yield from (case(f"{name}, {dtype}, {along}", see, BACK, *given, **kind) for see in GRADS[1:])
    fine = 1 + 2.0**-40 * randint(rng, 1, 9, 1, 1, 1, 2).double()
    yield case("digits", "y", FORWARD, fine, one, less=1)
    yield from (case("digits", see, BACK, fine, one, fine, less=1 + (see != "grad_x")) for see in GRADS)


def refusals(case):
    image, kernel, grad = (2, 3, 5, 6), (4, 3, 3, 2), (2, 4, 3, 5)
    images, kernels = ((2, 2, 5, 6), (2, 1, 5, 6), (3, 5, 6), (2, 3, 2, 6), (2, 3, 5, 1)), ((4, 1, 3, 2), (3, 3, 2))
    wrong = [*((other, kernel, {}) for other in images), *((image, other, {}) for other in kernels)]
    wrong += [(image, kernel, {"stride": stride}) for stride in (0, -1, (1, 0), (0, 1))]
    wrong += [(image, kernel, {"padding": padding}) for padding in (-1, (0, -1), (-1, 0))]
    calls = [(of, *each[:2], *last, each[2]) for of, last in ((FORWARD, ()), (BACK, (grad,))) for each in wrong]
    calls += [(FORWARD, image, kernel, bias, {}) for bias in ((1,), (3,), (4, 1, 1))]
    grads = (1, 4, 3, 5), (2, 1, 3, 5), (2, 4, 1, 5), (2, 4, 2, 5), (2, 4, 3, 1), (2, 4, 3, 4), (2, 4, 3, 6), (4, 3, 5)
    calls += [(BACK, image, kernel, shape, {}) for shape in grads]
    for of, *shapes, options in calls:
        yield case(f"{shapes} {options}", "refused", of, *map(torch.ones, shapes), **options)


def run(kata, case):
    see, of, last = case.see, case.of, [] if case.last is None else [case.last]
    tensors = [case.x, case.weight, *last] if of == FORWARD else [*last, case.x, case.weight]
    try:
        # measuring is dear: only where the cost is in question
        with torch.inference_mode(see == "by hand"), measure() if see in COSTS else nullcontext() as spent:
            given = [t.clone() for t in tensors]
            if see == "layout":
                given = [t.movedim(0, -1).mT.contiguous().mT.movedim(-1, 0) if t.ndim == 4 else t for t in given]
            results = getattr(kata, of)(*given, **case.options)
    except Exception as error:
        if isinstance(error, NotImplementedError) or (see == "refused" and isinstance(error, ValueError)):
            raise
        return {see: "refused" if isinstance(error, ValueError) else "an error"}
    if see in COSTS:
        return {see: cost(case, see, spent)}
    if see == "after":
        return {see: [Pairs(a, b) for a, b in zip(given, tensors, strict=True)]}
    result = results if of == FORWARD else results[GRADS.index(see) if see in GRADS else 0]
    if see == "refused" or result is None:
        return {see: "accepted" if see == "refused" else "none"}
    if case.less is None:
        return {see: result.clone()}
    rest = (result.double() - case.less) * (2.0**40 if case.less < 3 else 1)  # digits that a comparison would not see
    return {see: [rest, str(result.dtype)]}


def cost(case, see, spent):
    """Whether one of the limits is passed."""
    batch, _, h, w = case.x.shape
    positions = batch * (5 * 4 if case.options else h * w)
    ratio = spent.flops / (2 * positions * case.weight.numel() * (1 + (case.of == BACK)))
    most = max(positions * case.weight[0].numel(), positions * len(case.weight), batch * case.weight.numel())
    passed = {"wasted": ratio > 1.12, "products": ratio < 0.19, "loop": spent.operators > 60}
    return passed.get(see, spent.largest > most)
