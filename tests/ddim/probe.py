"""What can be seen of a DDIM: grids, steps of many shapes, and the sampler's path, relative to its random start."""

from itertools import combinations, pairwise

import torch

from dojo.testing import randint, randn
from dojo.testing.probes import Case, Draws, Pairs
from dojo.testing.sampling import uniform

FINE = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
T, T_PREV = torch.tensor([0, 5, 3, 1, 4, 2]), torch.tensor([-1, 4, 0, -1, 1, 1])
MANY = (40, 100)


def cases(rng):
    some, all_of = int(randint(rng, 900, 1100, 1)), int(randint(rng, 5, 30, 1))
    many = [
        [count * step + rest, count] for count, step, rest in zip(*randint(rng, 2, 30, 3, 16).tolist(), strict=True)
    ]
    for name, inputs in {"seven": [[some, 7]], "all": [[all_of, all_of]], "many": many}.items():
        yield Case(f"ddim_timesteps {name}", of="ddim_timesteps", kind="grid", inputs=inputs)
    for steps, count in ((6, 1), (6, 0), (6, 7)):
        yield Case(f"ddim_timesteps({steps}, {count})", of="ddim_timesteps", kind="grid", inputs=[[steps, count]])
    betas = torch.tensor([0.1, 0.3, 0.2, 0.4, 0.6, 0.5], dtype=torch.float64) + uniform(rng, -0.03, 0.03, 6)
    six = (1 - betas).cumprod(0)
    for shape in ((6,), (6, 6), (6, 2, 3, 4)):
        x, eps, noise = 2 * randn(rng, 3, *shape)
        for eta in (0.0, 0.4, 1.0):
            yield step(f"{list(shape)} eta={eta}", x, eps, T, T_PREV, six, eta, noise)
    x, eps, noise = randn(rng, 3, 3, 4)
    t, t_prev = torch.tensor([0, 1, 300]), torch.tensor([-1, 0, 250])
    yield step("float32", x.float(), eps.float(), t, t_prev, FINE, 1.0, noise.float())
    zero, one = torch.zeros(3, 4).bfloat16(), uniform(rng, 0.5, 1.5, 3, 4).bfloat16()
    yield step("half", zero, one, torch.tensor([0, 1, 2]), torch.tensor([-1, 0, 1]), FINE, 0.0, zero)
    yield step("without noise", x, eps, t, t_prev, FINE, 0.0, None)
    yield step("noise missing", x, eps, t, t_prev, FINE, 0.5, None)
    yield step("eta 2", x, eps, torch.tensor([2, 3, 4]), torch.tensor([0, 0, 0]), six, 2.0, noise)
    yield step("eta nan", x, eps, torch.tensor([2, 3, 4]), torch.tensor([0, 0, 0]), six, float("nan"), None)
    yield step("t of [1]", x, eps, t[:1], t_prev, FINE, 0.0, noise)
    yield step("t_prev of [1]", x, eps, t, t_prev[:1], FINE, 0.0, noise)
    for kind in ("path", "noise", "generator", "dtype", "graph"):
        inputs = {"abar": six, "slope": uniform(rng, 0.2, 0.4, 1), "point": 2 + randn(rng, 100) / 4}
        yield Case(f"ddim_sample {kind}", of="ddim_sample", kind=kind, **inputs)
    for timesteps in ([], [0, 3, 5], [6, 3, 0]):
        inputs = {"abar": six, "timesteps": timesteps, "eta": 0.0}
        yield Case(f"ddim_sample {timesteps}", of="ddim_sample", kind="refusal", **inputs)
    yield Case("ddim_sample eta 2", of="ddim_sample", kind="refusal", abar=six, timesteps=[5, 3, 0], eta=2.0)


def step(name, *inputs):
    return Case(f"ddim_step {name}", of="ddim_step", kind="step", inputs=inputs)


def run(kata, case):
    return globals()[f"see_{case.kind}"](kata, case)


def see_grid(kata, case):
    grids = [kata.ddim_timesteps(*inputs) for inputs in case.inputs]
    return {"grids": grids, "kinds": [type(step).__name__ for grid in grids for step in grid]}


