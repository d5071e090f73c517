"""One loop serves all three searches, which only propose. Half of the candidates lie around the best point so far."""

import itertools
import math
import random
from typing import Any, NamedTuple

import torch


class SearchResult(NamedTuple):
    best_params: dict
    best_value: float
    trials: list


def run(objective, proposals):
    """`proposals` is a generator: it yields points, and is sent their values."""
    trials: list[tuple[dict[str, Any], float]] = []
    value = None
    while True:
        try:
            point = proposals.send(value)
        except StopIteration:
            break
        value = float(objective(dict(point)))
        trials.append((point, value))
    numbers = [trial for trial in trials if trial[1] == trial[1]] or trials[:1]
    best = sorted(numbers, key=lambda trial: trial[1])[0]  # a stable sort: the first of equal ones
    return SearchResult(*best, trials)


def scale(entry):
    """(to a share of [0, 1], back from it) for a range."""
    try:
        kind, low, high = entry if isinstance(entry, tuple) and len(entry) == 3 else ("linear", *entry)
        sound = kind in ("linear", "log") and isinstance(entry, tuple) and -math.inf < low < high < math.inf
    except (TypeError, ValueError) as error:
        raise ValueError(f"{entry!r} is no range") from error
    if not sound or (len(entry) == 3) != (kind == "log") or (kind == "log" and low <= 0):
        raise ValueError(f"{entry!r} is no range")
    decades = math.log10(high / low) if kind == "log" else 0.0

    def clipped(x):
        return float(low) if x < low else float(high) if x > high else float(x)

    if kind == "log":
        return lambda share: clipped(low * 10 ** (decades * share))
    return lambda share: clipped(low + (high - low) * share)


def grid_search(objective, space):
    if len(space) == 0 or any(type(values) is not list or values == [] for values in space.values()):
        raise ValueError("only lists make a grid")

    def proposals():
        for indices in itertools.product(*(range(len(values)) for values in space.values())):
            yield {name: space[name][index] for name, index in zip(space, indices, strict=True)}

    return run(objective, proposals())


def random_search(objective, space, n_trials, *, seed):
    if len(space) == 0 or n_trials < 1:
        raise ValueError("nothing to do")
    dice = random.Random(seed)
    draws = {}
    for name, entry in space.items():
        if isinstance(entry, list):
            if not entry:
                raise ValueError(f"{name} has no values")
            draws[name] = lambda entry=entry: entry[dice.randrange(len(entry))]
        else:
            back = scale(entry)
            draws[name] = lambda back=back: back(dice.random())
    return run(objective, ({name: draw() for name, draw in draws.items()} for _ in range(n_trials)))


def expected_improvement(mean, std, best, xi=0.0):
    if not torch.all(std >= 0):
        raise ValueError("std must not be negative")
    gap = (best - xi - mean).to(torch.float64)
    spread = std.to(torch.float64)
    certain = spread == 0
    z = gap / spread.masked_fill(certain, 1)
    below = 0.5 * torch.erfc(-z * math.sqrt(0.5))
    ei = gap * below + spread * torch.exp(-0.5 * z.pow(2)) * math.sqrt(0.5 / math.pi)
    return ei.where(~certain, gap).clamp_min(0).to(mean.dtype)


def rbf(a, b, length):
    return torch.exp(-0.5 * (torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / length) ** 2)


def gp_posterior(seen, values, points, length=0.4, jitter=1e-6):
    across = rbf(points, seen, length)
    gain = torch.linalg.solve(
        rbf(seen, seen, length) + torch.diag(seen.new_full((len(seen),), jitter)), across, left=False
    )
    return gain @ values, torch.sqrt(torch.clamp(1 - (gain * across).sum(1), min=0))


def bayesian_search(objective, bounds, n_trials, *, seed, n_start=4):
    if len(bounds) == 0 or n_trials < 1 or n_start < 2:
        raise ValueError("nothing to do")
    backs = [scale(entry) for entry in bounds.values()]
    generator = torch.Generator().manual_seed(seed)
    size = (200, len(bounds))

    def proposals():
        known = torch.empty(0, len(bounds), dtype=torch.float64)
        losses = torch.empty(0, dtype=torch.float64)
        for number in range(n_trials):
            options = torch.rand(size, generator=generator, dtype=torch.float64)
            choice = 0
            if number >= n_start:
                nudge = 0.1 * torch.randn(size, generator=generator, dtype=torch.float64)
                near = known[losses.argmin()] + nudge
                options = torch.cat([options, near[((near >= 0) & (near <= 1)).all(1)]])
                spread = losses.std(correction=0)
                units = (losses - losses.mean()) / torch.where(spread > 0, spread, 1.0)
                choice = expected_improvement(*gp_posterior(known, units, options), units.min(), 0.01).argmax()
            known = torch.cat([known, options[choice][None]])
            point = {name: back(u) for name, back, u in zip(bounds, backs, options[choice].tolist(), strict=True)}
            value = yield point
            losses = torch.cat([losses, torch.tensor([value], dtype=torch.float64)])

    return run(objective, proposals())
