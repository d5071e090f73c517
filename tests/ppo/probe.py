"""What can be seen of the parts of PPO: values, gradients, what is refused, and what they cost."""

import torch

from dojo.testing import randn
from dojo.testing.cost import measure
from dojo.testing.probes import Case, Pairs

NAN, INF, DOUBLE, SINGLE, BRAIN, HALF = (
    float("nan"),
    float("inf"),
    torch.float64,
    torch.float32,
    *(torch.bfloat16, torch.float16),
)
NAMES = {
    "token_rewards": ("scores", "log_probs", "reference", "mask", "beta"),
    "gae": ("rewards", "values", "dones", "last_values", "gamma", "lam"),
    "whiten": ("x", "mask"),
    "policy_loss": ("log_probs", "old_log_probs", "advantages", "mask", "clip"),
    "value_loss": ("values", "old_values", "returns", "mask", "clip"),
    "entropy": ("logits", "mask"),
}
NUMBERS = {"beta": (-0.1, NAN), "gamma": (-0.1, 1.1, NAN), "lam": (-0.1, 1.1, NAN), "clip": (0.0, -0.2, NAN)}
SHAPES = {"scores": [(1,), (2, 1), (3,)], "last_values": [(1,), (2, 1), (3,)]}
WRONG = {  # what to refuse of each argument, another shape or number
    (function, name): [*NUMBERS.get(name, SHAPES.get(name, [(2, 1), (1, 3), (3, 2)]))]
    for function, names in NAMES.items()
    for name in names[1 if function != "token_rewards" else 0 :]
}
WRONG["policy_loss", "clip"] += [1.0, 1.5]
PADDED, HOLES = [[0, 1, 1, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 0, 0]], [[0, 1, 0, 1, 0], [1, 1, 0, 0, 1], [0, 0, 1, 0, 0]]
EMPTY = [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1]]


def arguments(rng):
    """For each function one right call with batch 2 and length 3."""

    def x():
        return randn(rng, 2, 3)

    mask, last, done = torch.tensor([[1, 1, 0], [0, 1, 1]]).bool(), randn(rng, 2), torch.tensor([[0, 1, 0], [0, 0, 0]])
    return {
        "token_rewards": [last, x(), x(), mask, 0.3],
        "gae": [x(), x(), done.bool(), last, 0.9, 0.8],
        "whiten": [x(), mask],
        "policy_loss": [x(), x(), x(), mask, 0.2],
        "value_loss": [x(), x(), x(), mask, 0.2],
        "entropy": [randn(rng, 2, 3, 5), mask],
    }


def replaced(given, function, name, wrong):
    """The call with one argument of a wrong shape, or a wrong number."""
    place = NAMES[function].index(name)
    other = torch.ones(wrong, dtype=given[place].dtype) if isinstance(wrong, tuple) else wrong
    return [*given[:place], other, *given[place + 1 :]]


def cases(rng):
    yield from rewards(rng)
    yield from episodes(rng)
    yield from whitened(rng)
    yield from clipped(rng)
    yield from entropies(rng)
    for function, given in arguments(rng).items():
        yield Case(f"{function}: arguments after", of=function, kind="after", given=given)
        yield Case(f"{function}: graphs", of=function, kind="graphs", given=given)
        yield Case(f"{function}: cost", of=function, kind="cost", given=given)
        for name in NAMES[function]:
            if (function, name) in WRONG:
                yield Case(f"{function}: wrong {name}", of=function, kind="refuses", given=given, wrong=name)


def rewards(rng):
    def case(name, mask, beta=0.3, agree=False, junk=None, dtype=DOUBLE):
        mask = torch.tensor(mask).bool()
        log_probs, reference = (4 * randn(rng, *mask.shape) - 90 for _ in range(2))
        if junk is not None:
            log_probs, reference = log_probs.where(mask, junk), reference.where(mask, junk)
        given = [randn(rng, len(mask)) * agree, log_probs, log_probs.clone() if agree else reference]
        return Case(f"rewards: {name}", of="token_rewards", given=[*(x.to(dtype) for x in given), mask, beta])

    for name, agree in (("score", True), ("penalty", False)):
        yield case(f"{name} of one token", [[1]], agree=agree)
        yield case(f"{name} of three", [[1, 1, 1]], agree=agree)
        yield case(f"{name}, padded", PADDED, agree=agree)
        yield case(f"{name}, holes", HOLES, agree=agree)
        yield case(f"{name}, an empty row", EMPTY, agree=agree)
        yield case(f"{name}, bfloat16", [[1, 1, 1]], agree=agree, dtype=BRAIN)
    far = case("penalty of -130 against -1, bfloat16", [[1, 1, 1]], dtype=BRAIN)
    far.given[2] = far.given[2] / 80
    yield far
    yield case("beta=0", [[1, 1, 1]], beta=0.0)
    yield case("NaN", PADDED, junk=NAN)


