"""What can be seen of the parts of PPO: values, gradients, what is refused, and what they cost."""

import torch

from dojo.testing import randn
from dojo.testing.cost import measure
from dojo.testing.evidence import finite, refused
from dojo.testing.probes import Case, Pairs

NAN, INF = float("nan"), float("inf")
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
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
EMPTY, MASK = [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1]], torch.tensor(PADDED).bool()
# ratio and sign of the advantage; value and return, where the old value is 0
POLICY = "policy_loss"
SIDES = {"up, good": (1.6, 1), "up, bad": (1.6, -1), "down, good": (0.5, 1), "down, bad": (0.5, -1)}
SIDES |= {"inside, good": (1.1, 1), "inside, bad": (0.9, -1), "one, good": (1.0, 1), "up, zero": (1.6, 0)}
HUGE = {"up, good": (1e4, 1), "up, zero": (1e4, 0), "down, good": (-1e4, 1), "down, bad": (-1e4, -1)}
VALUES = {"passed": (1.0, 0.7), "ahead": (1.0, 2.0), "back": (1.0, -1.0), "fell": (-1.0, -0.7), "inside": (0.1, 1.0)}


def arguments(rng):
    """For each function one right call with batch 2 and length 3. Whatever the seed, all three arguments of a loss have an
    influence on it: no token of the policy is clipped; of the values two are, and two are not."""
    x, mask = [randn(rng, 2, 3) for _ in range(3)], torch.tensor([[1, 1, 0], [0, 1, 1]]).bool()
    done, last = torch.tensor([[0, 1, 0], [0, 0, 0]]).bool(), randn(rng, 2)
    calls = [[last, *x[:2], mask, 0.3], [*x[:2], done, last, 0.9, 0.8], [x[0], mask]]
    calls += [[x[0], x[0] + 0.1, x[1], mask, 0.2]]
    calls += [[x[0], x[0] + torch.tensor([[-1.0, 1, 0], [0, -1, 1]]), x[0] + 0.5, mask, 0.2]]
    return dict(zip(NAMES, [*calls, [randn(rng, 2, 3, 5), mask]], strict=True))


def replaced(given, function, name, wrong):
    """The call with one argument of a wrong shape, or a wrong number."""
    place = NAMES[function].index(name)
    other = torch.ones(wrong, dtype=given[place].dtype) if isinstance(wrong, tuple) else wrong
    return [*given[:place], other, *given[place + 1 :]]


def cases(rng):
    for part in (rewards, episodes, whitened, losses, entropies):
        yield from part(rng)
    for function, given in arguments(rng).items():
        for kind in ("after", "graphs", "cost"):
            yield Case(f"{function}: {kind}", of=function, kind=kind, given=given)
        for (of, name), wrong in WRONG.items():
            parts = [[each] for each in wrong] if name in NUMBERS else [wrong]  # all shapes together
            for part in parts if of == function else ():
                calls = [replaced(given, of, name, each) for each in part]
                yield Case(f"{of}: wrong {name} {part}", of=of, kind="refuses", calls=calls)


def rewards(rng):
    def case(name, mask, beta=0.3, agree=False, junk=None, dtype=DOUBLE, divided=1):
        mask = torch.tensor(mask).bool()
        x, y = (4 * randn(rng, *mask.shape) - 90 for _ in range(2))
        x, y = (x, y / divided) if junk is None else (x.where(mask, junk), y.where(mask, junk))
        given = [z.to(dtype) for z in (randn(rng, len(mask)) * agree, x, x.clone() if agree else y)]
        return Case(f"rewards: {name}", of="token_rewards", given=[*given, mask, beta])

    for name, agree in (("score", True), ("penalty", False)):
        for where, mask in {"one": [[1]], "three": [[1] * 3], "padded": PADDED, "holes": HOLES, "empty": EMPTY}.items():
            yield case(f"{name}, {where}", mask, agree=agree)
        yield case(f"{name}, bfloat16", [[1, 1, 1]], agree=agree, dtype=BRAIN)
    yield case("-90 against -1, bfloat16", [[1, 1, 1]], dtype=BRAIN, divided=80)
    yield case("beta=0", [[1, 1, 1]], beta=0.0)
    yield case("NaN", PADDED, junk=NAN)


