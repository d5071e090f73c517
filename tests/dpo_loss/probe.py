"""What can be seen of log-probabilities of responses, and of the loss: values, gradients, and what they cost."""

import torch

from dojo.testing import randint, randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

LOG_PROBS, LOSS = "sequence_log_probs", "dpo_loss"
INF, HALF, BRAIN, SINGLE, DOUBLE = float("inf"), torch.float16, torch.bfloat16, torch.float32, torch.float64
WRONG_SHAPES = [([2, 3], [2, 3]), ([2, 4], [2, 3]), ([2, 3], [2, 4]), ([1, 4], [2, 4]), ([2, 4], [1, 4]), ([2, 4], [4])]
WRONG_SHAPES += [([4, 2], [4, 2])]  # as many numbers as there should be
WRONG_PAIRS = [((3,), (3,), (3,), (3, 1)), ((3,), (3,), (1,), (3,)), ((3,), (1,), (3,), (3,)), ((1,), (3,), (3,), (3,))]
WRONG_PAIRS += [((3,), (3,), (1,), (1,)), ((3,), (1,), (3,), (1,))]
WRONG_OPTIONS = [{"beta": 0.0}, {"beta": -0.1}, {"beta": float("nan")}]
WRONG_OPTIONS += [{"label_smoothing": wrong} for wrong in (0.5, 0.7, -0.1, float("nan"))]
SEEN = {"loss": ("loss",), "rewards": ("chosen_rewards", "rejected_rewards"), "accuracy": ("accuracy",)}


def cases(rng):
    yield from responses(rng)
    yield from losses(rng)