def episodes(rng):
    def case(name, dones, gamma=0.9, lam=0.8, junk=None, pick=0, dtype=DOUBLE):
        dones = torch.tensor(dones).bool()
        rewards, values, last = randn(rng, *dones.shape), 3 * randn(rng, *dones.shape), 5 * randn(rng, len(dones))
        if junk is not None:
            after = dones.cumsum(1) - dones.int() > 0
            rewards, values, last = rewards.where(~after, junk), values.where(~after, junk), last * 0 + junk
        given = [rewards.to(dtype), values.to(dtype), dones, last.to(dtype), gamma, lam]
        ends = dones.int().cumsum(1) - dones.int() == 0 if junk is not None else None
        return Case(f"gae: {name}", of="gae", given=given, pick=pick, only=ends)

    for pick, name in enumerate(("advantage", "return")):
        yield case(f"{name} of one step", [[0]], pick=pick)
        yield case(f"{name} of one last step", [[1]], pick=pick)
        yield case(f"{name} of three steps", [[0, 0, 0]], pick=pick)
        yield case(f"{name} of bfloat16", [[0, 0, 1]], pick=pick, dtype=BRAIN)
    for name, gamma, lam in (
        ("lam=0", 0.9, 0.0),
        ("lam=1", 0.9, 1.0),
        ("gamma=0", 0.0, 0.8),
        ("gamma=lam=1", 1.0, 1.0),
    ):
        yield case(name, [[0, 0, 0, 0]], gamma, lam)
    yield case("an end", [[0, 0, 1]])
    yield case("an end in the middle", [[0, 1, 0, 0]])
    yield case("an end at first, lam=0", [[1, 0]], lam=0.0)
    yield case("rows", [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    for junk in (7e5, NAN):
        yield case(f"{junk} after the end", [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]], junk=junk)


def whitened(rng):
    def case(name, x, mask, dtype=DOUBLE):
        return Case(f"whiten: {name}", of="whiten", kind="scale", given=[x.to(dtype), torch.tensor(mask).bool()])

    full = [[1] * 8]
    yield case("all True", 3 * randn(rng, 1, 8), full)
    yield case("centred", 3 * randn(rng, 1, 1) * torch.tensor([[1, -1, 2, -2, 3, -3, 4, -4]]), full)
    yield case("rows", 3 * randn(rng, 3, 4) + 5 * randn(rng, 3, 1), [[1] * 4] * 3)
    x = randn(rng, 3, 5)
    yield case("padded", x, PADDED)
    yield case("NaN", x.where(torch.tensor(PADDED).bool(), NAN), PADDED)
    yield case("one True", x, [[0] * 5, [0, 0, 1, 0, 0], [0] * 5])
    yield case("none True", x, [[0] * 5] * 3)
    yield case("equal", x * 0 + x[0, 0], [[1] * 5] * 3)
    yield case("tiny", 1e-4 * torch.tensor([[1, -1] * 50]), [[1] * 100])
    yield case("far", 1e4 + randn(rng, 1, 16), [[1] * 16], SINGLE)
    yield case("bfloat16", 100 + 8 * randn(rng, 1, 16), [[1] * 16], BRAIN)


SIDES = {"up, good": (1.6, 1), "up, bad": (1.6, -1), "down, good": (0.5, 1), "down, bad": (0.5, -1)}
SIDES |= {"inside, good": (1.1, 1), "inside, bad": (0.9, -1), "one, good": (1.0, 1), "up, zero": (1.6, 0)}
VALUES = {"passed": (1.0, 0.7), "ahead": (1.0, 2.0), "back": (1.0, -1.0), "fell": (-1.0, -0.7), "inside": (0.1, 1.0)}
# V and R, when old is 0 and the clip 0.5 at most


def clipped(rng):
    def case(of, name, columns, mask=None, clip=(), **more):
        columns = [torch.as_tensor(x, dtype=DOUBLE).view(-1, 1 if mask is None else len(mask[0])) for x in columns]
        mask = torch.ones(1, 1).bool() if mask is None else torch.tensor(mask).bool()
        dtype = more.pop("dtype", DOUBLE)
        return Case(f"{of}: {name}", of=of, given=[*(x.to(dtype) for x in columns), mask, *clip], **more)

    def near(x):
        return x * (1 + 0.05 * torch.rand((), generator=rng, dtype=DOUBLE))

    for name, (ratio, sign) in SIDES.items():
        old, size = -2 + randn(rng, 1), 1 + torch.rand((), generator=rng, dtype=DOUBLE)
        token = old + near(torch.tensor(ratio).double()).log() * (ratio != 1), old, sign * size
        yield case("policy_loss", f"loss, {name}", token, pick=0)
        yield case("policy_loss", f"share, {name}", token, pick=1)
        yield case("policy_loss", f"gradient, {name}", token, pick=0, kind="gradient")
        if abs(sign) and "inside" not in name:
            yield case("policy_loss", f"loss at clip=0.4, {name}", token, clip=(0.4,), pick=0)
    for name, (value, target) in VALUES.items():
        old = 2 * randn(rng, 1)
        token = old + near(value), old, old + target
        for clip in ((), (0.3,), (None,)):
            yield case("value_loss", f"{name}, clip{clip}", token, clip=clip)
        yield case("value_loss", f"gradient, {name}", token, kind="gradient")
    for of, picks in (("policy_loss", (0, 1)), ("value_loss", (None,))):
        for pick in picks:
            x, three = [0.6 * randn(rng, 3, 5) for _ in range(3)], {"mask": PADDED, "pick": pick}
            filled = [y.where(torch.tensor(PADDED).bool(), NAN) for y in x]
            yield case(of, f"row, {pick}", [y[:1] for y in x], [[1] * 5], pick=pick)
            yield case(of, f"rows, {pick}", x, [[1] * 5] * 3, pick=pick)
            yield case(of, f"padded, {pick}", x, **three)
            yield case(of, f"NaN, {pick}", filled, **three)
            yield case(of, f"none True, {pick}", x, [[0] * 5] * 3, pick=pick)
            yield case(of, f"bfloat16, {pick}", [y - 3 for y in x], **three, dtype=BRAIN)
        for name, junk in (("first", [filled[0], x[1], x[2]]), ("third", [x[0], x[1], filled[2]])):
            yield case(of, f"gradient, NaN in the {name}", junk, **three | {"pick": picks[0]}, kind="gradient")
        yield case(of, "gradient, none True", x, [[0] * 5] * 3, pick=picks[0], kind="gradient")
    for name, ratio, sign in (("up", 1e4, 1), ("up, zero", 1e4, 0), ("down, good", -1e4, 1), ("down, bad", -1e4, -1)):
        token = [ratio], [0.0], sign * (1 + torch.rand(1, generator=rng))
        yield case("policy_loss", f"huge, loss, {name}", token, pick=0)
        yield case("policy_loss", f"huge, gradient, {name}", token, pick=0, kind="gradient")
    bad = -1 - torch.rand(1, generator=rng)
    yield case("policy_loss", "large, bad", ([13.0], [0.0], bad), pick=0, kind="graphs")
    yield case("policy_loss", "difference in bfloat16", ([-1.0078125], [-4.0], bad), pick=0, dtype=BRAIN)
    yield case("value_loss", "large, float16", [300 + 9 * randn(rng, 1), [0.0], [-300.0]], dtype=HALF)


def entropies(rng):
    def case(name, logits, mask=None, dtype=DOUBLE, kind="value"):
        mask = torch.ones(logits.shape[:-1]) if mask is None else torch.tensor(mask)
        return Case(f"entropy: {name}", of="entropy", kind=kind, given=[logits.to(dtype), mask.bool()])

    yield case("one", 2 * randn(rng, 1, 1, 5))
    yield case("normalised", (2 * randn(rng, 1, 1, 5)).log_softmax(-1))
    yield case("positions", 2 * randn(rng, 1, 3, 4))
    yield case("rows", 2 * randn(rng, 2, 3, 4))
    x = 2 * randn(rng, 3, 5, 4)
    yield case("padded", x, PADDED)
    yield case("infinity", x.where(torch.tensor(PADDED).bool()[..., None], INF), PADDED)
    yield case("none True", x, [[0] * 5] * 3)
    banned, huge = torch.tensor([0, 0, -INF, 0]) + x[:1, :1], torch.tensor([9000.0, 0, 9000.0, -9000]) + x[:1, :1]
    for kind in ("value", "gradient"):
        yield case(f"banned, {kind}", banned, kind=kind)
        yield case(f"huge, {kind}", huge, kind=kind)
    yield case("gradient", 2 * randn(rng, 1, 1, 4), kind="gradient")
    yield case("gradient, infinity", x.where(torch.tensor(PADDED).bool()[..., None], INF), PADDED, kind="gradient")
    yield case("gradient, none True", x, [[0] * 5] * 3, kind="gradient")
    yield case("bfloat16", 40 + 3 * randn(rng, 1, 2, 6), dtype=BRAIN)


def run(kata, case):
    function, kind = getattr(kata, case.of), getattr(case, "kind", "value")
    if kind == "refuses":
        wrong = WRONG[case.of, case.wrong]
        return {"refused": [refused(function, replaced(case.given, case.of, case.wrong, each)) for each in wrong]}
    given = [x.clone() if isinstance(x, torch.Tensor) else x for x in case.given]
    floats = [x for x in given if isinstance(x, torch.Tensor) and x.is_floating_point()]
    if kind == "cost":
        return cost(function, case)
    if kind == "after":
        function(*given)
        return {"after": [Pairs(a, b) for a, b in zip(given, case.given, strict=True) if isinstance(a, torch.Tensor)]}
    for leaf in floats if kind in ("gradient", "graphs") else ():
        leaf.requires_grad_()
    got = function(*given)
    if kind == "graphs":
        got = list(got) if isinstance(got, tuple | list) else [got]
        return {"graphs": [x.requires_grad for x in got], "moves": moves(got[0], floats)}
    got = got if getattr(case, "pick", None) is None else got[case.pick]
    if kind == "gradient":
        gradient = gradients(got, floats[:1])[0] if got.requires_grad else None
        return {"value": finite(got), "gradient": finite(gradient)}
    if kind == "scale":
        return scale(got, case.given[1])
    got = got - given[1] if getattr(case, "pick", 0) and case.of == "gae" else got
    return {"result": finite(got if getattr(case, "only", None) is None else got.where(case.only, 0.0))}


def refused(function, given):
    """Whether a call gives a ValueError. What it does instead depends on how it is written."""
    try:
        function(*given)
    except NotImplementedError:
        raise
    except Exception as error:
        return isinstance(error, ValueError)
    return False


def gradients(got, leaves):
    found = torch.autograd.grad(got.sum(), leaves, allow_unused=True)
    return [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)]


