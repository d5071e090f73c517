"""Measures, in a process of its own: threads that once ran make later forks hang, and a crash ends no more than one kata.

A request in JSON comes on standard input, results go out on standard output, one line of JSON each. What a kata prints
goes to standard error.
"""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dojo.authoring.bench.results import Found, Request

if TYPE_CHECKING:
    from dojo.testing.bench import Bench, Work


def main() -> None:
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    request = Request(**json.load(sys.stdin))
    import torch

    torch.set_num_threads(request.threads)
    from dojo.authoring.bench.machine import describe
    from dojo.authoring.bench.timing import ceilings

    _say(lines, "machine", describe())

    rates = ceilings(request.device, request.threads)
    _say(lines, "ceilings", {"threads": request.threads, "bytes_per_second": rates[0], "flops_per_second": rates[1]})
    for kata in request.katas:
        _say(lines, "begins", kata)
        _measure(request, kata, rates, lines)


def _measure(request: Request, kata: str, rates: tuple[float, float], lines: TextIO) -> None:
    from dojo.core.errors import UserError
    from dojo.core.paths import Checkout
    from dojo.testing.bench import Bench, load_plan

    checkout = Checkout(Path(request.root))
    adapters = checkout.peers(kata) if request.peers else None
    try:
        plan = load_plan(checkout.bench(kata))
        modules = implementations(checkout, kata, request.own.get(kata), plan.alternatives)
        for work in plan.works:
            for swept, size in work.sizes() if request.sweep else work.sizes()[:1]:
                bench = work.set_up(Bench(modules, device=request.device, adapters=adapters), size)
                for library in bench.missing:
                    _say(lines, "missing", library)
                bench.agree()
                for found in _raced(request, kata, work, swept, size, bench, rates):
                    _say(lines, "found", asdict(found))
    except UserError as problem:
        _say(lines, "problem", f"{kata}: {problem}")


def _raced(
    request: Request,
    kata: str,
    work: "Work",
    swept: str,
    size: dict[str, int],
    bench: "Bench",
    rates: tuple[float, float],
) -> Iterator[Found]:
    from dojo.authoring.bench.timing import race
    from dojo.testing.cost import measure

    spent = {}
    for way, run in bench.ways.items():
        with measure() as spent[way]:
            run()
    seconds = request.seconds / (4 if swept else 1)
    for way, pace in race(bench.ways, threads=request.threads, seconds=seconds).items():
        yield Found(
            kata=kata,
            work=work.name,
            says=work.says,
            size=size,
            swept=swept,
            threads=request.threads,
            way=way,
            **asdict(pace),
            counts=work.counts,
            bytes=spent[way].bytes,
            flops=spent[way].flops,
            operators=spent[way].operators,
            floor=max(bench.bytes / rates[0], bench.flops / rates[1]),
        )


def implementations(checkout: Any, kata: str, own: str | None, alternatives: tuple[str, ...]) -> dict[str, Any]:
    """The modules that take part: the reference first, then yours, then the alternatives that the bench file names."""
    files = {"reference": checkout.reference(kata)}
    if own:
        files["yours"] = Path(own)
    files |= {name: checkout.solutions / "alternatives" / kata / f"{name}.py" for name in alternatives}
    return {name: load_source(f"bench_{kata}_{name}", file) for name, file in files.items()}


def load_source(name: str, file: Path) -> Any:
    """The module in `file`, of its own, outside the `katas` package. Imports torch."""
    from dojo.testing.probes import load_module

    return load_module(name, file.read_text(encoding="utf-8"), str(file))


def _say(lines: TextIO, kind: str, content: Any) -> None:
    lines.write(json.dumps([kind, content]) + "\n")
    lines.flush()


if __name__ == "__main__":
    main()
