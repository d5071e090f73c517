"""Ranges are objects. The kernel length is fitted: the one under which the values are most likely. A Sobol sequence starts."""

import math
from dataclasses import dataclass
from functools import reduce

import torch

LENGTHS = torch.tensor([0.2, 0.35, 0.6, 1.0], dtype=torch.float64)


@dataclass
class SearchResult:
    best_params: dict
    best_value: float
    trials: list


@dataclass(frozen=True)
class Values:
    options: list

    def at(self, share):
        return self.options[math.floor(share * len(self.options))]


@dataclass(frozen=True)
class Range:
    low: float
    high: float
    logarithmic: bool

    def at(self, share):
        ends = (math.log(self.low), math.log(self.high)) if self.logarithmic else (self.low, self.high)
        inside = ends[0] + share * (ends[1] - ends[0])
        return max(self.low, min(self.high, math.exp(inside) if self.logarithmic else inside))


def parsed(entry):
    if isinstance(entry, list) and entry:
        return Values(entry)
    if isinstance(entry, tuple) and len(entry) in (2, 3) and (len(entry) == 2 or entry[0] == "log"):
        low, high = float(entry[-2]), float(entry[-1])
        logarithmic = len(entry) == 3
        if math.isfinite(low) and math.isfinite(high) and low < high and (low > 0 or not logarithmic):
            return Range(low, high, logarithmic)
    raise ValueError(f"{entry!r} cannot be searched")


class Book:
    """Asks the objective and writes down what it says."""

    def __init__(self, objective):
        self.objective, self.trials, self.winner = objective, [], 0

    def ask(self, params):
        value = float(self.objective(params.copy()))
        self.trials.append((params, value))
        if value < self.lowest() or (math.isnan(self.lowest()) and not math.isnan(value)):
            self.winner = len(self.trials) - 1

    def lowest(self):
        return self.trials[self.winner][1]

    def close(self):
        return SearchResult(*self.trials[self.winner], self.trials)


def grid_search(objective, space):
    if not space or not all(isinstance(parsed(entry), Values) for entry in space.values()):
        raise ValueError("a grid needs lists")
    book = Book(objective)
    extend = lambda points, name: [{**point, name: value} for value in space[name] for point in points]  # noqa: E731
    for point in reduce(extend, space, [{}]):
        book.ask(point)
    return book.close()


def random_search(objective, space, n_trials, *, seed):
    if not space or n_trials < 1:
        raise ValueError("nothing to draw")
    parts = {name: parsed(entry) for name, entry in space.items()}
    generator = torch.Generator()
    generator.manual_seed(seed)
    book = Book(objective)
    for _ in range(n_trials):
        book.ask({n: p.at(torch.rand(1, generator=generator, dtype=torch.double).item()) for n, p in parts.items()})
    return book.close()


def expected_improvement(mean, std, best, xi=0.0):
    if (std.isnan() | std.lt(0)).any():
        raise ValueError("no standard deviation")
    gain, spread = float(best) - xi - mean.double(), std.double()
    z = gain / spread
    per_std = torch.special.log_ndtr(z).exp() * z + torch.exp(-z.square() / 2) / math.sqrt(math.tau)
    return torch.where(spread == 0, gain, spread * per_std).relu().to(mean.dtype)


def gram(a, b, length):
    squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return squares.clamp(min=0).div(-2 * length**2).exp()


def gp_posterior(seen, values, points, length=0.4, jitter=1e-6):
    known = gram(seen, seen, length) + jitter * torch.eye(len(seen), dtype=seen.dtype)
    cross = gram(seen, points, length)
    solved = torch.cholesky_solve(torch.cat([values[:, None], cross], 1), torch.linalg.cholesky(known))
    variance = 1 - torch.einsum("nm,nm->m", cross, solved[:, 1:])
    return cross.T @ solved[:, 0], variance.relu().sqrt()


def likelihood(seen, values, length):
    """Of the values, as a logarithm, but for what is the same under all lengths."""
    root = torch.linalg.cholesky(gram(seen, seen, length) + 1e-5 * torch.eye(len(seen), dtype=seen.dtype))
    white = torch.linalg.solve_triangular(root, values[:, None], upper=False)
    return -root.diagonal().log().sum() - white.square().sum() / 2


def bayesian_search(objective, bounds, n_trials, *, seed, n_start=4):
    parts = {name: parsed(entry) for name, entry in bounds.items()}
    if not parts or n_trials < 1 or n_start < 2 or any(isinstance(part, Values) for part in parts.values()):
        raise ValueError("ranges, trials and a random start are needed")
    engine = torch.quasirandom.SobolEngine(len(parts), scramble=True, seed=seed)
    rows = [*engine.draw(min(n_start, n_trials), dtype=torch.float64)]
    book = Book(objective)
    for number in range(n_trials):
        if number >= n_start:
            seen = torch.stack(rows)
            losses = torch.tensor([loss for _, loss in book.trials], dtype=torch.float64)
            losses = losses - losses.mean()
            if losses.any():
                losses = losses / losses.square().mean().sqrt()
            length = max(LENGTHS, key=lambda length: likelihood(seen, losses, length))
            options = engine.draw(512, dtype=torch.float64)
            mean, std = gp_posterior(seen, losses, options, length.item(), 1e-5)
            rows.append(options[torch.argmax(expected_improvement(mean, std, losses.min()))])
        book.ask(
            {name: part.at(share) for (name, part), share in zip(parts.items(), rows[number].tolist(), strict=True)}
        )
    return book.close()
