"""What can be seen of flow matching: lines, times, what the loss shows a model and asks of it, and paths of the sampler.
The noise of the loss is not known: the gradient of the loss by the model's answer tells what the answer should have been."""

from functools import partial

import torch

from dojo.testing import randn
from dojo.testing.diffusion import column
from dojo.testing.evidence import attempted, copied, gradients, refused, unchanged
from dojo.testing.probes import Case, Draws, Pairs
from dojo.testing.sampling import uniform

INF, NAN = float("inf"), float("nan")
HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64
WRONG_TIMES = [(), (1,), (4,), (3, 1), (1, 3)]
WRONG_SHAPES = [(1, 2), (3, 1), (2,), (2, 3), (3,)]
DENSITIES = dict.fromkeys((None, "uniform", "logit_normal"), "draws own kind generator") | {"normal": "refusal"}
WRONG_SHIFTS = [0.0, -1.0, NAN, INF]
MODELS = {"constant": lambda x, t, c: c, "x": lambda x, t, c: x, "t": lambda x, t, c: column(t.to(x), x).expand_as(x)}
MODELS["t x"] = lambda x, t, c: column(t.to(x), x) * x
LOSSES = {"line": (256, 4), "images": (256, 1, 2, 2), "square": (9, 9), "scale": (5, 3), "calls": (4, 3)}
NOISES = {"noise": DOUBLE, "fresh": DOUBLE, "overflow": HALF, "rounded": BRAIN}  # where the data are 0


def cases(rng):
    for of, part in (("interpolate", 0), ("interpolate", 1), ("velocity_to_x0", None), ("velocity_to_noise", None)):
        yield from moves(rng, of, part)
    for of in ("sample_times", "flow_loss"):
        for density, sees in DENSITIES.items():
            for see in sees.split():
                given = {"options": {"density": density} if density else {}, "batch": int(uniform(rng, 5, 90, 1))}
                yield Case(f"{of} {density} {see}", of=of, kind="times", see=see, **given)
    for shape, shift in (((5,), uniform(rng, 2, 4, 1).item()), ((2, 3), 1 / 3), ((), 2.5), ((4,), 1.0)):
        yield call("shift_times", "value", f"{shape}", uniform(rng, 0.1, 0.9, *shape), shift)
    yield call("shift_times", "value", "of the ends", torch.tensor([0.0, 1.0], dtype=DOUBLE), 3.0)
    for see in ("value", "dtype", "after"):
        yield call("shift_times", see, "in bfloat16", torch.tensor([0.25, 0.5], dtype=BRAIN), 3.0)
    yield from (call("shift_times", "refusal", f"by {x}", uniform(rng, 0.1, 0.9, 3), x) for x in WRONG_SHIFTS)
    given = [(see, DOUBLE, 2 * randn(rng, *shape)) for see, shape in LOSSES.items()]
    given += [(see, dtype, torch.zeros(40, 60)) for see, dtype in NOISES.items()]
    given += [(see, dtype, torch.zeros(3, 2)) for see in ("dtype", "x dtype", "t dtype") for dtype in (BRAIN, DOUBLE)]
    yield from (Case(f"loss {see} {x}", of="flow_loss", kind="loss", see=see, x0=x0.to(x)) for see, x, x0 in given)
    yield path(rng, "default method", None)
    for method in ("euler", "heun"):
        for v in MODELS:
            yield path(rng, f"v = {v}", method, v=v)
            yield path(rng, f"v = {v}, shifted", method, v=v, steps=2, shift=uniform(rng, 2, 4, 1).item())
        yield path(rng, "one step", method, v="t x", steps=1)
        yield path(rng, "times", method, see="times", shift=uniform(rng, 0.5, 2, 1).item())
        for see in ("calls", "t shape", "start", "graph", "after", "twice"):
            yield path(rng, see, method, see=see)
        for dtype in (BRAIN, SINGLE, DOUBLE):
            for see in ("dtype", "x dtype", "t dtype") if (method, dtype) != ("heun", SINGLE) else ():
                yield path(rng, f"{see}, {dtype}", method, see=see, dtype=dtype, steps=2)
        yield path(rng, "small steps", method, v="constant", see="arrived", steps=16, dtype=BRAIN, size=64.0)
    yield from (path(rng, f"shift {shift}", None, see="refusal", shift=shift) for shift in WRONG_SHIFTS)
    yield from (path(rng, f"{steps} steps", None, see="refusal", steps=steps) for steps in (0, -1))
    yield path(rng, "refusal", "midpoint", see="refusal")


