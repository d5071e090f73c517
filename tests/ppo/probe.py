"""What can be seen of the parts of PPO: values, gradients, what is refused, and what they cost."""

from functools import partial

import torch

from dojo.testing import randn
from dojo.testing.cost import measure
from dojo.testing.evidence import copied, finite, refused, unchanged
from dojo.testing.probes import Case
from dojo.testing.sampling import uniform

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
EMPTY, NONE, MASK = [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 1, 1]], [[0] * 5] * 3, torch.tensor(PADDED).bool()
MASKS = {"one": [[1]], "three": [[1] * 3], "padded": PADDED, "holes": HOLES, "empty": EMPTY}
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
    right = arguments(rng)
    for of, given in right.items():
        yield from (look(of, kind, given, kind) for kind in ("after", "graphs", "cost"))
    for (of, name), wrong in WRONG.items():
        for part in [[each] for each in wrong] if name in NUMBERS else [wrong]:  # all shapes together
            calls = [replaced(right[of], of, name, each) for each in part]
            yield look(of, f"wrong {name} {part}", calls, "refused")


def look(of, name, given, kind="value", pick=None, only=None):
    """A case: what is seen of a call, or of one of its two results, or where `only` is True."""
    return Case(f"{of}: {name}", of=of, given=given, kind=kind, pick=pick, only=only)


def rewards(rng):
    def case(name, mask, beta=0.3, agree=False, junk=None, dtype=DOUBLE, divided=1):
        mask = torch.tensor(mask).bool()
        x, y = (4 * randn(rng, *mask.shape) - 90 for _ in range(2))
        x, y = (x, y / divided) if junk is None else (x.where(mask, junk), y.where(mask, junk))
        given = [z.to(dtype) for z in (randn(rng, len(mask)) * agree, x, x.clone() if agree else y)]
        return look("token_rewards", name, [*given, mask, beta])

    for name, agree in (("score", True), ("penalty", False)):
        for where, mask in MASKS.items():
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
        given = [x.to(dtype), y.to(dtype), dones, last.to(dtype), gamma, lam]
        return look("gae", name, given, pick=pick, only=None if junk is None else before)

    for pick, name in enumerate(("advantage", "return")):
        yield from (case(f"{name} of {dones}", dones, pick=pick) for dones in ([[0]], [[1]], [[0, 0, 0]]))
        yield case(f"{name} of bfloat16", [[0, 0, 1]], pick=pick, dtype=BRAIN)
    for gamma, lam in ((0.9, 0.0), (0.9, 1.0), (0.0, 0.8), (1.0, 1.0)):
        yield case(f"gamma={gamma}, lam={lam}", [[0, 0, 0, 0]], gamma, lam)
    for dones in ([[0, 0, 1]], [[0, 1, 0, 0]], [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]):
        yield case(f"ends {dones}", dones)
    yield case("an end at first, lam=0", [[1, 0]], lam=0.0)
    for junk in (7e5, NAN):
        yield case(f"{junk} after the end", [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]], junk=junk)


def whitened(rng):
    full, x, rows = [[1] * 8], randn(rng, 3, 5), 3 * randn(rng, 3, 8) + 5 * randn(rng, 3, 1)
    near = 3 * randn(rng, 1, 1) * torch.tensor([[1, -1, 2, -2, 3, -3, 4, -4]])
    given = {"all": (rows[:1], full), "centred": (near, full), "rows": (rows, full * 3), "padded": (x, PADDED)}
    given |= {"NaN": (x.where(MASK, NAN), PADDED), "one": (x, [*NONE[:2], [0, 0, 1, 0, 0]]), "none": (x, NONE)}
    given |= {"equal": (x * 0 + x[0, 0], [[1] * 5] * 3), "tiny": (1e-4 * torch.tensor([[1, -1] * 50]), [[1] * 100])}
    given |= {"far": ((1e4 + randn(rng, 1, 16)).to(SINGLE), [[1] * 16]), "half": ((99 + 8 * rows).to(BRAIN), full * 3)}
    for name, (x, mask) in given.items():
        yield look("whiten", name, [x, torch.tensor(mask).bool().view(x.shape)], "scale")