def moves(got, leaves):
    """Which of the arguments a gradient reaches."""
    return [bool(g.any()) for g in gradients(got, leaves)] if got.requires_grad else []


def finite(value):
    """The value, or a word if it has an infinity or NaN: which of them, and where, depends on how it is written."""
    return value if not isinstance(value, torch.Tensor) or value.isfinite().all() else "not finite"


def scale(got, mask):
    """The result divided by its length, and its mean square: 1 for a division by n and for one by n - 1."""
    n, total = max(int(mask.sum()), 1), got.double().square().sum()
    if not total > 1e-12:
        return {"direction": "none" if total == total else "not finite", "size": 0.0}
    right = bool(((total - torch.tensor([n, n - 1])).abs() < 1e-3 * n).any())
    centred = (got - got[mask].mean() if n > 12 else got).where(mask, got)  # far from 0 the mean is not exact
    return {
        "direction": finite(centred / total.sqrt().to(got.dtype)),
        "size": 1.0 if right else round(float(total / n), 3 if n < 99 else 1),
    }


def cost(function, case):
    """Whether the operators grow with the batch, or by more than 12 a step with the length."""
    counts = []
    for batch, length in ((1, 1), (6, 1), (1, 6)):
        given = [spread(x, batch, length) if isinstance(x, torch.Tensor) else x for x in case.given]
        with measure() as spent:
            function(*given)
        counts.append(spent.operators)
    return {"batch": counts[1] > counts[0] + 3, "length": counts[2] > counts[0] + (180 if case.of == "gae" else 3)}


def spread(x, batch, length):
    """x repeated in both dimensions; what has one dimension has no length."""
    return x.repeat(batch, *([length] if x.dim() > 1 else []), *[1] * (x.dim() - 2))