def call(of, see, name, *given, part=None):
    return Case(f"{of} {part}: {see} {name}", of=of, kind="call", see=see, part=part, given=list(given))


def moves(rng, of, part):
    def move(see, name, *shape, t=None, dtype=DOUBLE, sizes=(2, 2), other=None):
        a, b = (size * randn(rng, *each) for size, each in zip(sizes, (shape, other or shape), strict=True))
        t = uniform(rng, 0.1, 0.9, shape[0]) if t is None else t
        return call(of, see, name, a.to(dtype), b.to(dtype), t, part=part)

    yield from (move("value", f"{shape}", *shape) for shape in ((6,), (5, 5), (3, 2, 4, 5)))
    for sizes in ((1000, 0), (0, 1000)):
        yield move("value", f"near 1 {sizes}", 6, dtype=BRAIN, t=torch.full((6,), 0.9999), sizes=sizes)
    yield move("value", "narrow times", 6, t=torch.full((6,), 2.0**-12, dtype=BRAIN))
    yield from (move("dtype", f"{dtype}", 4, dtype=dtype) for dtype in (SINGLE, DOUBLE))
    yield from (move(see, "", 4) for see in ("slope", "after"))
    if part != 1:
        yield from (move("refusal", f"t {shape}", 3, 2, t=torch.full(shape, 0.5)) for shape in WRONG_TIMES)
        yield from (move("refusal", f"second {shape}", 3, 2, other=shape) for shape in WRONG_SHAPES)


def path(rng, name, method, *, v="x", see="end", steps=3, dtype=DOUBLE, size=None, **options):
    noise, c = randn(rng, 2, 3, 2, 2).to(dtype)
    noise, c = (noise, c) if size is None else (torch.full_like(noise, size), torch.ones_like(c))
    options |= {} if method is None else {"method": method}
    given = {"noise": noise, "c": c, "v": v, "steps": steps, "options": options}
    return Case(f"{method} {name}", of="sample", kind="path", see=see, **given)


def run(kata, case):
    look = partial({"call": see_call, "times": see_times, "loss": see_loss, "path": see_path}[case.kind], kata, case)
    return {case.see: refused(look) if case.see == "refusal" else attempted(look)}


def see_call(kata, case):
    given = copied(case.given)
    if case.see == "slope":
        given[:2] = [each.requires_grad_() for each in given[:2]]
    got = getattr(kata, case.of)(*given)
    got = got if case.part is None else got[case.part]
    looks = {"slope": lambda: gradients(got, given[:2]), "after": lambda: unchanged(given, case.given)}
    return (looks | {"dtype": lambda: kind(got)}).get(case.see, lambda: got.to(given[0].dtype))()


def kind(x):
    """Its dtype, and whether its numbers would fit into the next narrower one."""
    return [str(x.dtype), bool((x == x.to(SINGLE if x.dtype == DOUBLE else BRAIN)).all())]


def training(kata, x0, answer=0.0, **options):
    """The loss, the (x, t) that the model was shown, and the model's answer, which is a leaf."""
    shown, leaf = [], torch.full_like(x0, answer).requires_grad_()
    loss = kata.flow_loss(lambda x, t: shown.append((x.detach().clone(), t.clone())) or 1 * leaf, x0, **options)
    return loss, shown, leaf


def asked(loss, leaf):
    """The answer at which the loss is 0, and its curvature, both from its gradients by the answer."""
    (slope,) = torch.autograd.grad(loss, leaf, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), leaf)
    return (leaf - slope / curvature).detach(), curvature


