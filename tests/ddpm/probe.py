"""What can be seen of a DDPM: the closed forms at many shapes, one step's mean, spread and mask, and the loop's path."""

from itertools import combinations

import torch

from dojo.testing import randn
from dojo.testing.probes import Case, Draws, Pairs

MANY = (40, 100)  # draws
MIXED = torch.tensor([0, 5, 3, 1, 4, 2])
ONES = torch.ones(40, dtype=torch.int64)


def cases(rng):
    betas = torch.tensor([0.1, 0.3, 0.4, 0.6, 0.7, 0.95], dtype=torch.float64)
    betas = betas + 0.03 * (2 * torch.rand(6, generator=rng, dtype=torch.float64) - 1)
    for case in several(rng, betas):
        case.betas = getattr(case, "betas", betas)
        yield case


def several(rng, betas):
    fine = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    for of in ("q_sample", "predict_x0", "q_posterior", "p_sample"):
        for shape in ((6,), (6, 6), (6, 2, 3, 4)):
            x, y = 2 * randn(rng, 2, *shape)
            yield Case(f"{of} {list(shape)}", of=of, kind="value", x=x, y=y, t=MIXED)
        x, y = randn(rng, 2, 1, 2, 3)
        yield Case(f"{of} of one", of=of, kind="value", x=x, y=y, t=torch.tensor([3]))
        x, y = randn(rng, 2, 3, 4)
        t = torch.tensor([0, 1, 300])
        yield Case(f"{of} float32", of=of, kind="value", x=x.float(), y=y.float(), t=t, betas=fine)
        zero, one = torch.zeros(3, 4).bfloat16(), positive(rng, 3, 4).bfloat16()  # sums that cannot cancel
        yield Case(f"{of} half", of=of, kind="value", x=zero, y=one, t=torch.tensor([0, 1, 2]), betas=fine)
        yield Case(f"{of} t of [1]", of=of, kind="value", x=x, y=y, t=t[:1])
    x, y = 3 * randn(rng, 2, 6, 4)
    wrong = {"variance": "fixed_small"}
    yield Case("p_sample fixed_small", of="p_sample", kind="value", x=x, y=y, t=MIXED, options=wrong)
    for variance in ("posterior", "beta"):
        name, options = f"p_sample {variance}", {"variance": variance, "clip_x0": False}
        yield Case(name, of="p_sample", kind="value", x=x, y=y, t=MIXED, options=options)
        yield Case(f"{name} spread", of="p_sample", kind="spread", x=randn(rng, 1) / 4, options=options)
        wide, eps = randn(rng, 2, 6, 400)
        yield Case(f"{name} rows", of="p_sample", kind="rows", x=wide, y=eps, options=options)
    yield Case("p_sample default spread", of="p_sample", kind="spread", x=randn(rng, 1) / 4, options={})
    plain, late = {"x": x, "y": y, "t": MIXED}, {"x": x[1:], "y": y[1:], "t": MIXED[1:]}
    half = {"x": zero, "y": one, "t": torch.tensor([0, 0, 0])}
    for name, options, inputs in (
        ("clipped", {"clip_x0": True}, plain),
        ("clipped, t > 0", {"clip_x0": True}, late),
        ("clipped, beta", {"clip_x0": True, "variance": "beta"}, plain),
        ("Beta", {"variance": "Beta"}, plain),
        ("beta, half", {"variance": "beta"}, half),
    ):
        yield Case(f"p_sample {name}", of="p_sample", kind="value", options=options, **inputs)
    yield Case("p_sample calls", of="p_sample", kind="calls", x=x, y=y)
    yield Case("p_sample generator", of="p_sample", kind="generator", x=x)
    point = 2 + randn(rng, 100) / 4
    for kind in ("path", "generator", "kind", "noises", "difference"):
        yield Case(f"p_sample_loop {kind}", of="p_sample_loop", kind=kind, point=point)


def positive(rng, *shape):
    return 0.5 + torch.rand(*shape, generator=rng, dtype=torch.float64)


def run(kata, case):
    with torch.enable_grad():  # also after a loop that has left gradients off
        return globals()[f"see_{case.kind}"](kata, case)


def see_value(kata, case):
    """Outputs (of a step: its mean, by cancelling the noise), gradients, and the arguments afterwards."""
    x, y = case.x.clone().requires_grad_(), case.y.clone().requires_grad_()
    t, betas = case.t.clone(), case.betas.clone()
    before = torch.random.get_rng_state()
    abar = (1 - betas).cumprod(0)
    if case.of == "p_sample":
        options = getattr(case, "options", {})

        def step(x, y):
            generator = torch.Generator().manual_seed(3)
            torch.default_generator.manual_seed(3)
            return kata.p_sample(lambda *_: y.clone(), x, t, betas, generator=generator, **options)

        with torch.no_grad():
            return {"mean": step(x, y) - step(x * 0, y * 0), "after": [x, y, t, betas]}
    if case.of == "q_posterior":
        out, variance = kata.q_posterior(x, y, t, betas)
    else:
        out, variance = getattr(kata, case.of)(x, t, y, abar), x * 0
    untouched = Pairs(before, torch.random.get_rng_state())
    seen = {"out": out, "variance": variance.expand(x.shape), "after": [x, y, t, betas, abar], "untouched": untouched}
    return {**seen, "gradients": torch.autograd.grad(out.sum(), [x, y]) if out.requires_grad else "none"}


