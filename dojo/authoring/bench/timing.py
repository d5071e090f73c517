"""Ways take turns: A B C, then C B A, so that a busy machine slows all of them alike; what counts is the ratio of a pair.

torch's own Timer takes the times: it warms up, fixes the number of threads, and waits for the GPU where there is one.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.benchmark import Timer

LEAST = 5  # rounds: below, quartiles mean nothing
MOST = 61
BLOCK = 2e-3  # seconds that one measurement should last at least


@dataclass(frozen=True)
class Pace:
    """One way: median seconds a run, and how many times as long as the first way, by quartiles of the rounds' pairs."""

    seconds: float
    ratio: float
    low: float
    high: float
    rounds: int


def race(ways: Mapping[str, Callable[[], Any]], *, threads: int, seconds: float) -> dict[str, Pace]:
    """Times all `ways` for about `seconds` together; every ratio is to the first of them."""
    timers = {name: Timer("run()", globals={"run": run}, num_threads=threads) for name, run in ways.items()}
    once = {name: timer.timeit(1).median for name, timer in timers.items()}
    numbers = {name: max(1, round(BLOCK / max(spent, 1e-7))) for name, spent in once.items()}
    whole = sum(once[name] * (number + 2 + number // 100) for name, number in numbers.items())  # Timer warms up, too
    rounds = max(LEAST, min(MOST, int(seconds / whole)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            times[name].append(timers[name].timeit(numbers[name]).median)
    return paces(times)


def paces(times: Mapping[str, list[float]]) -> dict[str, Pace]:
    """Medians, and quartiles of the ratios round by round."""
    first = next(iter(times.values()))
    found = {}
    for name, own in times.items():
        ratios = [mine / reference for mine, reference in zip(own, first, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        found[name] = Pace(statistics.median(own), middle, low, high, len(own))
    return found


def ceilings(device: str, threads: int) -> tuple[float, float]:
    """Bytes a second of a large copy (reads and writes both counted), and FLOP a second of a matrix product in float32."""
    import torch

    size = 2**24 if device == "cpu" else 2**28
    source = torch.ones(size, device=device)
    target = torch.empty_like(source)
    side = 1024 if device == "cpu" else 8192
    a, b = (torch.ones(side, side, device=device) for _ in range(2))
    best = {}
    for name, run in (("copy", lambda: target.copy_(source)), ("product", lambda: a @ b)):
        timer = Timer("run()", globals={"run": run}, num_threads=threads)
        best[name] = min(timer.timeit(1).median for _ in range(9))  # the least: what nothing else disturbed
    return 2 * source.nbytes / best["copy"], 2 * side**3 / best["product"]
