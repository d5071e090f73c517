"""How long a save takes to become a verdict, beside a cold pytest in the same run.

The file is saved the way editors do (written beside, then renamed), the operating system tells the watcher, the
forkserver forks: all of the way that `kata watch` goes but for drawing the screen. Wrong, solved and untouched files take
turns. Cold runs stand between the warm ones, so that both meet the same machine.
"""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.core.stubs import stub
from dojo.engine.file_watcher import Saves
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import FirstFailure, Job, JobDied, Verdict

KATAS = ("top_k_sampling", "ddpm", "lora_linear", "classification_loop", "controlnet_block")


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one kata. `first` is when the first wrong answer was told, or the verdict if there was none."""

    kata: str
    first: list[float]
    whole: list[float]
    cold: list[float]


def percentile(values: list[float], share: float) -> float:
    """The value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def measure(checkout: Checkout, katas: tuple[str, ...] = KATAS, saves: int = 12, cold: int = 3) -> list[Latency]:
    """For each kata: `saves` saves of three kinds of file in turn, with `cold` cold runs between them."""
    found = []
    with tempfile.TemporaryDirectory(prefix="kata-bench-") as folder, ForkServer(checkout) as forkserver:
        target = Path(folder).resolve()
        watched = Saves(target)
        time.sleep(0.5)  # the watch is set up in a thread of its own
        try:
            _ready(forkserver)
            for kata in katas:
                found.append(_measure(checkout, kata, target, forkserver, watched, saves, cold))
        finally:
            watched.close()
    return found


def _ready(forkserver: ForkServer) -> None:
    if not forkserver.messages(60):
        raise UserError("The warm process did not start within a minute; try again on a quieter machine.")


def _measure(
    checkout: Checkout, kata: str, target: Path, forkserver: ForkServer, watched: Saves, saves: int, cold: int
) -> Latency:
    reference = checkout.reference(kata).read_text(encoding="utf-8")
    wrong = load_mistakes(checkout.mistakes(kata)).named
    result = Latency(kata, [], [], [])
    for number in range(-2, saves):  # the first two load what this kata's tests import
        kinds = (stub(checkout, kata), wrong[number % len(wrong)].apply(reference), reference)
        first, whole = _save(target, kata, f"{kinds[number % 3]}\n# save {number}\n", forkserver, watched, number)
        if number >= 0:
            result.first.append(first)
            result.whole.append(whole)
            if number % max(1, saves // cold) == 0 and len(result.cold) < cold:
                result.cold.append(_cold(checkout, kata, target))
    return result


def _save(
    target: Path, kata: str, text: str, forkserver: ForkServer, watched: Saves, number: int
) -> tuple[float, float]:
    """Milliseconds from the save to the first failure told, and to the whole verdict."""
    while watched.connection.poll(0.1):
        watched.connection.recv()
    began = time.perf_counter()
    write(target / f"{kata}.py", text)
    while kata not in (watched.connection.recv() if watched.connection.poll(5) else {kata}):
        pass
    forkserver.submit(Job(number, kata, target, naming=False))
    first = 0.0
    while True:
        wait([forkserver.connection], timeout=30)
        for message in forkserver.messages():
            if isinstance(message, JobDied):
                raise UserError(f"{kata}: the run {message.why}; nothing was measured.")
            if getattr(message, "number", None) != number:
                continue
            now = (time.perf_counter() - began) * 1000
            if isinstance(message, FirstFailure):
                first = now
            elif isinstance(message, Verdict):
                return first or now, now


def _cold(checkout: Checkout, kata: str, target: Path) -> float:
    environment = {**os.environ, "KATAS_DIR": str(target)}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-history", str(checkout.tests(kata))],
        cwd=checkout.root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return (time.perf_counter() - began) * 1000


def rows(found: list[Latency]) -> list[tuple[str, ...]]:
    """One line a kata and one for all: medians and 95th percentiles, and cold over warm."""
    together = ([value for one in found for value in getattr(one, part)] for part in ("first", "whole", "cold"))
    everything = Latency("all", *together)
    return [
        (
            one.kata,
            f"{statistics.median(one.first):.0f}",
            f"{percentile(one.first, 0.95):.0f}",
            f"{statistics.median(one.whole):.0f}",
            f"{percentile(one.whole, 0.95):.0f}",
            f"{statistics.median(one.cold):.0f}",
            f"{statistics.median(one.cold) / statistics.median(one.whole):.0f}x",
        )
        for one in [*found, *([everything] if len(found) > 1 else [])]
    ]
