"""What can be seen of a convolution: results, gradients one by one, refusals, dtypes, and what they cost."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "convolution", "_convolution",
    "convolution_backward", "convolution_overrideable", "_slow_conv2d_forward", "_slow_conv2d_backward", "slow_conv_dilated2d",
    "slow_conv_transpose2d", "thnn_conv2d", "mkldnn_convolution", "im2col", "col2im", "torch.conv1d", "torch.conv2d",
    "torch.conv3d", "torch.convolution", "torch.conv_transpose1d", "torch.conv_transpose2d", "torch.conv_transpose3d",
    "torch.nn.functional.conv1d", "torch.nn.functional.conv2d", "torch.nn.functional.conv3d",
    "torch.nn.functional.conv_transpose1d", "torch.nn.functional.conv_transpose2d", "torch.nn.functional.conv_transpose3d",
    "torch.nn.functional.unfold", "torch.nn.functional.fold", "torch.nn.Conv1d", "torch.nn.Conv2d", "torch.nn.Conv3d",
    "torch.nn.ConvTranspose1d", "torch.nn.ConvTranspose2d", "torch.nn.ConvTranspose3d", "torch.nn.LazyConv2d",
    "torch.nn.Unfold", "torch.nn.Fold", "torch.nn.grad", "torch.nn.modules", "torch.ops", "torch.autograd.grad",
    "torch.autograd.backward", "torch.autograd.functional", "torch.autograd.Function", "torch.func", "scipy",
)  # fmt: skip
FORWARD, BACK, GRADS = "conv2d", "conv2d_backward", ("grad_x", "grad_weight", "grad_bias")
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64

# Of each: the image, the kernel, stride, padding, and the size of the result. One question in each, where possible.
SETTINGS = {
    "wide kernel": ((5, 6), (2, 3), 1, 0, (4, 4)),
    "tall kernel": ((6, 5), (3, 2), 1, 0, (4, 4)),
    "row kernel": ((3, 5), (1, 3), 1, 0, (3, 3)),
    "column kernel": ((5, 3), (3, 1), 1, 0, (3, 3)),
    "kernel of the image": ((2, 3), (2, 3), 1, 0, (1, 1)),
    "kernel of one pixel": ((3, 5), (1, 1), 1, 0, (3, 5)),
    "square": ((4, 5), (2, 2), 1, 0, (3, 4)),
    "stride": ((6, 4), (2, 2), 2, 0, (3, 2)),
    "rows left over": ((5, 4), (2, 2), 2, 0, (2, 2)),
    "columns left over": ((4, 7), (2, 2), 2, 0, (2, 3)),
    "vertical stride": ((6, 4), (2, 2), (2, 1), 0, (3, 3)),
    "horizontal stride": ((4, 6), (2, 2), (1, 2), 0, (3, 3)),
    "long stride": ((5, 6), (1, 1), 2, 0, (3, 3)),
    "overlap": ((5, 7), (3, 3), 2, 0, (2, 3)),
    "padding": ((3, 4), (2, 2), 1, 1, (4, 5)),
    "vertical padding": ((3, 4), (2, 2), 1, (1, 0), (4, 3)),
    "horizontal padding": ((3, 4), (2, 2), 1, (0, 1), (2, 5)),
    "two paddings": ((3, 4), (1, 1), 1, (2, 1), (7, 6)),
    "stride and padding": ((5, 5), (3, 3), 2, 1, (3, 3)),
    "everything": ((7, 8), (3, 2), (2, 3), (1, 2), (4, 4)),
}


def cases(rng):
    def draw(*shape):
        return randn(rng, *shape)

    def case(name, see, of, x, weight, *rest, dtype=None, **options):
        tensors = {"x": x, "weight": weight, "bias" if of == FORWARD else "grad": rest[0] if rest else None}
        tensors = {key: t if t is None or dtype is None else t.to(dtype) for key, t in tensors.items()}
        return Case(f"{of} {name}: {see}", of=of, see=see, options=options, **tensors)

    for name, (size, kernel, stride, padding, result) in SETTINGS.items():
        x, weight = draw(2, 3, *size), draw(4, 3, *kernel)
        options = ({"stride": stride} if stride != 1 else {}) | ({"padding": padding} if padding != 0 else {})
        yield case(name, "y", FORWARD, x, weight, **options)
        yield from (case(name, see, BACK, x, weight, draw(2, 4, *result), **options) for see in GRADS[: 2 + (padding != 0)])
    for count in (1, 0):
        x, weight = draw(count, 3, 4, 5), draw(4, 3, 2, 2)
        yield case(f"batch of {count}", "y", FORWARD, x, weight)
        yield from (case(f"batch of {count}", see, BACK, x, weight, draw(count, 4, 3, 4)) for see in GRADS)
    yield case("as many outputs", "y", FORWARD, draw(3, 3, 4, 5), draw(3, 3, 2, 2))
    yield from (case("as many outputs", g, BACK, draw(3, 3, 4, 5), draw(3, 3, 2, 2), draw(3, 3, 3, 4)) for g in GRADS)
    for name, size in (("columns", (3, 5)), ("rows", (5, 3)), ("neither", (3, 3)), ("both", (5, 5))):
        yield case(f"bias, 4 {name}", "y", FORWARD, draw(2, 3, *size), draw(4, 3, 2, 2), draw(4))
    yield case("bias of zeros", "y", FORWARD, draw(2, 3, 3, 4), draw(4, 3, 2, 2), torch.zeros(4).double())
    yield case("bias, padding", "y", FORWARD, draw(2, 3, 2, 3), draw(4, 3, 1, 1), draw(4), padding=2)

    x, weight, bias, grad = draw(2, 3, 4, 5), draw(4, 3, 2, 2), draw(4), draw(2, 4, 3, 4)
    for see in ("after", "layout"):
        yield case("arguments", see, FORWARD, x, weight, bias)
        yield case("arguments", see, BACK, x, weight, grad)
    for dtype in (HALF, BRAIN, SINGLE):
        yield case(f"{dtype}", "y", FORWARD, x, weight, bias, dtype=dtype)
        yield from (case(f"{dtype}", see, BACK, x, weight, grad, dtype=dtype) for see in GRADS)
    yield from numbers(rng, case)
    yield from refusals(case)
    x, weight, grad = draw(2, 4, 12, 10).float(), draw(40, 4, 3, 3).float(), draw(2, 40, 5, 4).float()
    for see in ("wasted", "products", "large"):
        yield case("cost", see, FORWARD, x, weight, stride=2)
        yield case("cost", see, BACK, x, weight, grad, stride=2)
    for name, (b, c, o, h, w) in {"images": (70, 1, 1, 2, 2), "inputs": (1, 70, 1, 2, 2), "outputs": (1, 1, 70, 2, 2), "positions": (1, 1, 1, 9, 9)}.items():
        yield case(f"many {name}", "loop", FORWARD, draw(b, c, h, w), draw(o, c, 1, 1))
        yield case(f"many {name}", "loop", BACK, draw(b, c, h, w), draw(o, c, 1, 1), draw(b, o, h, w))


def numbers(rng, case):
    """Sums that half precision loses: a large number and ones, in either order, and numbers that cancel."""
    for dtype, large, scale in ((HALF, 2048.0, 2.0**15), (BRAIN, 256.0, 1.0)):
        few = (1.0 * randint(rng, 4, 9, 1)).item()
        first, last = torch.tensor([large, few, few]), torch.tensor([few, few, large])
        for name, v in {"first": first, "last": last, "cancel": torch.tensor([scale, scale, -scale])}.items():
            if name == "cancel" and dtype == BRAIN:
                continue
            ones, one = torch.ones(3), torch.ones(1, 1, 1, 1)
            words = f"{name}, {dtype}, over"
            for along, shape in (("inputs", (1, 3, 1, 1)), ("the kernel", (1, 1, 1, 3))):
                yield case(f"{words} {along}", "y", FORWARD, v.view(shape), ones.view(shape), dtype=dtype)
            yield case(f"{words} outputs", "grad_x", BACK, one, ones.view(3, 1, 1, 1), v.view(1, 3, 1, 1), dtype=dtype)
            windows = torch.zeros(1, 1, 1, 5), ones.view(1, 1, 1, 3), v.view(1, 1, 1, 3)
            yield case(f"{words} windows", "grad_x", BACK, *windows, dtype=dtype)
            for along, shape in (("images", (3, 1, 1, 1)), ("positions", (1, 1, 1, 3))):
                given = ones.view(shape), one, v.view(shape)
                yield from (case(f"{words} {along}", see, BACK, *given, dtype=dtype) for see in GRADS[1:])
        x = torch.tensor([large, 1.0]).view(1, 2, 1, 1)
        yield case(f"bias, {dtype}", "y", FORWARD, x, torch.ones(1, 2, 1, 1), torch.ones(1), dtype=dtype)
    fine, one = 1 + 2.0**-40 * randint(rng, 1, 9, 1, 1, 1, 2), torch.ones(1, 1, 1, 1).double()
    yield case("float64", "tail", FORWARD, fine, one)
    yield from (case("float64", f"{see} tail", BACK, fine, one, fine) for see in GRADS)


def refusals(case):
    def ones(*shape):
        return torch.ones(shape)

    x, weight = ones(2, 3, 5, 6), ones(4, 3, 3, 2)
    wrong = {"inputs": (ones(2, 2, 5, 6), weight), "x of 1 input": (ones(2, 1, 5, 6), weight)}
    wrong |= {"weight of 1 input": (x, ones(4, 1, 3, 2)), "x 3-d": (ones(3, 5, 6), weight), "weight 3-d": (x, ones(3, 3, 2))}
    wrong |= {"tall": (ones(2, 3, 2, 6), weight), "broad": (ones(2, 3, 5, 1), weight)}
    for of, rest in ((FORWARD, ()), (BACK, (ones(2, 4, 3, 5),))):
        yield from (case(name, "refused", of, *given, *rest) for name, given in wrong.items())
        for stride in (0, -1, (1, 0), (0, 1)):
            yield case(f"stride={stride}", "refused", of, x, weight, *rest, stride=stride)
        for padding in (-1, (0, -1), (-1, 0)):
            yield case(f"padding={padding}", "refused", of, x, weight, *rest, padding=padding)
    for shape in ((1,), (3,), (4, 1, 1)):
        yield case(f"bias {shape}", "refused", FORWARD, x, weight, ones(*shape))
    for shape in ((1, 4, 3, 5), (2, 1, 3, 5), (2, 4, 1, 5), (2, 4, 3, 1), (2, 4, 2, 5), (2, 4, 3, 4), (2, 4, 3, 6), (4, 3, 5)):
        yield case(f"grad {shape}", "refused", BACK, x, weight, ones(*shape))


def run(kata, case):
    see, of, tensors = case.see, case.of, [t for t in (case.x, case.weight) if t is not None]
    extra = case.bias if of == FORWARD else case.grad
    tensors = ([*tensors, extra] if of == FORWARD else [extra, *tensors]) if extra is not None else tensors
    given = [t.clone() for t in tensors]
    if see == "layout":
        given = [t.movedim(1, -1).contiguous().movedim(-1, 1) if t.ndim == 4 else t for t in given]
    with torch.inference_mode(of == BACK and see in (*GRADS, "after", "layout")), measure() as spent:
        results = getattr(kata, of)(*given, **case.options)
    if see in ("wasted", "products", "large", "loop"):
        return {see: cost(case, see, spent)}
    if see == "after":
        return {see: [Pairs(a, b) for a, b in zip(given, tensors, strict=True)]}
    if see == "refused":
        return {see: "accepted"}
    result = results if of == FORWARD else results[GRADS.index(see.split()[0]) if see[0] == "g" else 0]
    return {see: (result - result.round()) * 2.0**40 if see.endswith("tail") else result.clone()}


def cost(case, see, spent):
    """Whether one of the limits is passed."""
    b, c, h, w = case.x.shape
    positions = b * 5 * 4 if case.options else b * h * w
    needed = 2 * positions * case.weight.numel() * (1 + (case.of == BACK))
    passed = {"wasted": spent.flops > 1.12 * needed, "products": spent.flops < 0.19 * needed, "loop": spent.operators > 60}
    return (passed | {"large": spent.largest > max(positions * case.weight[0].numel(), b * 40 * positions, case.x.numel())})[see]
