"""What can be seen of the backward passes: values, shapes, dtypes, what is kept, and what they cost."""

import torch

from dojo.testing import randn
from dojo.testing.alive import Alive
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_attention_math",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    "_scaled_dot_product_flash_attention_backward",
    "_scaled_dot_product_efficient_attention_backward",
    "_softmax_backward_data",
    "requires_grad_",
    "backward",
    "torch.autograd",
    "torch.func",
    "torch.nn.attention",
)
MATMUL, SOFTMAX, FORWARD, BACKWARD = "matmul_backward", "softmax_backward", "attention_forward", "attention_backward"
HALF = torch.float16
BATCHES = (((), ()), ((2,), (2,)), ((3,), ()), ((), (2, 3)), ((2, 1), (1, 3)), ((1,), (4,)), ((3, 3), (3, 1)))
WRONG = (((2,), (2, 3), (3,)), ((4,), (3,), (3, 4)), ((2, 4), (2, 1), (3, 4)), ((2, 5), (2, 3), (3, 4)))
WRONG += (((1, 4), (2, 3), (3, 4)), ((1, 2, 4), (2, 3), (3, 4)), ((6, 2, 4), (6, 2, 3), (5, 3, 4)))


def some(rng, *shape):
    """A random mask, True at the last place of each row."""
    return (torch.rand(*shape, generator=rng) < 0.5) | (torch.arange(shape[-1]) == shape[-1] - 1)


def product(name, rng, grad, a, b, dtype=torch.float64):
    shapes = {"grad": grad, "a": a, "b": b}
    return Case(f"matmul: {name}", of=MATMUL, **{n: randn(rng, *s).to(dtype) for n, s in shapes.items()})


def softmax(name, rng, grad, probs=None, scale=1.0, dtype=torch.float64):
    probs = (scale * randn(rng, *(probs or grad))).softmax(-1)
    return Case(f"softmax: {name}", of=SOFTMAX, grad=randn(rng, *grad).to(dtype), probs=probs.to(dtype))


def attention(name, rng, mask=None, sizes=((2, 4, 3), (2, 5, 3), (2, 5, 2)), dtype=torch.float64, **given):
    tensors = {n: randn(rng, *size).to(dtype) for n, size in zip("qkv", sizes, strict=True)}
    tensors["grad"] = randn(rng, *sizes[0][:-1], sizes[2][-1]).to(dtype)
    tensors = {"mask": mask} | tensors | given
    return [Case(f"{of}: {name}", of=of, **tensors) for of in (FORWARD, BACKWARD)]


