"""What can be seen of a DDPM: the closed forms at many shapes, one step's mean, spread and mask, and the loop's path."""

import torch

from dojo.probes import Case, Draws
from dojo.testing import randn

MANY = (40, 100)  # draws
BETAS = torch.tensor([0.1, 0.3, 0.4, 0.6, 0.7, 0.95], dtype=torch.float64)
MIXED = torch.tensor([0, 5, 3, 1, 4, 2])
ONES = torch.ones(40, dtype=torch.int64)


def cases(rng):
    fine = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    for of in ("q_sample", "predict_x0", "q_posterior", "p_sample"):
        for shape in ((6,), (6, 6), (6, 2, 3, 4)):
            x, y = 2 * randn(rng, 2, *shape)
            yield Case(f"{of} {list(shape)}", of=of, kind="value", x=x, y=y, t=MIXED, betas=BETAS)
        x, y = randn(rng, 2, 1, 2, 3)
        yield Case(f"{of} of one", of=of, kind="value", x=x, y=y, t=torch.tensor([3]), betas=BETAS)
        x, y = randn(rng, 2, 3, 4)
        t = torch.tensor([0, 1, 300])
        yield Case(f"{of} float32", of=of, kind="value", x=x.float(), y=y.float(), t=t, betas=fine)
        zero, one = torch.zeros(3, 4).bfloat16(), torch.ones(3, 4).bfloat16()
        yield Case(f"{of} half", of=of, kind="value", x=zero, y=one, t=torch.tensor([0, 1, 2]), betas=fine)
        yield Case(f"{of} t of [1]", of=of, kind="value", x=x, y=y, t=t[:1], betas=BETAS)
    x, y = 3 * randn(rng, 2, 6, 4)
    wrong = {"variance": "fixed_small"}
    yield Case("p_sample fixed_small", of="p_sample", kind="value", x=x, y=y, t=MIXED, betas=BETAS, options=wrong)
    for variance in ("posterior", "beta"):
        name, options = f"p_sample {variance}", {"variance": variance, "clip_x0": False}
        yield Case(name, of="p_sample", kind="value", x=x, y=y, t=MIXED, betas=BETAS, options=options)
        yield Case(f"{name} spread", of="p_sample", kind="spread", options=options)
        yield Case(f"{name} rows", of="p_sample", kind="rows", x=x, y=y, options=options)
    yield Case("p_sample default spread", of="p_sample", kind="spread", options={})
    plain, late = {"x": x, "y": y, "t": MIXED}, {"x": x[1:], "y": y[1:], "t": MIXED[1:]}
    half = {"x": x.bfloat16(), "y": y.bfloat16(), "t": MIXED}
    for name, options, inputs in (
        ("clipped", {"clip_x0": True}, plain),
        ("clipped, t > 0", {"clip_x0": True}, late),
        ("clipped, beta", {"clip_x0": True, "variance": "beta"}, plain),
        ("Beta", {"variance": "Beta"}, plain),
        ("beta, half", {"variance": "beta"}, half),
    ):
        yield Case(f"p_sample {name}", of="p_sample", kind="value", betas=BETAS, options=options, **inputs)
    yield Case("p_sample calls", of="p_sample", kind="calls", x=x, y=y)
    yield Case("p_sample generator", of="p_sample", kind="generator", x=x)
    for kind in ("path", "generator", "kind", "noises"):
        yield Case(f"p_sample_loop {kind}", of="p_sample_loop", kind=kind)


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
    untouched = torch.equal(before, torch.random.get_rng_state())
    seen = {"out": out, "variance": variance.expand(x.shape), "after": [x, y, t, betas, abar], "untouched": untouched}
    return {**seen, "gradients": torch.autograd.grad(out.sum(), [x, y]) if out.requires_grad else "none"}


def see_spread(kata, case):
    x = torch.zeros(MANY, dtype=torch.float64)
    return {"x": histogram(kata.p_sample(lambda x, t: x * 0, x, ONES, BETAS, **case.options), 0.4)}


