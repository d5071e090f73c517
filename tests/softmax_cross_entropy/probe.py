"""What can be seen of the losses: values and gradients under all options, and what they cost."""

import torch

from dojo.testing import randint, randn
from dojo.testing.alive import Alive
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

FORBIDDEN = (
    "log_softmax",
    "_log_softmax",
    "logsumexp",
    "logcumsumexp",
    "nll_loss",
    "cross_entropy_loss",
    "torch.nn.functional.cross_entropy",
    "torch.nn.functional.linear_cross_entropy",
    "torch.nn.CrossEntropyLoss",
    "torch.nn.LinearCrossEntropyLoss",
    "torch.nn.NLLLoss",
    "torch.nn.LogSoftmax",
    "torch.distributions",
    "torch.func",
)
INF = float("inf")
LSE, LOSS, GRAD, LINEAR = "log_sum_exp", "cross_entropy", "cross_entropy_grad", "linear_cross_entropy"
OPTIONS = {
    "plain": {},
    "smoothed": {"label_smoothing": 0.3},
    "z": {"z_loss": 0.25},
    "total": {"total": 17},
    "all": {"label_smoothing": 0.2, "ignore_index": 1, "z_loss": 0.1, "total": 23},
}
WRONG = {
    "smoothing 1": (2, {"label_smoothing": 1.0}),
    "smoothing < 0": (2, {"label_smoothing": -0.1}),
    "smoothing nan": (2, {"label_smoothing": float("nan")}),
    "z < 0": (2, {"z_loss": -1e-4}),
    "total 0": (2, {"total": 0}),
    "target too large": (5, {}),
    "target -1": (-1, {}),
    "target -100": (-100, {"ignore_index": -1}),
}


def cases(rng):
    def lse(name, x):
        return Case(f"lse {name}", of=LSE, x=x)

    for shape in ((6,), (5, 5), (2, 3, 4)):
        yield lse(f"{list(shape)}", 2 * randn(rng, *shape))
    yield lse("heights", randn(rng, 4, 5) + 3000 * randn(rng, 4, 1))
    yield lse("nothing", torch.cat([torch.full((1, 4), -INF, dtype=torch.float64), randn(rng, 2, 4)]))
    yield lse("half", 128 * randint(rng, 1, 40, 3, 5).half())
    yield lse("many, half", torch.zeros(70_000, dtype=torch.float16))
    for of in (LOSS, GRAD, LINEAR):
        yield from losses(of, rng)


def losses(of, rng):
    def case(name, n=7, vocab=5, scale=2.0, dtype=torch.float64, chunk_size=3, **options):
        given = {"logits": (scale * randn(rng, n, vocab)).to(dtype)}
        if of == LINEAR:
            given = {"hidden": randn(rng, n, 4).to(dtype), "weight": (scale / 2 * randn(rng, vocab, 4)).to(dtype)}
        targets = randint(rng, 0, vocab, n)
        targets = targets.where(targets != options.get("ignore_index", -100), vocab - 1)
        return Case(f"{of}: {name}", of=of, targets=targets, options=options, chunk_size=chunk_size, **given)

    for name, options in OPTIONS.items():
        yield case(name, **options)
        some = case(f"{name}, some ignored", **options)
        some.targets[torch.tensor([1, 3, 4])] = options.get("ignore_index", -100)
        yield some
    nothing = case("nothing counts", z_loss=0.1)
    nothing.targets[:] = -100
    yield nothing
    yield case("square", 5, 5, ignore_index=2)
    yield case("loud", scale=2000.0)
    yield case("half", dtype=torch.float16, scale=0.5)
    for name, (target, options) in WRONG.items():
        wrong = case(f"wrong {name}", **options)
        wrong.targets[:2] = torch.tensor([0, target])
        yield wrong
    yield case("cost", 12, 160, chunk_size=4)
    if of == LINEAR:
        for chunk_size in (1, 7, 50, 0, -2):
            yield case(f"chunks of {chunk_size}", chunk_size=chunk_size, ignore_index=1)
        many = case("many chunks, half", 65, 2, dtype=torch.bfloat16, chunk_size=1, total=1)
        many.hidden[:], many.hidden[32], many.weight[:], many.targets[:] = 0.75 / 256, 1.0, 0.0, 1
        yield many
        return
    banned = case("banned", z_loss=0.1)
    banned.logits[:, 4] = -INF
    banned.targets %= 4
    yield banned
    wide = case("many, half", 2, 70_000, dtype=torch.float16, z_loss=0.01)
    wide.logits[:], wide.targets[:] = 64.0, 7
    yield wide
    low = case("low, half", 16, 2, dtype=torch.float16)
    low.logits[:], low.targets[:] = torch.tensor([0.0, -5000.0]), 1
    yield low


def run(kata, case):
    if case.of == LSE:
        x = case.x.clone()
        return {"lse": kata.log_sum_exp(x), "x after": Pairs(x, case.x)}
    function = getattr(kata, case.of)
    names = ("hidden", "weight") if case.of == LINEAR else ("logits",)
    leaves, targets = [getattr(case, name).clone() for name in names], case.targets.clone()
    options = case.options | ({"chunk_size": case.chunk_size} if case.of == LINEAR else {})
    if case.name.endswith("cost"):
        return cost(lambda *given: function(*given, **options), leaves, targets, case)
    if case.of == GRAD:
        with torch.inference_mode():
            grad = function(leaves[0], targets, **options).clone()
        return {"grad": grad, "logits after": Pairs(leaves[0], case.logits), "targets after": targets}
    leaves = [leaf.requires_grad_() for leaf in leaves]
    loss = function(*leaves, targets, **options)
    seen = {"loss": loss, "targets after": targets} | {
        f"{name} after": Pairs(leaf, getattr(case, name)) for name, leaf in zip(names, leaves, strict=True)
    }
    if not loss.requires_grad:
        return seen
    gradients = torch.autograd.grad(2.5 * loss, leaves, allow_unused=True)
    return seen | {f"d{name}": "none" if g is None else g for name, g in zip(names, gradients, strict=True)}


def cost(function, leaves, targets, case):
    """Whether it is lean, in numbers of the sizes that the docstrings name."""
    n, vocab = len(targets), 160
    if case.of != LINEAR:
        with measure() as few:
            function(leaves[0][:4], targets[:4])
        with measure() as spent:
            result = function(leaves[0], targets)
        seen = {"result": result, "loop": spent.operators > few.operators + 5}
        return seen if case.of == GRAD else seen | {"lean": spent.bytes <= 9.2 * leaves[0].nbytes}
    leaves = [leaf.requires_grad_() for leaf in leaves]
    with measure() as spent, Alive() as alive:
        loss = function(*leaves, targets)
        kept, chunk, grads = alive.elements(), case.chunk_size * vocab, 4 * (n + vocab)
        loss.backward()
    return {
        "loss": loss,
        "products": spent.flops <= 4.05 * 2 * n * 4 * vocab,
        "largest": spent.largest <= chunk,
        "kept": kept <= chunk + 2 * grads,
    }