def see_spread(kata, case):
    x = torch.zeros(MANY, dtype=torch.float64) + case.x
    return {"x": histogram(kata.p_sample(lambda x, t: x * 0, x, ONES, case.betas, **case.options), 0.4)}


def histogram(x, width):
    """In 16 bins around 0, each half of `width` wide; NaN goes to the first."""
    return Draws((x / width * 2 + 8).nan_to_num(-1).floor().clamp(0, 15).long(), 16)


def signs(a, b):
    """The signs of both, together: noises of their own meet in all four ways alike."""
    return Draws((2 * (a > 0) + (b > 0)).flatten(), 4)


def see_rows(kata, case):
    """Rows without noise are the same twice; two rows, or two places in one, do not share theirs."""
    first, second = (kata.p_sample(lambda *_: case.y, case.x, MIXED, case.betas, **case.options) for _ in range(2))
    noise = second - first
    alike = {"rows": signs(noise[1], noise[3]), "within": signs(noise[1, ::2], noise[1, 1::2])}
    return {"noisy": Pairs(first, second, rows=True), "certain": first[(first == second).all(-1)], "alike": alike}


def see_calls(kata, case):
    calls = []
    kata.p_sample(lambda x, t: calls.append([x.clone(), t.clone()]) or case.y[: len(x)], case.x, MIXED, case.betas)
    return {"calls": calls}


def see_generator(kata, case):
    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        if case.of == "p_sample":
            return kata.p_sample(lambda x, t: x * 0, case.x, MIXED, case.betas, generator=generator).clone()
        shown = []
        end = kata.p_sample_loop(lambda x, t: shown.append(x) or x * 0, (2, 3), case.betas, generator=generator)
        return torch.stack([shown[0], end])  # from where, to where

    before = torch.random.get_rng_state()
    first, again, other = sample(1), sample(1), sample(2)
    untouched = Pairs(before, torch.random.get_rng_state())
    return {"repeats": Pairs(first, again, rows=True), "differs": Pairs(first, other), "untouched": untouched}


def see_path(kata, case):
    """For data that are one point the denoiser is known: what the model is shown on the way, and where it ends."""
    calls, bar, bars = [], [], []
    abar = (1 - case.betas).cumprod(0)

    def model(x, t):
        calls.append((x.clone(), t.clone()))
        a = abar[t][:, None]
        return (x - a.sqrt() * case.point) / (1 - a).sqrt()

    def progress(steps):
        bars.append(1)
        for step in steps:
            bar.append([int(step), len(calls)])
            yield step

    end = kata.p_sample_loop(model, MANY, case.betas, progress=progress)
    seen = {
        "t": [t[:2] for _, t in calls],
        "bar": bar,
        "bars": len(bars),
        "end": end if end.std(0).max() < 1e-3 else histogram(end, 0.4),
    }
    return {**seen, "path": [histogram(x - case.point * abar[t[0]].sqrt(), 0.8) for x, t in calls]}


def see_kind(kata, case):
    """The loop's dtypes, shape and gradients, for a model with a parameter."""
    weight, shown, recorded, after = torch.tensor(0.1, requires_grad=True), [], [], []

    def model(x, t):
        shown.append(x)
        recorded.append([x.requires_grad, (weight * x).requires_grad])
        return weight * x

    ends = [kata.p_sample_loop(model, (2, 3), betas) for betas in (case.betas.float(), case.betas)]
    for before in (True, False):
        with torch.set_grad_enabled(before):
            kata.p_sample_loop(lambda x, t: x * 0, (2, 3), case.betas)
            after.append(torch.is_grad_enabled())
    dtypes = [str(x.dtype) for x in shown + ends]
    graph = {"recorded": recorded, "end": ends[0].requires_grad, "gradients afterwards": after}
    return {"dtypes": dtypes, "shape": list(ends[0].shape), **graph}


def see_noises(kata, case):
    """Whether two steps of the loop add the same noise: the model says none, so it is what their means leave."""
    shown = []
    kata.p_sample_loop(
        lambda x, t: shown.append(x.clone()) or x * 0, MANY, case.betas, generator=torch.Generator().manual_seed(1)
    )
    alpha = (1 - case.betas).sqrt().flip(0)
    noises = [after - before / a for before, after, a in zip(shown, shown[1:], alpha, strict=False)]
    return {"pairs": [signs(a, b) for a, b in combinations(noises, 2)]}


def see_difference(kata, case):
    """With equal noise, what the model says moves every later x by a known amount."""

    def path(size):
        shown, eps = [], case.point[:6].reshape(2, 3) * size
        torch.default_generator.manual_seed(3)
        model = lambda x, t: shown.append(x.clone()) or eps * (1 + t[:, None])  # noqa: E731
        end = kata.p_sample_loop(model, (2, 3), case.betas, generator=torch.Generator().manual_seed(3))
        return torch.stack([*shown, end])

    return {"moved": path(1.0) - path(0.0)}
