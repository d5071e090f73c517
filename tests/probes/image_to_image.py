"""What can be seen of image-to-image: counts of steps, what the model is shown (its random part cancelled, recovered or
counted), where it ends, and what is refused."""

import torch

from dojo.probes import Case, Draws
from dojo.testing import randn

SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
FINE = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
GRID = [5, 4, 3, 1]
NAN = float("nan")


def cases(rng):
    counts = [(50, 0.8), (100, 0.29), (5, 0.5), (7, 0.2), (10, 0.96), (10, 0.01), (10, 1), (10, 0)]
    for steps, strength in [*counts, (10, -0.1), (10, 1.1), (10, 75), (10, NAN)]:
        yield Case(f"start_step({steps}, {strength})", of="start_step", kind="count", inputs=(steps, strength))
    x0, other = 2 * randn(rng, 2, 3, 2, 4)
    for strength in (1, 0.75, 0.5, 0.25, 0.1, 0.0, -0.5, NAN):
        yield edit(f"path at {strength}", "path", x0=x0, other=other, strength=strength, timesteps=GRID)
    yield edit("path over [3]", "path", x0=x0, other=other, strength=1.0, timesteps=[3])
    for strength in (1.0, 0.5, 0.25):
        yield edit(f"noise at {strength}", "noise", strength=strength)
    for kind in ("generator", "rows", "half", "graph"):
        yield edit(kind, kind, x0=x0)


def edit(name, kind, **inputs):
    return Case(f"image_to_image {name}", of="image_to_image", kind=kind, **inputs)


def run(kata, case):
    return globals()[f"see_{case.kind}"](kata, case)


def see_count(kata, case):
    count = kata.start_step(*case.inputs)
    return {"count": count, "kind": type(count).__name__}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def recorded(kata, x0, strength, timesteps=GRID, abar=SIX, seed=0, slope=0.0):
    """The result, and what the model (eps = slope x) is shown."""
    calls = []

    def model(x, t):
        calls.append((x.clone(), t.clone()))
        return slope * x

    return kata.image_to_image(model, x0, strength, timesteps, abar, generator=seeded(seed)), calls


def see_path(kata, case):
    """With equal noise two pictures differ by a known share of their difference, before each step and at the end; and a
    linear model makes every x a multiple of the first."""
    x0, timesteps = case.x0.clone(), list(case.timesteps)
    end, calls = recorded(kata, x0, case.strength, timesteps, slope=0.3)
    other, others = recorded(kata, case.other.clone(), case.strength, timesteps, slope=0.3)
    seen = {"t": [t for _, t in calls], "after": [x0, timesteps], "end": end - other}
    seen["differences"] = [x - y for (x, _), (y, _) in zip(calls, others, strict=True)]
    seen["factors"] = [x / calls[0][0] for x in [*(x for x, _ in calls), end]] if calls else end
    return seen


def see_noise(kata, case):
    """From zeros only noise is left: counted in bins of its right standard deviation."""
    _, calls = recorded(kata, torch.zeros(40, 100, dtype=torch.float64), case.strength)
    bins = (calls[0][0] * 4 + 8).nan_to_num(-1).floor().clamp(0, 15).long()
    return {"noise": Draws(bins, 16)}


def see_generator(kata, case):
    before = torch.random.get_rng_state()
    first, again, other = (recorded(kata, case.x0, 1.0, seed=seed)[0] for seed in (1, 1, 2))
    untouched = torch.equal(before, torch.random.get_rng_state())
    return {"repeats": torch.equal(first, again), "differs": not torch.equal(first, other), "untouched": untouched}


def see_rows(kata, case):
    rows = recorded(kata, torch.zeros(3, 100, dtype=torch.float64), 0.5)[1][0][0]
    return {"alike": bool((torch.corrcoef(rows).triu(1) > 0.98).any())}


def see_half(kata, case):
    end, calls = recorded(kata, torch.zeros(8, 100).bfloat16(), 0.1, list(range(9, -1, -1)), FINE)
    kinds = [str(x.dtype) for x in (end, *(x for x, _ in calls))]
    return {"kinds": kinds, "noisy": [bool(x.double().std() > 1e-3) for x, _ in calls]}


def see_graph(kata, case):
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    return {"graph": kata.image_to_image(lambda x, t: weight * x, case.x0, 0.5, GRID, SIX).requires_grad}