def histogram(x, width):
    """In 16 bins around 0, each half of `width` wide; NaN goes to the first."""
    return Draws((x / width * 2 + 8).nan_to_num(-1).floor().clamp(0, 15).long(), 16)


def see_rows(kata, case):
    first, second = (kata.p_sample(lambda *_: case.y, case.x, MIXED, BETAS, **case.options) for _ in range(2))
    noisy = (first != second).any(-1)
    noise = second - first
    alike = {"rows": bool((noise[1] / noise[3]).std() < 1e-9), "within": bool(noise[1].std() < 1e-9)}
    return {"noisy": noisy, "certain": first[~noisy], "alike": alike}


def see_calls(kata, case):
    calls = []
    kata.p_sample(lambda x, t: calls.append([x.clone(), t.clone()]) or case.y[: len(x)], case.x, MIXED, BETAS)
    return {"calls": calls}


def see_generator(kata, case):
    def sample(seed):
        generator = torch.Generator().manual_seed(seed)
        if case.of == "p_sample":
            return kata.p_sample(lambda x, t: x * 0, case.x, MIXED, BETAS, generator=generator)
        shown = []
        end = kata.p_sample_loop(lambda x, t: shown.append(x) or x * 0, (2, 3), BETAS, generator=generator)
        return torch.stack([shown[0], end])

    before = torch.random.get_rng_state()
    first, again, other = sample(1), sample(1), sample(2)
    untouched = torch.equal(before, torch.random.get_rng_state())
    return {"repeats": first == again, "differs": not torch.equal(first, other), "untouched": untouched}


def see_path(kata, case):
    """For data that are always 2 the denoiser is known: what the model is shown on the way, and where it ends."""
    calls, bar, bars = [], [], []
    abar = (1 - BETAS).cumprod(0)

    def model(x, t):
        calls.append((x.clone(), t.clone()))
        a = abar[t][:, None]
        return (x - a.sqrt() * 2) / (1 - a).sqrt()

    def progress(steps):
        bars.append(1)
        for step in steps:
            bar.append([int(step), len(calls)])
            yield step

    end = kata.p_sample_loop(model, MANY, BETAS, progress=progress)
    seen = {
        "t": [t[:2] for _, t in calls],
        "bar": bar,
        "bars": len(bars),
        "end": end if end.std() < 1e-3 else histogram(end, 0.4),
    }
    return {**seen, "path": [histogram(x - 2 * abar[t[0]].sqrt(), 0.8) for x, t in calls]}


def see_kind(kata, case):
    """The loop's dtypes, shape and gradients, for a model with a parameter."""
    weight, shown, recorded, after = torch.tensor(0.1, requires_grad=True), [], [], []

    def model(x, t):
        shown.append(x)
        recorded.append([x.requires_grad, (weight * x).requires_grad])
        return weight * x

    ends = [kata.p_sample_loop(model, (2, 3), betas) for betas in (BETAS.float(), BETAS)]
    for before in (True, False):
        with torch.set_grad_enabled(before):
            kata.p_sample_loop(lambda x, t: x * 0, (2, 3), BETAS)
            after.append(torch.is_grad_enabled())
    dtypes = [str(x.dtype) for x in shown + ends]
    graph = {"recorded": recorded, "end": ends[0].requires_grad, "gradients afterwards": after}
    return {"dtypes": dtypes, "shape": list(ends[0].shape), **graph}


def see_noises(kata, case):
    """Whether two steps of the loop add the same noise: the model says none, so it is what their means leave."""
    shown = []
    kata.p_sample_loop(
        lambda x, t: shown.append(x.clone()) or x * 0, MANY, BETAS, generator=torch.Generator().manual_seed(1)
    )
    alpha = (1 - BETAS).sqrt().flip(0)
    noises = [after - before / a for before, after, a in zip(shown, shown[1:], alpha, strict=False)]
    similar = torch.corrcoef(torch.stack([noise.flatten() for noise in noises])).triu(1).abs().max()
    return {"alike": bool(similar > 0.5)}
