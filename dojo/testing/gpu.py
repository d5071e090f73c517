"""For the speed tests: what this card can do, measured just before, and benchmarks that leave nothing in the cache.

No test asserts a time. A GPU test reports what it achieved as a fraction of what the same card did a moment ago.
"""

import importlib.util
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

L2 = 256 * 2**20  # bytes written between rounds, more than any cache holds


def copy_bandwidth(device: str = "cuda") -> float:
    """Bytes per second of a large device-to-device copy, reads and writes both counted; the ceiling of memory-bound code."""
    source = torch.rand(2**28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median_seconds(lambda: target.copy_(source))


def matmul_rate(device: str = "cuda", dtype: torch.dtype = torch.float32, size: int = 4096) -> float:
    """FLOP per second of a large square matrix product; the ceiling of compute-bound code in this dtype."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / _median_seconds(lambda: a @ b)


def gpu_benchmark(
    benchmark: Any, run: Callable[..., Any], inputs: Callable[[], tuple], *, rounds: int = 30
) -> tuple[tuple, Any]:
    """Benchmarks `run(*inputs())` on CUDA: fresh inputs each round, cold L2, synchronised. Returns the last inputs and result.

    Check that result: a fast wrong answer is worth nothing. Seconds per call are in `seconds_of(benchmark)`.
    """
    last: dict[str, Any] = {}
    flush = torch.empty(L2, dtype=torch.uint8, device="cuda")

    def setup() -> tuple[tuple, dict]:
        last["inputs"] = inputs()
        flush.zero_()
        torch.cuda.synchronize()
        return last["inputs"], {}

    def synchronised(*arguments: Any) -> None:
        last["result"] = run(*arguments)
        torch.cuda.synchronize()

    benchmark.pedantic(synchronised, setup=setup, rounds=rounds, warmup_rounds=5)
    return last["inputs"], last["result"]


def compare(benchmark: Any, capsys: Any, ways: dict[str, Callable[[], Any]], *, rounds: int = 30) -> None:
    """Benchmarks the first of `ways` and prints how many times as long each other one takes.

    The ways take turns in every round, so a busy machine slows all of them alike; ratios are medians over the rounds.
    """
    for way in ways.values():
        way()
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            times[name].append(time.perf_counter() - start)
    first, *others = ways
    benchmark.pedantic(ways[first], rounds=rounds, warmup_rounds=2)
    lines = [f"{first}: {median(times[first]) * 1e3:.3g} ms on {torch.get_num_threads()} threads"]
    for name in others:
        ratios = sorted(b / a for a, b in zip(times[first], times[name], strict=True))
        low, high = ratios[rounds // 4], ratios[-rounds // 4]
        lines.append(f"{name}: {median(ratios):.2f}x as long (middle half {low:.2f} to {high:.2f})")
    report(benchmark, capsys, "\n    ".join(lines), **{name: median(t) for name, t in times.items()})


def seconds_of(benchmark: Any) -> float:
    """Median seconds per call of a benchmark that has run; NaN when benchmarking is off."""
    return benchmark.stats.stats.median if benchmark.stats else float("nan")


def report(benchmark: Any, capsys: Any, sentence: str, **figures: float) -> None:
    """Keeps `figures` in the benchmark's JSON and prints `sentence` past pytest's capture."""
    benchmark.extra_info.update(figures)
    with capsys.disabled():
        print(f"\n    {sentence}")


def _median_seconds(run: Callable[[], Tensor], repeats: int = 20) -> float:
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1000)
    return median(times)


def installed(library: str) -> bool:
    """Whether an optional library (the `peers` extra) is there to compare with."""
    return importlib.util.find_spec(library) is not None
