"""The measuring process of `kata dev bench`, which imports torch; a crash in it costs the figures of one kata only.

Reads a MeasureRequest as JSON from standard input, and writes messages to standard output, one line of JSON each:
[kind, content]. What a kata prints goes to standard error.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dojo.authoring.bench.results import Measurement, MeasureRequest
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.core.source import decode

if TYPE_CHECKING:
    from dojo.testing.bench import Bench, Work


def main() -> None:
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = MeasureRequest(**json.load(sys.stdin))
    import torch

    from dojo.authoring.bench.machine import describe
    from dojo.authoring.bench.timing import ceilings

    torch.set_num_threads(request.threads)
    _send(lines, "machine", describe())
    rates = ceilings(request.device, request.threads)
    _send(lines, "ceilings", {"threads": request.threads, "bytes_per_second": rates[0], "flops_per_second": rates[1]})
    for kata in request.katas:
        _send(lines, "begins", kata)
        _measure(request, kata, rates, lines)


def _measure(request: MeasureRequest, kata: str, rates: tuple[float, float], lines: TextIO) -> None:
    from dojo.testing.bench import Bench, load_plan

    checkout = Checkout(Path(request.root))
    adapters = checkout.peers(kata) if request.peers else None
    try:
        plan = load_plan(checkout.bench(kata))
        modules = implementations(checkout, kata, request.learner_files.get(kata), plan.alternatives)
        for work in plan.works:
            for swept, size in work.sizes() if request.sweep else work.sizes()[:1]:
                bench = work.set_up(Bench(modules, device=request.device, adapters=adapters), size)
                for library in bench.missing:
                    _send(lines, "missing", library)
                bench.agree()
                for measurement in _time_ways(request, kata, work, swept, size, bench, rates):
                    _send(lines, "measurement", asdict(measurement))
    except UserError as error:
        _send(lines, "problem", f"{kata}: {error}")


def _time_ways(
    request: MeasureRequest,
    kata: str,
    work: "Work",
    swept: str,
    size: dict[str, int],
    bench: "Bench",
    rates: tuple[float, float],
) -> Iterator[Measurement]:
    from dojo.authoring.bench.timing import race
    from dojo.testing.cost import measure

    costs = {}
    for way, run in bench.ways.items():
        with measure() as costs[way]:
            run()
    seconds = request.seconds / (4 if swept else 1)
    for way, pace in race(bench.ways, threads=request.threads, seconds=seconds).items():
        yield Measurement(
            kata=kata,
            work=work.name,
            says=work.says,
            size=size,
            swept=swept,
            threads=request.threads,
            way=way,
            **asdict(pace),
            counts=work.counts,
            bytes=costs[way].bytes,
            flops=costs[way].flops,
            operators=costs[way].operators,
            floor=max(bench.bytes / rates[0], bench.flops / rates[1]),
        )


def implementations(
    checkout: Checkout, kata: str, learner_file: str | None, alternatives: tuple[str, ...]
) -> dict[str, Any]:
    """Loads the modules that take part: the reference, the learner's, and the alternatives that the bench file names."""
    files = {"reference": checkout.reference(kata)}
    if learner_file:
        files["yours"] = Path(learner_file)
    files |= {name: checkout.alternative(kata, name) for name in alternatives}
    return {name: load_source(f"bench_{kata}_{name}", file) for name, file in files.items()}


def load_source(name: str, file: Path) -> Any:
    """Loads the module in `file` under `name`, outside the `katas` package. Imports torch."""
    from dojo.testing.probes import load_module

    return load_module(name, decode(file.read_bytes()), str(file))


def _send(lines: TextIO, kind: str, content: Any) -> None:
    lines.write(json.dumps([kind, content]) + "\n")
    lines.flush()


if __name__ == "__main__":
    main()
