"""Times several ways of the same work in turns: A B C, then C B A, so that a busy machine slows all of them alike.

Ratios are taken within each round. torch's Timer measures: it warms up, fixes the number of threads, and waits for the
GPU if there is one.
"""

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch.utils.benchmark import Timer

MIN_ROUNDS = 5  # with fewer, quartiles mean nothing
MAX_ROUNDS = 61
MIN_MEASUREMENT_S = 2e-3  # shorter runs are repeated within one measurement


@dataclass(frozen=True)
class Pace:
    """How fast one way is: median seconds a run, and the quartiles over all rounds of its ratio to the first way."""

    seconds: float
    ratio: float
    low: float
    high: float
    rounds: int


def race(ways: Mapping[str, Callable[[], Any]], *, threads: int, seconds: float) -> dict[str, Pace]:
    """Times all `ways`, together for about `seconds`. Every ratio is to the first of them."""
    timers = {name: Timer("run()", globals={"run": run}, num_threads=threads) for name, run in ways.items()}
    once = {name: timer.timeit(1).median for name, timer in timers.items()}
    repeats = {name: max(1, round(MIN_MEASUREMENT_S / max(duration, 1e-7))) for name, duration in once.items()}
    round_s = sum(once[name] * (count + 2 + count // 100) for name, count in repeats.items())  # with Timer's warm-up
    rounds = max(MIN_ROUNDS, min(MAX_ROUNDS, int(seconds / round_s)))
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name in list(ways)[:: 1 if number % 2 == 0 else -1]:
            times[name].append(timers[name].timeit(repeats[name]).median)
    return paces(times)


def paces(times: Mapping[str, list[float]]) -> dict[str, Pace]:
    """Returns the pace of each way from its times, round by round."""
    first = next(iter(times.values()))
    result = {}
    for name, durations in times.items():
        ratios = [duration / reference for duration, reference in zip(durations, first, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        result[name] = Pace(statistics.median(durations), middle, low, high, len(durations))
    return result


def ceilings(device: str, threads: int) -> tuple[float, float]:
    """Measures bytes a second of a large copy (reads and writes counted), and FLOP a second of a float32 matrix product."""
    import torch

    size = 2**24 if device == "cpu" else 2**28
    source = torch.ones(size, device=device)
    target = torch.empty_like(source)
    side = 1024 if device == "cpu" else 8192
    a, b = (torch.ones(side, side, device=device) for _ in range(2))
    best = {}
    for name, run in (("copy", lambda: target.copy_(source)), ("product", lambda: a @ b)):
        timer = Timer("run()", globals={"run": run}, num_threads=threads)
        best[name] = min(
            timer.timeit(1).median for _ in range(9)
        )  # the least is the one that other processes disturbed least
    return 2 * source.nbytes / best["copy"], 2 * side**3 / best["product"]
