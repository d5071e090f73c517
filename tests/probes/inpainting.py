"""What can be seen of inpainting: results for a model that knows one picture, what the model is shown (noise cancelled or
counted; of the first call only what all conventions share), and what is refused."""

import torch

from dojo.probes import Case, Draws
from dojo.testing import randint, randn

SIX = (1 - torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64)).cumprod(0)
GRID = [5, 4, 2, 1]
HALF = torch.tensor([0, 1] * 50)


def cases(rng):
    x0, other = 2 * randn(rng, 2, 2, 3, 4, 5)
    masks = [randint(rng, 0, 2, *shape) for shape in ((2, 3, 4, 5), (2, 1, 4, 5), (4, 5), (2, 1, 1, 1))]
    for mask in (*masks, torch.tensor(0), torch.tensor(1), torch.ones(3, 4, 5), torch.ones(3, 2, 3, 4, 5)):
        yield inpaint(f"mask {list(mask.shape)}, {mask.sum()} ones", "result", x0=x0, other=other, mask=mask)
    for dtype in (torch.bool, torch.uint8, torch.int64, torch.float32, torch.float64):
        inputs = {"x0": x0.float(), "other": other.float(), "mask": masks[1].to(dtype)}
        yield inpaint(f"mask of {dtype}", "result", **inputs)
    yield inpaint("enlarging mask", "result", x0=x0[:1], other=other[:1], mask=masks[1])
    x0, other = randn(rng, 2, 3, 100)
    for kind in ("path", "hole", "noise", "rows", "generator", "half", "graph"):
        yield inpaint(kind, kind, x0=x0, other=other)


def inpaint(name, kind, **inputs):
    return Case(f"inpaint {name}", of="inpaint", kind=kind, **inputs)


def run(kata, case):
    return globals()[f"see_{case.kind}"](kata, case)


def see_result(kata, case):
    """For a model that sees `other` in everything: the result, and the arguments afterwards."""
    x0, mask = case.x0.clone(), case.mask.clone()

    def model(x, t):
        a = SIX[t].reshape(-1, 1, 1, 1)
        return ((x - a.sqrt() * case.other) / (1 - a).sqrt()).to(x.dtype)

    return {"out": kata.inpaint(model, x0, mask, GRID, SIX), "after": [x0, mask]}


def recorded(kata, x0, timesteps=GRID, seed=0, slope=0.3):
    """Every x that the model (eps = slope x) is shown, and the result at the end; and every t."""
    calls = []

    def model(x, t):
        calls.append((x.clone(), t.clone()))
        return slope * x

    end = kata.inpaint(model, x0.clone(), HALF, list(timesteps), SIX, generator=torch.Generator().manual_seed(seed))
    return torch.stack([*(x for x, _ in calls), end]), [t for _, t in calls]


def see_path(kata, case):
    """With equal noise two pictures differ by a known share in the known region; the hole is a multiple of its start."""
    seen = {}
    for timesteps in ([5, 4, 2, 1], [3]):
        xs, ts = recorded(kata, case.x0, timesteps)
        known, hole = (xs - recorded(kata, case.other, timesteps)[0])[..., HALF == 0], xs[..., HALF == 1]
        first, whole = known[0], SIX[timesteps[0]].sqrt() * (case.x0 - case.other)[..., HALF == 0]
        seen[f"t {timesteps}"], seen[f"known {timesteps}"] = ts, known[1:]
        seen[f"first {timesteps}"] = any(torch.allclose(first, right) for right in (whole, 0 * whole))
        seen[f"factors {timesteps}"] = hole / hole[0]
    return seen


def see_hole(kata, case):
    """Whether what is painted depends on what was there, and whether on what is around it."""

    def end(x0):
        generator = torch.Generator().manual_seed(0)
        model = lambda x, t: x.flip(-1) + x.mean()  # noqa: E731
        return kata.inpaint(model, x0, HALF, GRID, SIX, generator=generator)[..., HALF == 1]

    x0, there, around = case.x0, case.x0 + 9 * HALF, case.x0 + 9 * (1 - HALF)
    return {"there": torch.allclose(end(x0), end(there)), "around": torch.allclose(end(x0), end(around))}


def see_noise(kata, case):
    """From zeros only noise is left in the known region; the hole starts with nothing else, also from fives."""
    xs, _ = recorded(kata, torch.zeros(40, 100, dtype=torch.float64))
    fives, _ = recorded(kata, torch.full((40, 100), 5.0, dtype=torch.float64))
    return {"known": [histogram(x[:, HALF == 0]) for x in xs[1:-1]], "start": histogram(fives[0][:, HALF == 1])}


def histogram(x):
    return Draws((x * 4 + 8).nan_to_num(-1).floor().clamp(0, 15).long(), 16)


def see_rows(kata, case):
    xs, _ = recorded(kata, torch.zeros(3, 100, dtype=torch.float64))
    parts = (xs[0][:, HALF == 1], xs[1][:, HALF == 0])
    return {"alike": [bool((torch.corrcoef(part).triu(1) > 0.98).any()) for part in parts]}


def see_generator(kata, case):
    before = torch.random.get_rng_state()
    first, again, other = (recorded(kata, case.x0, seed=seed)[0] for seed in (1, 1, 2))
    untouched = torch.equal(before, torch.random.get_rng_state())
    repeats = [torch.equal(first[1:-1, :, HALF == part], again[1:-1, :, HALF == part]) for part in (0, 1)]
    return {"repeats": repeats, "differs": not torch.equal(first, other), "untouched": untouched}


def see_half(kata, case):
    xs, _ = recorded(kata, case.x0.bfloat16())
    return {"kind": str(xs.dtype), "known": xs[-1][..., HALF == 0]}


def see_graph(kata, case):
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    return {"graph": kata.inpaint(lambda x, t: weight * x, case.x0, HALF, GRID, SIX).requires_grad}