def see_times(kata, case):
    """Of sample_times, or of the t that the loss gives to the model: eighths (0 and 9: outside), and what they depend on."""

    def times(batch, **options):
        if case.of == "sample_times":
            return kata.sample_times(batch, **case.options, **options)
        return training(kata, torch.zeros(batch, 2, dtype=SINGLE), **case.options, **options)[1][0][1]

    if case.see in ("draws", "refusal"):
        t = times(2000).flatten().double().nan_to_num(-1)
        eighths, many = (8 * t + 1).where(t != 1, 8).clamp(0, 9).long(), len(t.unique())
        return "one" if many == 1 else [Draws(eighths, 10), many > 1500]
    if case.see == "own":
        t, many = times(case.batch).flatten(), times(256).flatten().double().nan_to_num(0.5).sort().values
        level = torch.special.ndtr(many.logit(1e-9)) if "logit_normal" in case.options.values() else many
        strata, mirrored = len((256 * level).floor().unique()) >= 220, (level + level.flip(0) - 1).abs().max() <= 1e-3
        return [Pairs(t[1:], t[:-1]), strata, bool(mirrored)]
    if case.see == "kind":
        options = [{}] if case.of == "flow_loss" else [{}, {"dtype": DOUBLE}]
        return [[list(t.shape), str(t.dtype)] for t in (times(case.batch, **each) for each in options)]
    before = torch.random.get_rng_state()
    first, *others = (times(case.batch, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    return [*(Pairs(first, other) for other in others), Pairs(before, torch.random.get_rng_state())]


def see_loss(kata, case):
    x0 = case.x0.clone()
    loss, shown, leaf = training(kata, x0, 300.0 if case.see == "overflow" else 0.0)
    x, t = shown[0]
    looks = {
        "calls": lambda: [[[list(x.shape), list(t.shape)] for x, t in shown], loss.requires_grad, Pairs(x0, case.x0)],
        "overflow": lambda: loss.bfloat16(),
        "rounded": lambda: all(kind(training(kata, x0)[0])[1] for _ in range(6)),
        "dtype": lambda: str(loss.dtype),
        "x dtype": lambda: str(x.dtype),
        "t dtype": lambda: kind(t),
    }
    if case.see in looks:
        return looks[case.see]()
    target, curvature = asked(loss, leaf)
    if case.see == "scale":
        return [curvature * leaf.numel() / 2, loss.detach() / target.square().mean()]
    if case.see == "noise":  # the data are 0 in this case and the next
        return Draws((target * 2 + 8).nan_to_num(-1).clamp(0, 15).long(), 16)
    if case.see == "fresh":
        seeded = [training(kata, x0, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
        later, first, *others = (asked(*each[::2])[0] for each in (training(kata, x0), *seeded))
        alike = [Pairs(target[1:], target[:-1]), Pairs(target[:, 1:], target[:, :-1]), Pairs(target, later)]
        return alike + [Pairs(first, other) for other in others]
    return line(x0.flatten(1), target.flatten(1), x.flatten(1), t.flatten().double().expand(len(x0)))


def line(x0, target, x, t):
    """x_t as weights of x0 and of the answer that is asked for, at t = 0.25, 0.5, 0.75; or whether the answer is x0 alone."""
    if x.shape != x0.shape:
        return {"x": list(x.shape)}
    columns = torch.stack([x0, target], 2)  # [batch, numbers, 2]
    weights = torch.linalg.pinv(columns) @ x[..., None]
    fits = bool((columns @ weights - x[..., None]).abs().max() < 1e-5)
    factor = (x0 * target).sum() / (x0 * x0).sum()
    alone = factor if (target - factor * x0).abs().max() < 1e-6 else "no"
    order = t.argsort()
    t, weights, knots = t[order], weights[order, :, 0], torch.tensor([0.25, 0.5, 0.75], dtype=DOUBLE)
    if len(t) < 200 or not (fits and 0 <= t[0] < 0.25 and 0.75 < t[-1] <= 1):
        return {"fits": fits, "x0": alone}
    at = torch.searchsorted(t, knots)
    share = ((knots - t[at - 1]) / (t[at] - t[at - 1]))[:, None]
    return {"fits": fits, "x0": alone, "weights": torch.lerp(weights[at - 1], weights[at], share).bfloat16()}


def see_path(kata, case):
    noise, weight, calls = case.noise.clone(), torch.ones((), dtype=case.noise.dtype, requires_grad=True), []

    def model(x, t):
        v = weight * MODELS[case.v](x, t, case.c)
        calls.append((x.detach().clone(), t.clone(), v.requires_grad))
        return v

    def call():
        return kata.sample(model, noise, case.steps, **case.options)

    before, end = torch.random.get_rng_state(), call()
    if case.see == "refusal":
        return None
    moved, (xs, ts, graphs) = Pairs(before, torch.random.get_rng_state()), zip(*calls, strict=True)
    seen = {
        "end": lambda: end.float(),
        "arrived": lambda: bool((end == case.noise - 1).all()),
        "times": lambda: torch.stack([t.flatten()[0].float() for t in ts]),
        "calls": lambda: [list(x.shape) for x in xs],
        "t shape": lambda: [list(t.shape) for t in ts],
        "start": lambda: xs[0].float(),
        "graph": lambda: [end.requires_grad, any(graphs), torch.is_grad_enabled()],
        "after": lambda: Pairs(noise, case.noise),
        "twice": lambda: [moved, Pairs(end, call())],
        "dtype": lambda: kind(end),
        "x dtype": lambda: sorted({str(x.dtype) for x in xs}),
        "t dtype": lambda: sorted({str(t.dtype) for t in ts}),
    }
    return seen[case.see]()
