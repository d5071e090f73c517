"""Measures how long a save takes to become a verdict in `kata watch`, beside a pytest that starts cold.

The file is saved as editors do it: written beside, then renamed. The file watcher notices, and the fork server runs the
tests, as in `kata watch`; only the screen is not drawn. Wrong, solved and untouched files take turns, and cold runs stand
between the others, so that both meet the same load.
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
from dojo.engine.file_watcher import FileWatcher
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import FirstFailure, Job, JobDied, Verdict

START_TIMEOUT_S = 60.0
PAUSE_S = 0.3  # between a verdict and the next save; a person takes longer
KATAS = ("top_k_sampling", "ddpm", "lora_linear", "classification_loop", "controlnet_block")


@dataclass(frozen=True)
class Latency:
    """Milliseconds for one kata, one number for each save or cold run."""

    kata: str
    first_failure: list[float]  # from the save to the first failed test, or to the verdict if none failed
    verdict: list[float]  # from the save to the verdict
    cold: list[float]  # of a cold pytest


def percentile(values: list[float], share: float) -> float:
    """Returns the value that `share` of `values` do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def measure(checkout: Checkout, katas: tuple[str, ...] = KATAS, saves: int = 12, cold: int = 3) -> list[Latency]:
    """Measures for each kata `saves` saves of three kinds of file in turn, with `cold` cold runs between them."""
    latencies = []
    with tempfile.TemporaryDirectory(prefix="kata-bench-") as folder, ForkServer(checkout) as forkserver:
        target = Path(folder).resolve()
        watcher = FileWatcher(target)
        time.sleep(0.5)  # the watcher's thread has to start
        try:
            if not forkserver.messages(START_TIMEOUT_S):
                raise UserError(
                    "The process that runs the tests did not start within a minute; try again on a quieter machine."
                )
            for kata in katas:
                latencies.append(_measure(checkout, kata, target, forkserver, watcher, saves, cold))
        finally:
            watcher.close()
    return latencies


def _measure(
    checkout: Checkout, kata: str, target: Path, forkserver: ForkServer, watcher: FileWatcher, saves: int, cold: int
) -> Latency:
    reference = checkout.reference(kata).read_text(encoding="utf-8")
    wrong = load_mistakes(checkout.mistakes(kata)).named
    result = Latency(kata, [], [], [])
    for number in range(-2, saves):  # the first two load what this kata's tests import
        kinds = (stub(checkout, kata), wrong[number % len(wrong)].apply(reference), reference)
        text = f"{kinds[number % 3]}\n# save {number}\n"
        first_failure, verdict = _save_and_wait(target, kata, text, forkserver, watcher, number)
        if number >= 0:
            result.first_failure.append(first_failure)
            result.verdict.append(verdict)
            if number % max(1, saves // cold) == 0 and len(result.cold) < cold:
                result.cold.append(_run_cold(checkout, kata, target))
    return result


def _save_and_wait(
    target: Path, kata: str, text: str, forkserver: ForkServer, watcher: FileWatcher, number: int
) -> tuple[float, float]:
    """Returns the milliseconds from the save to the first failure and to the verdict."""
    time.sleep(PAUSE_S)
    while watcher.connection.poll(0.1):
        watcher.connection.recv()
    began = time.perf_counter()
    write(target / f"{kata}.py", text)
    while kata not in (watcher.connection.recv() if watcher.connection.poll(5) else {kata}):
        pass
    forkserver.submit(Job(number, kata, target, diagnose=False))
    first_failure = 0.0
    while True:
        wait([forkserver.connection], timeout=30)
        for message in forkserver.messages():
            if isinstance(message, JobDied):
                raise UserError(f"{kata}: the run {message.why}; nothing was measured.")
            if getattr(message, "number", None) != number:
                continue
            now = (time.perf_counter() - began) * 1000
            if isinstance(message, FirstFailure):
                first_failure = now
            elif isinstance(message, Verdict):
                return first_failure or now, now


def _run_cold(checkout: Checkout, kata: str, target: Path) -> float:
    """Returns the milliseconds of one pytest process."""
    environment = {**os.environ, "KATAS_DIR": str(target)}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--no-history", checkout.tests_argument(kata)],
        cwd=checkout.root,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return (time.perf_counter() - began) * 1000


def rows(latencies: list[Latency]) -> list[tuple[str, ...]]:
    """Formats a row for each kata and one for all: medians and 95th percentiles, and cold over warm."""
    if len(latencies) > 1:
        parts = ("first_failure", "verdict", "cold")
        joined = ([value for latency in latencies for value in getattr(latency, part)] for part in parts)
        latencies = [*latencies, Latency("all", *joined)]
    return [
        (
            latency.kata,
            f"{statistics.median(latency.first_failure):.0f}",
            f"{percentile(latency.first_failure, 0.95):.0f}",
            f"{statistics.median(latency.verdict):.0f}",
            f"{percentile(latency.verdict, 0.95):.0f}",
            f"{statistics.median(latency.cold):.0f}",
            f"{statistics.median(latency.cold) / statistics.median(latency.verdict):.0f}x",
        )
        for latency in latencies
    ]
