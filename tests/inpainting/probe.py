"""What can be seen of inpainting: results for a model that knows one picture, what the model is shown (noise cancelled or
counted; of the first call only what all conventions share), and what is refused."""

import torch

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Draws, Pairs
from dojo.testing.sampling import uniform

GRID = [5, 4, 2, 1]
HALF = torch.tensor([0, 1] * 50)


def cases(rng):
    betas = torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64) + uniform(rng, -0.03, 0.03, 6)
    given = {"abar": (1 - betas).cumprod(0), "slope": uniform(rng, 0.2, 0.4, 1), "level": uniform(rng, -0.8, 0.8, 1)}
    x0, other = 2 * randn(rng, 2, 2, 3, 4, 5)
    masks = [randint(rng, 0, 2, *shape) for shape in ((2, 3, 4, 5), (2, 1, 4, 5), (4, 5))]
    masks += [torch.randperm(2, generator=rng).reshape(2, 1, 1, 1), torch.ones(3, 4, 5), torch.ones(3, 2, 3, 4, 5)]
    for number, mask in enumerate(masks):
        inputs = {"x0": x0, "other": other, "masks": [mask]}
        yield inpaint(f"mask {number} {list(mask.shape)}", "result", **given, **inputs)
    both = [torch.tensor(0), torch.tensor(1)]  # with the first one alone, x0 would do
    yield inpaint("mask of nothing and of everything", "result", x0=x0, other=other, masks=both, **given)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float32, torch.float64):
        inputs = {"x0": x0.float(), "other": other.float(), "masks": [masks[1].to(dtype)]}
        yield inpaint(f"mask of {dtype}", "result", **given, **inputs)
    yield inpaint("enlarging mask", "result", x0=x0[:1], other=other[:1], masks=[masks[1]], **given)
    x0, other = randn(rng, 2, 3, 100)
    for kind in ("path", "hole", "noise", "rows", "generator", "half", "graph"):
        yield inpaint(kind, kind, x0=x0, other=other, **given)


def inpaint(name, kind, **inputs):
    return Case(f"inpaint {name}", of="inpaint", kind=kind, **inputs)


def run(kata, case):
    return globals()[f"see_{case.kind}"](kata, case)


def see_result(kata, case):
    return {"results": [result(kata, case, mask) for mask in case.masks]}


def result(kata, case, mask):
    """For a model that sees `other` in everything: the result, and the arguments afterwards. With equal noise, what a
    model says moves the result by a known amount, which hangs on every step."""
    x0, mask = case.x0.clone(), mask.clone()

    def knowing(x, t):
        a = case.abar[t].reshape(-1, 1, 1, 1)
        return ((x - a.sqrt() * case.other) / (1 - a).sqrt()).to(x.dtype)

    def moved_by(size):
        generator = torch.Generator().manual_seed(0)
        torch.default_generator.manual_seed(0)
        model = lambda x, t: case.slope * x + size * t.reshape(-1, 1, 1, 1) * case.other  # noqa: E731
        return kata.inpaint(model, x0, mask, GRID, case.abar, generator=generator)

    seen = {"out": kata.inpaint(knowing, x0, mask, GRID, case.abar), "after": [x0, mask]}
    if x0.dtype == torch.float64:  # float32 keeps too few digits of a difference
        seen["moved"] = moved_by(1.0) - moved_by(0.0)
    return seen


def recorded(kata, case, x0, timesteps=GRID, seed=0):
    """Every x that the model (eps = slope x) is shown, and the result at the end; and every t."""
    calls = []

    def model(x, t):
        calls.append((x.clone(), t.clone()))
        return (case.slope * x).to(x.dtype)

    generator = torch.Generator().manual_seed(seed)
    end = kata.inpaint(model, x0.clone(), HALF, list(timesteps), case.abar, generator=generator)
    return torch.stack([*(x for x, _ in calls), end]), [t for _, t in calls]


def see_path(kata, case):
    """With equal noise two pictures differ by a known share in the known region; the hole is a multiple of its start."""
    seen = {}
    for timesteps in ([5, 4, 2, 1], [3]):
        xs, ts = recorded(kata, case, case.x0, timesteps)
        known, hole = (xs - recorded(kata, case, case.other, timesteps)[0])[..., HALF == 0], xs[..., HALF == 1]
        first, whole = known[0], case.abar[timesteps[0]].sqrt() * (case.x0 - case.other)[..., HALF == 0]
        seen[f"t {timesteps}"], seen[f"known {timesteps}"] = ts, known[1:]
        seen[f"first {timesteps}"] = first * (first - whole)  # the whole share, or none: zero either way
        seen[f"factors {timesteps}"] = hole / hole[0]
    return seen


def see_hole(kata, case):
    """How what is painted depends on what was there (not at all), and whether on what is around it."""

    def end(x0):
        generator = torch.Generator().manual_seed(0)
        model = lambda x, t: x.flip(-1) + x.mean()  # noqa: E731
        return kata.inpaint(model, x0, HALF, GRID, case.abar, generator=generator)[..., HALF == 1]

    x0, there, around = case.x0, case.x0 + 9 * HALF, case.x0 + 9 * (1 - HALF)
    return {"there": end(x0) - end(there), "around": Pairs(end(x0), end(around))}


def see_noise(kata, case):
    """Around a number only noise is left in the known region; the hole starts with nothing else, also from fives."""
    xs, _ = recorded(kata, case, torch.zeros(40, 100, dtype=torch.float64) + case.level)
    fives, _ = recorded(kata, case, torch.full((40, 100), 5.0, dtype=torch.float64))
    known = [histogram(x[:, HALF == 0]) for x in xs[1:-1]]
    return {"known": known, "end": xs[-1][:, HALF == 0], "start": histogram(fives[0][:, HALF == 1])}


def histogram(x):
    return Draws((x * 4 + 8).nan_to_num(-1).floor().clamp(0, 15).long(), 16)


def see_rows(kata, case):
    """The signs of two rows, together: shared noise agrees always, noise of its own in half of the places."""
    up = (recorded(kata, case, torch.zeros(40, 100, dtype=torch.float64))[0] > 0).long()
    parts = (up[0][:, HALF == 1], up[1][:, HALF == 0])
    return {"signs": [Draws((2 * part[::2] + part[1::2]).flatten(), 4) for part in parts]}


def see_generator(kata, case):
    before = torch.random.get_rng_state()
    first, again, other = (recorded(kata, case, case.x0, seed=seed)[0] for seed in (1, 1, 2))
    untouched = Pairs(before, torch.random.get_rng_state())
    repeats = [Pairs(first[1:-1, :, HALF == part], again[1:-1, :, HALF == part]) for part in (0, 1)]
    return {"repeats": repeats, "differs": Pairs(first, other), "untouched": untouched}


def see_half(kata, case):
    """What is known, in half precision; and how the hole shrinks, where there are digits to see it."""
    (half, _), (xs, _) = recorded(kata, case, case.x0.bfloat16()), recorded(kata, case, case.x0)
    hole = xs[..., HALF == 1]
    return {"kind": str(half.dtype), "known": half[-1][..., HALF == 0], "factors": hole / hole[0]}


def see_graph(kata, case):
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    return {"graph": kata.inpaint(lambda x, t: weight * x, case.x0, HALF, GRID, case.abar).requires_grad}
