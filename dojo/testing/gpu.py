"""For speed tests: the peak rates of this GPU, and benchmarks with a cold cache.

No test asserts a time. A GPU test reports its rate as a fraction of the peak rate that the same GPU had just before.
"""

import importlib.util
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

CACHE_FLUSH_BYTES = 256 * 2**20  # written between rounds; larger than any L2 cache


def copy_bandwidth(device: str = "cuda") -> float:
    """Bytes per second of a large copy on the device, reads plus writes: the upper limit of memory-bound code."""
    source = torch.rand(2**28, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _median_seconds(lambda: target.copy_(source))


def matmul_rate(device: str = "cuda", dtype: torch.dtype = torch.float32, size: int = 4096) -> float:
    """FLOP per second of a large matrix product: the upper limit of compute-bound code in this dtype."""
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    return 2 * size**3 / _median_seconds(lambda: a @ b)


def gpu_benchmark(
    benchmark: Any, run: Callable[..., Any], inputs: Callable[[], tuple[Any, ...]], *, rounds: int = 30
) -> tuple[tuple[Any, ...], Any]:
    """Benchmarks `run(*inputs())` on CUDA: new inputs each round, cold L2 cache, synchronised.

    Returns the inputs and the result of the last round, for the test to check. `seconds_of(benchmark)` is the time.
    """
    last: dict[str, Any] = {}
    flush = torch.empty(CACHE_FLUSH_BYTES, dtype=torch.uint8, device="cuda")

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        arguments = inputs()
        last["inputs"] = arguments
        flush.zero_()
        torch.cuda.synchronize()
        return arguments, {}

    def synchronised(*arguments: Any) -> None:
        last["result"] = run(*arguments)
        torch.cuda.synchronize()

    benchmark.pedantic(synchronised, setup=setup, rounds=rounds, warmup_rounds=5)
    return last["inputs"], last["result"]


def compare(benchmark: Any, capsys: Any, ways: dict[str, Callable[[], Any]], *, rounds: int = 30) -> None:
    """Benchmarks the first of `ways` and prints how many times as long each other way takes.

    The ways alternate in every round, so that a busy machine slows all of them alike. Ratios are medians over the rounds.
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
    """The median seconds per call of a benchmark that has run; NaN if benchmarking is switched off."""
    return float(benchmark.stats.stats.median) if benchmark.stats else float("nan")


def report(benchmark: Any, capsys: Any, sentence: str, **figures: float) -> None:
    """Saves `figures` in the benchmark's JSON and prints `sentence` although pytest captures output."""
    benchmark.extra_info.update(figures)
    with capsys.disabled():
        print(f"\n    {sentence}")


def _median_seconds(run: Callable[[], Tensor], repeats: int = 20) -> float:
    """The median time of `run()` on the GPU, measured with CUDA events."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]  # torch's class is not annotated
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(float(start.elapsed_time(end)) / 1000)
    return median(times)


def installed(library: str) -> bool:
    """Whether an optional library (the `peers` extra) is installed."""
    return importlib.util.find_spec(library) is not None


def cuda_missing() -> str:
    """Why CUDA cannot be used here; "" if it can."""
    if torch.cuda.is_available():
        return ""
    if not torch.version.cuda:
        return "needs a CUDA device: this torch is a CPU build"
    return "needs a CUDA device: none was found"