def episodes(rng):
    def case(name, dones, gamma=0.9, lam=0.8, junk=None, pick=0, dtype=DOUBLE):
        dones = torch.tensor(dones).bool()
        x, y, last = randn(rng, *dones.shape), 3 * randn(rng, *dones.shape), 5 * randn(rng, len(dones))
        before = dones.cumsum(1) - dones.int() == 0
        if junk is not None:
            x, y, last = x.where(before, junk), y.where(before, junk), last * 0 + junk
        given, only = (
            [x.to(dtype), y.to(dtype), dones, last.to(dtype), gamma, lam],
            before if junk is not None else None,
        )
        return Case(f"gae: {name}", of="gae", given=given, pick=pick, only=only)

    for pick, name in enumerate(("advantage", "return")):
        for ends, dones in {"one step": [[0]], "one last step": [[1]], "three steps": [[0, 0, 0]]}.items():
            yield case(f"{name} of {ends}", dones, pick=pick)
        yield case(f"{name} of bfloat16", [[0, 0, 1]], pick=pick, dtype=BRAIN)
    for gamma, lam in ((0.9, 0.0), (0.9, 1.0), (0.0, 0.8), (1.0, 1.0)):
        yield case(f"gamma={gamma}, lam={lam}", [[0, 0, 0, 0]], gamma, lam)
    yield case("an end", [[0, 0, 1]])
    yield case("an end in the middle", [[0, 1, 0, 0]])
    yield case("an end at first, lam=0", [[1, 0]], lam=0.0)
    yield case("rows", [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]])
    for junk in (7e5, NAN):
        yield case(f"{junk} after the end", [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]], junk=junk)


def whitened(rng):
    full, x = [[1] * 8], randn(rng, 3, 5)
    near = 3 * randn(rng, 1, 1) * torch.tensor([[1, -1, 2, -2, 3, -3, 4, -4]])
    rows = 3 * randn(rng, 3, 8) + 5 * randn(rng, 3, 1)
    given = {
        "all": (3 * randn(rng, 1, 8), full),
        "centred": (near, full),
        "rows": (rows, full * 3),
        "padded": (x, PADDED),
    }
    given |= {
        "NaN": (x.where(MASK, NAN), PADDED),
        "one": (x, [[0] * 5, [0, 0, 1, 0, 0], [0] * 5]),
        "none": (x, [[0] * 5] * 3),
    }
    given |= {"equal": (x * 0 + x[0, 0], [[1] * 5] * 3), "tiny": (1e-4 * torch.tensor([[1, -1] * 50]), [[1] * 100])}
    given |= {"far": ((1e4 + randn(rng, 1, 16)).to(SINGLE), [[1] * 16]), "half": ((99 + 8 * rows).to(BRAIN), full * 3)}
    for name, (x, mask) in given.items():
        yield Case(f"whiten: {name}", of="whiten", kind="scale", given=[x, torch.tensor(mask).bool().view(x.shape)])


def losses(rng):
    def case(of, name, columns, mask=None, clip=(), dtype=DOUBLE, pick=0, kind="value"):
        mask = torch.ones(1, 1).bool() if mask is None else torch.tensor(mask).bool()
        columns = [torch.as_tensor(x, dtype=DOUBLE).view(mask.shape).to(dtype) for x in columns]
        return Case(
            f"{of}: {name}", of=of, given=[*columns, mask, *clip], kind=kind, pick=pick if of == POLICY else None
        )

    def near(x):
        return x * (1 + 0.05 * torch.rand((), generator=rng, dtype=DOUBLE))

    for name, (ratio, sign) in SIDES.items():
        old, size = -2 + randn(rng, 1), near(torch.tensor(1.5))
        token = old + near(torch.tensor(ratio).double()).log() * (ratio != 1), old, sign * size
        yield case(POLICY, f"loss, {name}", token)
        yield case(POLICY, f"share, {name}", token, pick=1)
        yield case(POLICY, f"gradient, {name}", token, kind="gradient")
        yield case(POLICY, f"loss at clip=0.4, {name}", token, clip=(0.4,))
    for name, (log_ratio, sign) in HUGE.items():
        yield case(POLICY, f"huge, {name}", ([log_ratio], [0.0], sign * near(torch.ones(1))), kind="finite")
    yield case(POLICY, "large, bad", ([13.0], [0.0], near(-torch.ones(1))), kind="graphs")
    yield case(POLICY, "bfloat16, difference", ([-1.0078125], [-4.0], near(-torch.ones(1))), dtype=BRAIN)
    for name, (value, target) in VALUES.items():
        old = 2 * randn(rng, 1)
        token = old + near(value), old, old + target
        for clip in ((), (0.3,), (None,)):
            yield case("value_loss", f"{name}, clip{clip}", token, clip=clip)
        yield case("value_loss", f"gradient, {name}", token, kind="gradient")
    yield case("value_loss", "large, float16", [300 + 9 * randn(rng, 1), [0.0], [-300.0]], dtype=HALF)
    for of, pick in ((POLICY, 0), (POLICY, 1), ("value_loss", 0)):
        x, none = [0.6 * randn(rng, 3, 5) for _ in range(3)], [[0] * 5] * 3
        filled = [y.where(MASK, NAN) for y in x]
        yield case(of, f"row, {pick}", [y[:1] for y in x], [[1] * 5], pick=pick)
        for name, columns, mask in (
            ("rows", x, [[1] * 5] * 3),
            ("padded", x, PADDED),
            ("NaN", filled, PADDED),
            ("none", x, none),
        ):
            yield case(of, f"{name}, {pick}", columns, mask, pick=pick)
        yield case(of, f"bfloat16, {pick}", [y - 3 for y in x], PADDED, pick=pick, dtype=BRAIN)
        if not pick:
            yield case(of, "gradient, NaN in the first", [filled[0], *x[1:]], PADDED, kind="gradient")
            yield case(of, "gradient, NaN in the third", [*x[:2], filled[2]], PADDED, kind="gradient")
            yield case(of, "gradient, none", x, none, kind="gradient")