def cases(rng):
    for (a, b), m, k, n in [(batch, 2, 3, 4) for batch in BATCHES] + [(batch, 3, 3, 3) for batch in BATCHES[::2]]:
        shapes = (*torch.broadcast_shapes(a, b), m, n), (*a, m, k), (*b, k, n)
        yield product(f"{[*a]} {[*b]} {m, k, n}", rng, *shapes)
    expanded = {"grad": randn(rng, 4), "expand": [2, 3, 4]}
    yield Case("matmul: an expanded grad", of=MATMUL, a=randn(rng, 2, 3, 5), b=randn(rng, 5, 4), **expanded)
    yield product("half", rng, (6, 3, 4), (6, 3, 5), (5, 4), HALF)
    big = product("big, half", rng, (2, 1, 1), (2, 1, 1), (1, 1), HALF)
    big.grad[:, 0, 0], big.a[:] = torch.tensor([512.0, -511.5]), 256.0
    yield big
    for grad, a, b in WRONG:
        yield product(f"wrong {[*grad]} {[*a]} {[*b]}", rng, grad, a, b)
    yield product("cost", rng, (6, 8, 10), (6, 8, 9), (9, 10))
    for shape in ((4,), (3, 3), (2, 3, 5)):
        yield softmax(f"{[*shape]}", rng, shape)
    yield softmax("sure", rng, (3, 4), scale=2e4)
    zero = softmax("zeros", rng, (3, 4))
    zero.probs[1] = 0.0
    yield zero
    loud = softmax("big, half", rng, (2, 3), dtype=HALF)
    loud.grad[:], loud.probs[:] = torch.tensor([6e4, -6e4, 0.0]), torch.tensor([0.5, 0.25, 0.25])
    yield loud
    for shape in ((4,), (3, 1), (2, 3, 4)):
        yield softmax(f"wrong {[*shape]}", rng, shape, (3, 4))
    yield softmax("cost", rng, (3, 40))
    yield from attention("plain", rng)
    yield from attention("a single matrix", rng, sizes=((4, 3), (5, 3), (5, 2)))
    yield attention("all of one size", rng, sizes=3 * ((3, 3, 3),))[1]
    yield attention("all of one size, masked", rng, some(rng, 3, 3), 3 * ((3, 3, 3),))[1]
    for shape in ((2, 4, 5), (5,)):
        yield from attention(f"mask {[*shape]}", rng, some(rng, *shape))
    empty = some(rng, 2, 4, 5)
    empty[1, 2] = False
    yield from attention("a query that sees nothing", rng, empty)
    yield attention("an expanded grad", rng, grad=randn(rng, 2), expand=[2, 4, 2])[1]
    signs = torch.tensor([1.0, 1.0, -1.0])[:, None].expand(3, 16)
    high = {"q": 117 * signs, "k": 64 * signs, "v": 4 + randn(rng, 3, 1), "grad": 8 + randn(rng, 3, 1)}
    yield from attention("scores of 3e4", rng, **{n: x.to(HALF) for n, x in high.items()})
    high = {n: x.double() for n, x in high.items()}
    yield attention("scores of 3e4, float64", rng, **high)[0]
    high["q"], high["k"] = (high[n] * torch.tensor(x)[:, None] for n, x in (("q", [1, 0, 1]), ("k", [1, 0.75, 1])))
    yield from attention("rows that are apart", rng, torch.tensor([1, 1, 0]).bool(), **high)
    far = {"q": [[220.0, 132.0]], "k": [[192.0, 0.0], [0.0, 320.0]], "v": [[4.0], [0.0]], "grad": [[1.0]]}
    yield attention("a scale of 1 / sqrt(2)", rng, **{n: torch.tensor(x).to(HALF) for n, x in far.items()})[0]
    big = {"q": torch.full((1, 1), 0.0625), "k": torch.zeros(2, 1), "v": torch.tensor([[256.0], [258.0]])}
    big["grad"] = torch.full((1, 1), 512.0)
    yield attention("big, half", rng, **{n: x.half() for n, x in big.items()})[1]
    yield from attention("half", rng, some(rng, 2, 4, 5), dtype=HALF)
    wrong = {"dim": ((2, 5, 4), (2, 5, 2)), "keys": ((2, 5, 3), (2, 6, 2)), "batch": ((3, 5, 3), (3, 5, 2))}
    for name, (k, v) in wrong.items():
        yield attention(f"wrong {name}", rng, sizes=((2, 4, 3), k, v))[0]
    for size, dtype in (((4, 5), float), ((4, 5), int), ((5, 4), bool), ((2, 2, 4, 5), bool)):
        yield attention(f"wrong mask: {[*size]} {dtype.__name__}", rng, torch.ones(size, dtype=dtype))[0]
    for shape in ((4, 2), (2, 4, 1), (2, 1, 2)):
        yield attention(f"wrong grad {[*shape]}", rng, grad=randn(rng, *shape))[1]
    yield from attention("cost", rng, sizes=((6, 20, 2), (6, 20, 2), (6, 20, 2)))


def run(kata, case):
    names = {MATMUL: ("grad", "a", "b"), SOFTMAX: ("grad", "probs")}.get(case.of, ("q", "k", "v", "mask", "grad"))
    own = {name: None if getattr(case, name) is None else getattr(case, name).clone() for name in names}
    given = list((own | ({"grad": own["grad"].expand(case.expand)} if hasattr(case, "expand") else {})).values())
    with torch.inference_mode():
        if case.name.endswith("cost"):
            return cost(kata, case, given)
        if case.of not in (FORWARD, BACKWARD):
            results = getattr(kata, case.of)(*given)
        else:
            results, saved = kata.attention_forward(*given[:4])
            if case.of == BACKWARD:
                results = [r.clone() for r in kata.attention_backward(given[4], saved)]
        if case.name == f"{BACKWARD}: plain":
            kata.attention_forward(*(x + 1 for x in given[:3]))
            results += [r.clone() for r in kata.attention_backward(given[4], saved)]
        if case.of == BACKWARD and given[0].abs().max() > 99:
            results = results[2:]  # the others are differences of large numbers
        seen = {"results": [r.clone() for r in results] if isinstance(results, tuple | list) else results.clone()}
    return seen | {f"{n} after": Pairs(x, getattr(case, n)) for n, x in own.items() if x is not None}


def cost(kata, case, given):
    """Whether it is lean, in numbers of the sizes that the docstrings name, and whether operators grow with the batch."""
    if case.of == FORWARD:
        with Alive() as alive:
            _kept = kata.attention_forward(*given[:4])
            return {"kept": alive.elements() <= 2 * sum(x.numel() for x in given if x is not None)}
    few, costs = [x[:1] if x is not None and x.dim() > 2 else x for x in given], []
    for inputs in (given, few)[: 1 if case.of == SOFTMAX else 2]:
        if case.of == BACKWARD:
            inputs = inputs[4], kata.attention_forward(*inputs[:4])[1]
        with measure() as spent:
            getattr(kata, case.of)(*inputs)
        costs.append(spent)
    spent, least = costs[0], costs[-1]
    flops, largest = {MATMUL: (17_280, 600), SOFTMAX: (0, 120), BACKWARD: (48_000, 2400)}[case.of]
    lean = [case.of == SOFTMAX or 0.99 * flops <= spent.flops <= 1.15 * flops, spent.largest <= largest]
    return {"lean": lean, "grows": spent.operators > least.operators + 3}