def losses(rng):
    def case(of, name, columns, mask=None, clip=(), dtype=DOUBLE, pick=0, kind="value"):
        mask = torch.ones(1, 1).bool() if mask is None else torch.tensor(mask).bool()
        columns = [torch.as_tensor(x, dtype=DOUBLE).view(mask.shape).to(dtype) for x in columns]
        return look(of, name, [*columns, mask, *clip], kind, pick if of == POLICY else None)

    def near(x):
        return uniform(rng, 1, 1.05, 1) * x

    for name, (ratio, sign) in SIDES.items():
        old, size = -2 + randn(rng, 1), near(1.5)
        token = old + near(ratio).log() * (ratio != 1), old, sign * size
        yield from (case(POLICY, f"loss, {name}, clip{clip}", token, clip=clip) for clip in ((), (0.4,)))
        yield case(POLICY, f"share, {name}", token, pick=1)
        yield case(POLICY, f"gradient, {name}", token, kind="gradient")
    for name, (log_ratio, sign) in HUGE.items():
        yield case(POLICY, f"huge, {name}", ([log_ratio], [0.0], sign * near(1)), kind="finite")
    yield case(POLICY, "large, bad", ([13.0], [0.0], near(-1)), kind="graphs")
    yield case(POLICY, "bfloat16, difference", ([-1.0078125], [-4.0], near(-1)), dtype=BRAIN)
    for name, (value, target) in VALUES.items():
        old = 2 * randn(rng, 1)
        token = old + near(value), old, old + target
        yield from (case("value_loss", f"{name}, clip{x}", token, clip=x) for x in ((), (0.3,), (None,)))
        yield case("value_loss", f"gradient, {name}", token, kind="gradient")
    yield case("value_loss", "large, float16", [300 + 9 * randn(rng, 1), [0.0], [-300.0]], dtype=HALF)
    for of, pick in ((POLICY, 0), (POLICY, 1), ("value_loss", 0)):
        x = [0.6 * randn(rng, 3, 5) for _ in range(3)]
        filled = [y.where(MASK, NAN) for y in x]
        yield case(of, f"row, {pick}", [y[:1] for y in x], [[1] * 5], pick=pick)
        given = {"rows": (x, [[1] * 5] * 3), "padded": (x, PADDED), "NaN": (filled, PADDED), "none": (x, NONE)}
        yield from (case(of, f"{name}, {pick}", *columns, pick=pick) for name, columns in given.items())
        yield case(of, f"bfloat16, {pick}", [y - 3 for y in x], PADDED, pick=pick, dtype=BRAIN)
        given = {"NaN in the first": ([filled[0], *x[1:]], PADDED), "NaN in the third": ([*x[:2], filled[2]], PADDED)}
        for name, columns in (given | {"none": (x, NONE)}).items() if not pick else ():
            yield case(of, f"gradient, {name}", *columns, kind="gradient")


def entropies(rng):
    one, rows, x = 2 * randn(rng, 1, 1, 5), 2 * randn(rng, 2, 3, 4), 2 * randn(rng, 3, 5, 4)
    sure = torch.tensor([18.0, 0, 0, 0]) + 0.1 * x[:1, :1]
    banned, huge = torch.tensor([0, 0, -INF, 0]) + x[:1, :1], torch.tensor([9000.0, 0, 9000.0, -9000]) + x[:1, :1]
    masked = {"padded": (x, PADDED), "infinity": (x.where(MASK[..., None], INF), PADDED), "none": (x, NONE)}
    masked |= {"one": (one, [[1]]), "banned": (banned, [[1]]), "huge": (huge, [[1]])}
    plain = {"normalised": (one.log_softmax(-1), [[1]]), "positions": (rows[:1], [[1] * 3]), "sure": (sure, [[1]])}
    plain |= {"rows": (rows, [[1] * 3] * 2), "bfloat16": ((40 + x[:1]).to(BRAIN), [[1] * 5])}
    for kind, table in (("value", masked | plain), ("gradient", masked)):
        for name, (logits, mask) in table.items():
            yield look("entropy", f"{kind}, {name}", [logits, torch.tensor(mask).bool()], kind)


def run(kata, case):
    function, kind = getattr(kata, case.of), case.kind
    if kind == "refused":
        return {"refused": [refused(partial(function, *given)) for given in case.given]}
    given = copied(case.given)
    floats = [x for x in given if torch.is_tensor(x) and x.is_floating_point()]
    if kind == "cost":
        return cost(function, case)
    for leaf in floats if kind in ("gradient", "graphs", "finite") else ():
        leaf.requires_grad_()
    got = function(*given)
    if kind == "after":
        return {"after": unchanged(given, case.given)}
    if kind == "graphs":
        got = [got] if torch.is_tensor(got) else list(got)
        if case.of not in ("policy_loss", "value_loss", "entropy"):
            return {"graphs": any(x.requires_grad for x in got)}
        moves = [bool(gradient(got[0], leaf).any()) for leaf in floats] if got[0].requires_grad else []
        return {"trains": moves, "data": [x.requires_grad for x in got[1:]]}
    got = got if case.pick is None else got[case.pick]
    if kind in ("gradient", "finite"):
        slope = gradient(got, floats[0]) if got.requires_grad else "no graph"
        seen = {"value": finite(got), "gradient": finite(slope)}
        return seen if kind == "gradient" else {key: isinstance(each, str) for key, each in seen.items()}
    if kind == "scale":
        return scale(got, case.given[1])
    got = got - given[1] if case.pick and case.of == "gae" else got  # of the returns, what they add to the values
    return {"result": finite(got if case.only is None else got.where(case.only, 0.0))}


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
        given = [x[:1] if torch.is_tensor(x) else x for x in case.given]
        sizes = [[batch, length, 1][: x.dim()] if torch.is_tensor(x) else None for x in given]
        given = [x.repeat(size) if size else x for x, size in zip(given, sizes, strict=True)]
        with measure() as spent:
            function(*given)
        counts.append(spent.operators)
    return {"batch": counts[1] > counts[0] + 3, "length": counts[2] > counts[0] + (180 if case.of == "gae" else 3)}