def responses(rng):
    def case(name, mask, under=None, scale=2.0, vocab=5, dtype=DOUBLE, **more):
        mask = torch.tensor(mask).bool()
        tokens = randint(rng, 0, vocab, *mask.shape)
        tokens = tokens if under is None else tokens.where(mask, under)
        logits = (scale * randn(rng, *mask.shape, vocab)).to(dtype)
        return Case(name, of=LOG_PROBS, logits=logits, tokens=tokens, mask=mask, **more)

    yield case("one response", [[0, 1, 1, 1]], vocab=3)
    yield case("responses", [[0, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 1, 1]])
    yield case("one token", [[0, 0, 1, 0, 0], [0, 0, 0, 0, 1], [0, 1, 0, 0, 0]])
    yield case("padded", [[0, 0, 0, 1, 1, 1, 1], [0, 1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0]])
    yield case("padded with -100", [[0, 0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 0, 0]], -100)
    yield case("padded with 99", [[0, 0, 1, 1, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1]], 99)
    yield case("two answers", [[0, 1, 1, 0, 0, 1, 1], [0, 0, 1, 0, 1, 0, 1]])
    yield case("from token 0", [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])
    yield case("one is empty", [[0, 1, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]])
    yield case("length 1", [[0], [1]])
    zeros = case("zeros", [[0, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    zeros.tokens[:, 1::2] = 0
    yield zeros
    yield case("huge", [[0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]], scale=3000.0)
    banned = case("banned", [[0, 1, 0, 1, 1, 0], [0, 0, 1, 1, 0, 0]], -100)
    banned.logits[..., 0], banned.tokens = -INF, banned.tokens.where(~banned.mask, 1 + banned.tokens % 4)
    yield banned
    yield case("gradient", [[0, 1, 1, 0, 1], [0, 0, 1, 1, 1], [0, 0, 0, 0, 0]], gradient=True)
    yield case("gradient, -100", [[0, 1, 1, 0, 0], [0, 0, 1, 1, 1], [0, 0, 0, 1, 0]], -100, gradient=True)
    yield case("gradient, nothing scored", [[0, 0, 0], [1, 0, 0]], gradient=True)
    high = case("high, float32", [[0, 1, 1, 1], [0, 0, 1, 1]], dtype=SINGLE)
    high.logits += torch.tensor([120.0, -120])[:, None, None]
    yield high
    for dtype in (HALF, BRAIN):
        long = case(f"long, {dtype}", [[0] + [1] * 1024], vocab=34, scale=0.0, dtype=dtype)
        long.logits += randint(rng, -2, 3, 1, 1025, 1)
        yield long
    for wrong in WRONG_SHAPES:
        tokens, mask = (torch.ones(shape).long() for shape in wrong)
        yield Case(f"wrong {wrong}", of=LOG_PROBS, logits=randn(rng, 2, 4, 3), tokens=tokens, mask=mask.bool())
    yield case("cost", [[0, 1, 1, 1], [0, 0, 1, 1]], vocab=160, dtype=SINGLE)


def losses(rng):
    def case(kind, name, n, dtype=DOUBLE, scale=6.0, agree=False, **options):
        given = [(-40 + scale * randn(rng, n)).to(dtype) for _ in range(4)]
        given = [*given[:2], *given[:2]] if agree else given
        return Case(f"{kind} {name}", of=LOSS, kind=kind, given=given, options=options)

    for kind, n in (("rewards", 3), ("accuracy", 48), ("loss", 5)):
        yield case(kind, "by default", n)
        yield case(kind, "at beta=0.4", n, beta=0.4)
        yield case(kind, "where policy and reference agree", 3, agree=True)
    for smoothing in (0.1, 0.3):
        yield case("loss", f"smoothed {smoothing}", 4, label_smoothing=smoothing, beta=0.3)
    yield case("loss", "of one pair", 1, beta=0.2)
    yield case("loss", "of huge margins", 6, scale=3000.0, beta=2.0)
    yield case("gradient", "by default", 4, beta=0.3)
    yield case("gradient", "smoothed", 3, beta=0.3, label_smoothing=0.2)
    yield case("gradient", "of huge margins", 4, scale=3000.0)
    yield case("gradient", "where policy and reference agree", 3, agree=True)
    for kind in SEEN:
        yield case(kind, "in float32", 5, SINGLE)
        yield case(kind, "in bfloat16", 16, BRAIN, scale=60.0)
    yield case("graphs", "", 3)
    for options in WRONG_OPTIONS:
        yield case("loss", f"with {options}", 3, **options)
    for shapes in WRONG_PAIRS:
        wrong = case("loss", f"of {shapes}", 3)
        wrong.given = [randn(rng, *shape) for shape in shapes]
        yield wrong


def run(kata, case):
    if case.of == LOSS:
        return of_pairs(kata, case)
    logits, tokens, mask = case.logits.clone(), case.tokens.clone(), case.mask.clone()
    if case.name == "cost":
        return cost(kata, logits, tokens, mask)
    if hasattr(case, "gradient"):
        leaf = logits.requires_grad_()
        got = kata.sequence_log_probs(leaf, tokens, mask)
        if not got.requires_grad:
            return {"log-probs": got}
        weights = torch.arange(1.0, 1.0 + len(got)).to(got)
        return {"log-probs": got, "gradient": torch.autograd.grad((weights * got).sum(), leaf)[0].to(got)}
    got = kata.sequence_log_probs(logits, tokens, mask)
    return {"log-probs": got, "after": [Pairs(logits, case.logits), Pairs(tokens, case.tokens), Pairs(mask, case.mask)]}


def of_pairs(kata, case):
    leaves = [each.clone().requires_grad_() for each in case.given]
    free = [leaf * 1 for leaf in leaves]  # no leaves, so that changing them is no error
    got = kata.dpo_loss(*free, **case.options)
    if case.kind == "graphs":
        graphs = [value.requires_grad for value in (got.loss, got.chosen_rewards, got.rejected_rewards, got.accuracy)]
        return {"graphs": graphs, "after": [Pairs(a, b) for a, b in zip(free, case.given, strict=True)]}
    if case.kind != "gradient":
        return {field: finite(getattr(got, field)) for field in SEEN[case.kind]}
    if not got.loss.requires_grad:
        return {"graph": False}
    gradients = torch.autograd.grad(got.loss, leaves, allow_unused=True)
    each = [torch.zeros_like(a) if g is None else g for g, a in zip(gradients, leaves, strict=True)]
    return {"gradients": finite(torch.stack(each).to(got.loss))}


def finite(value):
    """The value, or a word if it has an infinity or NaN: which of them, and where, depends on how it is written."""
    return value if not isinstance(value, torch.Tensor) or value.isfinite().all() else "not finite"


def cost(kata, logits, tokens, mask):
    """Whether it is lean, and whether the operators grow with the length or the vocabulary."""
    with measure() as few:
        kata.sequence_log_probs(logits[:, :3, :10], tokens[:, :3] % 10, mask[:, :3])
    with measure() as spent:
        got = kata.sequence_log_probs(logits.repeat(1, 3, 1), tokens.repeat(1, 3), mask.repeat(1, 3))
    return {
        "log-probs": got,
        "lean": spent.bytes <= 3 * 9.2 * logits.nbytes,
        "loop": spent.operators > few.operators + 3,
    }