def entropies(rng):
    one, rows, x = 2 * randn(rng, 1, 1, 5), 2 * randn(rng, 2, 3, 4), 2 * randn(rng, 3, 5, 4)
    sure = torch.tensor([18.0, 0, 0, 0]) + 0.1 * x[:1, :1]
    infinite, none = x.where(MASK[..., None], INF), [[0] * 5] * 3
    banned, huge = torch.tensor([0, 0, -INF, 0]) + x[:1, :1], torch.tensor([9000.0, 0, 9000.0, -9000]) + x[:1, :1]
    given = {
        "one": one,
        "normalised": one.log_softmax(-1),
        "positions": rows[:1],
        "rows": rows,
        "bfloat16": (40 + x[:1]).to(BRAIN),
    }
    for name, logits, mask in (("padded", x, PADDED), ("infinity", infinite, PADDED), ("none", x, none)):
        yield Case(f"entropy: {name}", of="entropy", given=[logits, torch.tensor(mask).bool()])
        yield Case(
            f"entropy: gradient, {name}", of="entropy", kind="gradient", given=[logits, torch.tensor(mask).bool()]
        )
    for name, logits in (given | {"banned": banned, "huge": huge, "sure": sure}).items():
        kinds = ("value", "gradient") if name in ("one", "banned", "huge") else ("value",)
        for kind in kinds:
            given = [logits, torch.ones(logits.shape[:-1]).bool()]
            yield Case(f"entropy: {kind}, {name}", of="entropy", kind=kind, given=given)


def run(kata, case):
    function, kind = getattr(kata, case.of), getattr(case, "kind", "value")
    if kind == "refuses":
        return {"refused": [refused(lambda call=call: function(*call)) for call in case.calls]}
    given = [x.clone() if isinstance(x, torch.Tensor) else x for x in case.given]
    floats = [x for x in given if isinstance(x, torch.Tensor) and x.is_floating_point()]
    if kind == "cost":
        return cost(function, case)
    for leaf in floats if kind in ("gradient", "graphs", "finite") else ():
        leaf.requires_grad_()
    got = function(*given)
    if kind == "after":
        return {"after": [Pairs(a, b) for a, b in zip(given, case.given, strict=True) if isinstance(a, torch.Tensor)]}
    if kind == "graphs":
        got = list(got) if isinstance(got, tuple | list) else [got]
        if case.of not in ("policy_loss", "value_loss", "entropy"):
            return {"graphs": any(x.requires_grad for x in got)}
        moves = [bool(gradient(got[0], leaf).any()) for leaf in floats] if got[0].requires_grad else []
        return {"trains": moves, "data": [x.requires_grad for x in got[1:]]}
    got = got if getattr(case, "pick", None) is None else got[case.pick]
    if kind in ("gradient", "finite"):
        slope = gradient(got, floats[0]) if got.requires_grad else "no graph"
        seen = {"value": finite(got), "gradient": finite(slope)}
        return seen if kind == "gradient" else {key: isinstance(each, str) for key, each in seen.items()}
    if kind == "scale":
        return scale(got, case.given[1])
    got = got - given[1] if getattr(case, "pick", 0) and case.of == "gae" else got
    return {"result": finite(got if getattr(case, "only", None) is None else got.where(case.only, 0.0))}


def gradient(got, leaf):
    (slope,) = torch.autograd.grad(got.sum(), leaf, allow_unused=True, retain_graph=True)
    return torch.zeros_like(leaf) if slope is None else slope


def scale(got, mask):
    """The result divided by its length, and its mean square: 1 for a division by n and for one by n - 1."""
    n, total = max(int(mask.sum()), 1), got.double().square().sum()
    if not total > 1e-12:
        return {"direction": "none" if total == total else "not finite", "size": 0.0}
    size = 1.0 if min(abs(total - n), abs(total - n + 1)) < 1e-3 * n else round(float(total / n), 3 if n < 99 else 1)
    centred = (got - got[mask].mean() if n == 16 else got).where(mask, got)  # far from 0 the mean is not exact
    return {"direction": finite(centred / total.sqrt().to(got.dtype)), "size": size}


def cost(function, case):
    """Whether the operators grow with the batch, or by more than 12 a step with the length."""
    counts = []
    for batch, length in ((1, 1), (6, 1), (1, 6)):
        tensors = [
            x[:1].repeat(batch, *[length, 1][: x.dim() - 1]) if isinstance(x, torch.Tensor) else x for x in case.given
        ]
        with measure() as spent:
            function(*tensors)
        counts.append(spent.operators)
    return {"batch": counts[1] > counts[0] + 3, "length": counts[2] > counts[0] + (180 if case.of == "gae" else 3)}