def see_step(kata, case):
    """The result, its gradients, and the arguments afterwards."""
    x, eps, t, t_prev, abar, eta, noise = [i.clone() if isinstance(i, torch.Tensor) else i for i in case.inputs]
    images = [i.requires_grad_() for i in (x, eps, noise) if i is not None]
    before = torch.random.get_rng_state()
    out = kata.ddim_step(x, eps, t, t_prev, abar, eta, noise)
    seen = {"out": out, "after": [*images, t, t_prev, abar]}
    seen["untouched"] = Pairs(before, torch.random.get_rng_state())
    by = images if eta else images[:2]
    return {**seen, "gradients": torch.autograd.grad(out.sum(), by) if out.requires_grad else "none"}


def see_path(kata, case):
    """A linear model makes every deterministic x a multiple of the start: the factors do not depend on the draw."""
    seen = {}
    for timesteps in ([5, 3, 0], [4, 2], [5, 4, 3, 2, 1, 0]):
        calls = []

        def model(x, t, calls=calls):
            calls.append((x.clone(), t.clone()))
            return case.slope * x

        end = kata.ddim_sample(model, (2, 3), list(timesteps), case.abar)
        seen[f"t {timesteps}"] = [t for _, t in calls]
        seen[f"factors {timesteps}"] = [x / calls[0][0] for x in [*(x for x, _ in calls), end]]
    return seen


def see_noise(kata, case):
    """For data that are one point: what the model is shown, as counts; the end; and the signs of the noises, in pairs
    of steps and of rows (noises that are not drawn for themselves agree too often)."""
    seen = {}
    for eta in (0.5, 1.0):
        shown, noisy = [], []

        def model(x, t, shown=shown, noisy=noisy):
            a = case.abar[t][:, None]
            shown.append(x)
            noisy.append(x - a.sqrt() * case.point)
            return noisy[-1] / (1 - a).sqrt()

        end = kata.ddim_sample(model, MANY, [5, 4, 3, 1, 0], case.abar, eta)
        rests = [y - x * (x * y).sum() / (x * x).sum() for x, y in pairwise(noisy)]
        shared = any((rest[0] - rest[1]).abs().max() < 1e-6 for rest in rests)
        few = slice(1) if shared else slice(None)  # elements that share their noise are no draws of their own
        seen[f"path {eta}"] = [histogram(x[few] - 1) for x in shown]
        seen[f"end {eta}"] = end if end.std(0).max() < 1e-3 else histogram(end[few] - 2)
        seen[f"steps {eta}"] = [signs(a, b) for a, b in combinations(rests, 2)]
        seen[f"rows {eta}"] = [signs(rest[::2], rest[1::2]) for rest in rests]
    return seen


def signs(a, b):
    """The signs of both, together."""
    return Draws((2 * (a > 0) + (b > 0)).flatten(), 4)


def histogram(x):
    """In 16 bins of half a unit around 0; NaN goes to the first."""
    return Draws((x * 2 + 8).nan_to_num(-1).floor().clamp(0, 15).long(), 16)


def see_generator(kata, case):
    def sample(seed):
        shown = []
        generator = torch.Generator().manual_seed(seed)
        end = kata.ddim_sample(
            lambda x, t: shown.append(x) or x * 0, (2, 3), [5, 3, 0], case.abar, 1.0, generator=generator
        )
        return torch.stack([shown[0], end])

    before = torch.random.get_rng_state()
    first, again, other = sample(1), sample(1), sample(2)
    untouched = Pairs(before, torch.random.get_rng_state())
    return {
        "repeats": Pairs(first, again, rows=True),
        "differs": Pairs(first, other, rows=True),
        "untouched": untouched,
    }


def see_dtype(kata, case):
    shown = []
    kinds = (case.abar.float(), case.abar)
    ends = [kata.ddim_sample(lambda x, t: shown.append(x) or x * 0, (2, 3), [5, 0], abar) for abar in kinds]
    return {"kinds": [str(x.dtype) for x in shown + ends], "shapes": [list(x.shape) for x in ends]}


def see_graph(kata, case):
    weight = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    return {"graph": kata.ddim_sample(lambda x, t: weight * x, (2, 3), [5, 0], case.abar).requires_grad}


def see_refusal(kata, case):
    end = kata.ddim_sample(lambda x, t: x * 0, (2, 3), case.timesteps, case.abar, case.eta)
    return {"end": [list(end.shape), bool(end.isfinite().all())]}
