"""How fast each kata is, beside the naive way and the libraries: the works of its bench.py, under pytest-benchmark.

    pytest --benchmark-only --katas=solutions tests/test_speed.py -k ddpm

No verdict depends on seconds. On a GPU, plain `pytest` runs the GPU's half as well. `kata dev bench` sweeps sizes.
"""

import importlib
from pathlib import Path

import pytest

from dojo.core.errors import UserError
from dojo.testing.bench import Bench, load_plan
from dojo.testing.gpu import compare, copy_bandwidth, gpu_benchmark, matmul_rate, report, seconds_of

WORKS = [
    pytest.param(file, work, id=f"{file.parent.name}-{work.name}")
    for file in sorted(Path(__file__).parent.glob("*/bench.py"))
    for work in load_plan(file).works
]


def set_up(file, work, size, device):
    """The ways to do the work; yours comes first. All give right results."""
    kata = importlib.import_module(f"katas.{file.parent.name}")
    bench = Bench({"yours": kata}, device=device, adapters=sorted((file.parent / "peers").glob("*.py")))
    try:
        work.set_up(bench, size)
        bench.ways["yours"]()
        bench.agree()
    except NotImplementedError as unwritten:
        pytest.skip(f"not started: {unwritten}")
    except UserError as error:
        pytest.fail(str(error), pytrace=False)
    return bench


@pytest.mark.parametrize(("file", "work"), WORKS)
def test_speed_on_cpu(benchmark, capsys, file, work):
    """The ways take turns; the printed ratios are what to look at."""
    compare(benchmark, capsys, set_up(file, work, work.size, "cpu").ways, rounds=10)


@pytest.mark.gpu
@pytest.mark.parametrize(("file", "work"), WORKS)
def test_speed_on_gpu(benchmark, capsys, file, work):
    """As a fraction of what this card could do at best: the work's least traffic and FLOPs, at its own peak rates."""
    bench = set_up(file, work, {**work.size, **work.gpu}, "cuda")
    least = max(bench.bytes / copy_bandwidth(), bench.flops / matmul_rate())
    gpu_benchmark(benchmark, bench.ways["yours"], lambda: ())
    seconds = seconds_of(benchmark)
    report(
        benchmark,
        capsys,
        f"{seconds * 1e3:.3g} ms; the least possible on this card is {least / seconds:.0%} of it",
        seconds=seconds,
        fraction=least / seconds,
    )
