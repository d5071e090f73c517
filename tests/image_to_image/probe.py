"""What can be seen of image-to-image: counts of steps, what the model is shown (its random part cancelled, recovered or
counted), where it ends, and what is refused."""

import torch

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Draws, Pairs
from dojo.testing.sampling import uniform

GRID = [5, 4, 3, 1]
NAN = float("nan")


def cases(rng):
    counts = [(50, 0.8), (100, 0.29), (5, 0.5), (7, 0.2), (10, 0.96), (10, 0.01), (10, 1), (10, 0)]
    for steps, strength in [*counts, (10, -0.1), (10, 1.1), (10, 75), (10, NAN)]:
        yield Case(f"start_step({steps}, {strength})", of="start_step", kind="count", inputs=[[steps, strength]])
    quarters = zip(randint(rng, 5, 200, 12).tolist(), (randint(rng, 1, 4, 12) / 4).tolist(), strict=True)  # halves too
    hundredths = zip(randint(rng, 5, 200, 12).tolist(), (randint(rng, 1, 100, 12) / 100).tolist(), strict=True)
    for name, inputs in {"quarters": quarters, "hundredths": hundredths}.items():
        yield Case(f"start_step of {name}", of="start_step", kind="count", inputs=[list(pair) for pair in inputs])
    betas = torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64) + uniform(rng, -0.03, 0.03, 6)
    given = {"abar": (1 - betas).cumprod(0), "slope": uniform(rng, 0.2, 0.4, 1), "level": uniform(rng, -0.8, 0.8, 1)}
    x0, other = 2 * randn(rng, 2, 3, 2, 4)
    for strength in (1, 0.75, 0.5, 0.25, 0.1, 0.0, -0.5, NAN):
        strengths = [strength, 0.75] if strength in (0.0, 0.1) else [strength]  # without a step alone, x0 would do
        inputs = {"x0": x0, "other": other, "strengths": strengths, "timesteps": GRID}
        yield edit(f"path at {strength}", "path", **given, **inputs)
    yield edit("path over [3]", "path", x0=x0, other=other, strengths=[1.0], timesteps=[3], **given)
    for strength in (1.0, 0.5, 0.25):
        yield edit(f"noise at {strength}", "noise", strength=strength, **given)
    for kind in ("generator", "rows", "half", "graph"):
        yield edit(kind, kind, x0=x0, **given)


def edit(name, kind, **inputs):
    return Case(f"image_to_image {name}", of="image_to_image", kind=kind, **inputs)


def run(kata, case):
    return globals()[f"see_{case.kind}"](kata, case)


def see_count(kata, case):
    counts = [kata.start_step(*inputs) for inputs in case.inputs]
    return {"counts": counts, "kinds": [type(count).__name__ for count in counts]}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def recorded(kata, x0, strength, timesteps, abar, seed=0, slope=0.0):
    """The result, and what the model (eps = slope x) is shown."""
    calls = []

    def model(x, t):
        calls.append((x.clone(), t.clone()))
        return slope * x

    return kata.image_to_image(model, x0, strength, timesteps, abar, generator=seeded(seed)), calls


def see_path(kata, case):
    return {"paths": [path(kata, case, strength) for strength in case.strengths]}


def path(kata, case, strength):
    """With equal noise two pictures differ by a known share of their difference, before each step and at the end; and a
    linear model makes every x a multiple of the first."""
    x0, timesteps = case.x0.clone(), list(case.timesteps)
    inputs = (strength, timesteps, case.abar)
    end, calls = recorded(kata, x0, *inputs, slope=case.slope)
    other, others = recorded(kata, case.other.clone(), *inputs, slope=case.slope)
    seen = {"t": [t for _, t in calls], "after": [x0, timesteps], "end": end - other}
    seen["differences"] = [x - y for (x, _), (y, _) in zip(calls, others, strict=True)]
    seen["factors"] = [x / calls[0][0] for x in [*(x for x, _ in calls), end]] if calls else end
    return seen


def see_noise(kata, case):
    """From a picture that is one number there is noise around a known mean: counted in bins of a quarter."""
    x0 = torch.zeros(40, 100, dtype=torch.float64) + case.level
    _, calls = recorded(kata, x0, case.strength, GRID, case.abar)
    return {"noise": histogram(calls[0][0], 0.25)}


def histogram(x, width):
    """In 16 bins of `width` around 0; NaN goes to the first."""
    return Draws((x.double() / width + 8).nan_to_num(-1).floor().clamp(0, 15).long(), 16)


def see_generator(kata, case):
    before = torch.random.get_rng_state()
    first, again, other = (recorded(kata, case.x0, 1.0, GRID, case.abar, seed)[0].clone() for seed in (1, 1, 2))
    untouched = Pairs(before, torch.random.get_rng_state())
    return {"repeats": Pairs(first, again), "differs": Pairs(first, other), "untouched": untouched}


def see_rows(kata, case):
    """The signs of two rows, together: shared noise agrees always, noise of its own in half of the places."""
    up = (recorded(kata, torch.zeros(40, 100, dtype=torch.float64), 0.5, GRID, case.abar)[1][0][0] > 0).long()
    return {"signs": Draws((2 * up[::2] + up[1::2]).flatten(), 4)}


def see_half(kata, case):
    """The noise of a first step where 1 - abar is about 1e-4: in half precision abar itself would be 1."""
    fine = 1 - torch.linspace(1e-4, 2e-3, 10, dtype=torch.float64) * 4 * case.slope**2 / 0.36
    end, calls = recorded(kata, torch.zeros(40, 100).bfloat16(), 0.1, list(range(9, -1, -1)), fine)
    kinds = [str(x.dtype) for x in (end, *(x for x, _ in calls))]
    return {"kinds": kinds, "noise": [histogram(x, 0.005) for x, _ in calls]}


def see_graph(kata, case):
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    return {"graph": kata.image_to_image(lambda x, t: weight * x, case.x0, 0.5, GRID, case.abar).requires_grad}
