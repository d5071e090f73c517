"""Starts a measuring process for each number of threads, collects what they measure, and writes it to files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dojo.authoring.bench import worker
from dojo.authoring.bench.results import BenchReport, Measurement, MeasureRequest
from dojo.authoring.extras import INSTALL_NOTEBOOKS
from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.core.stubs import require_solutions, stub

Progress = Callable[[str], None]


def bench(
    checkout: Checkout,
    catalog: Catalog,
    names: Sequence[str],
    *,
    peers: bool,
    device: str,
    threads: Sequence[int],
    sweep: bool,
    seconds: float,
    progress: Progress,
) -> BenchReport:
    """Measures the katas called `names`, or all that have a bench file if there are none."""
    require_solutions(checkout)
    katas = choose_katas(checkout, catalog, names)
    report = BenchReport(device)
    learner_files = {}
    for kata in katas:
        if file := learner_file(checkout, kata, report, progress):
            learner_files[kata] = str(file)
    for place, count in enumerate(threads):
        # Growth does not depend on the number of threads: the sweep runs once, at the first number.
        request = MeasureRequest(
            str(checkout.root), katas, learner_files, count, device, peers, sweep and place == 0, seconds
        )
        _measure(request, report, progress)
    return report


def thread_counts(text: str) -> list[int]:
    """ "1,2" -> [1, 2]; raises UserError for anything else."""
    counts = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(counts) != len(text.split(",")) or 0 in counts:
        raise UserError(f"--threads takes numbers from 1 on, with commas between them, such as 1,2; not {text!r}.")
    return list(dict.fromkeys(counts))


def choose_katas(checkout: Checkout, catalog: Catalog, names: Sequence[str]) -> list[str]:
    """Returns the katas to measure. Raises UserError for a kata that has no bench file."""
    benched = [kata.name for kata in catalog.katas if checkout.bench(kata.name).is_file()]
    chosen = [catalog.find(name).name for name in names]
    for name in chosen:
        if name not in benched:
            raise UserError(f"{name} has no bench file tests/{name}/bench.py. These have one: {', '.join(benched)}.")
    return chosen or benched


def learner_file(checkout: Checkout, kata: str, report: BenchReport, progress: Progress) -> Path | None:
    """Returns the learner's file if it is no stub and passes every test; notes in `report` if a test fails."""
    target = Path(os.environ.get("KATAS_DIR") or checkout.answers).resolve()
    file = target / f"{kata}.py"
    if target == checkout.solutions.resolve() or not file.is_file():
        return None
    if file.read_bytes() == stub(checkout, kata).encode():
        return None
    progress(f"{kata}: does yours pass?")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--no-history", checkout.tests_argument(kata)],
        cwd=checkout.root,
        env={**os.environ, "KATAS_DIR": str(target), "PYTEST_ADDOPTS": ""},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        report.note(f"{kata}: yours is left out, because its tests do not pass yet (kata test {kata}).")
        return None
    return file


def _measure(request: MeasureRequest, report: BenchReport, progress: Progress) -> None:
    """Runs workers until every kata was tried: after a crash the next worker goes on behind the kata that crashed."""
    waiting = list(request.katas)
    while waiting:
        kata, code = _run_worker(replace(request, katas=waiting), report, progress)
        if code == 0:
            return
        if not kata:
            report.problems.append(f"The measuring process ended with {code} before it measured anything.")
            return
        report.problems.append(f"{kata}: the measuring process ended with {code}; its figures are not complete.")
        waiting = waiting[waiting.index(kata) + 1 :]


def _run_worker(request: MeasureRequest, report: BenchReport, progress: Progress) -> tuple[str, int]:
    """Runs one worker and adds its messages to `report`; returns the kata that it began last and its exit code."""
    count = str(request.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, [request.root, os.environ.get("PYTHONPATH", "")]))}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    kata = ""
    with subprocess.Popen(
        [sys.executable, "-m", worker.__name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=request.root,
        env=environment,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(asdict(request)))
            process.stdin.close()
            for line in process.stdout:
                kind, content = json.loads(line)
                if kind == "begins":
                    kata = content
                    progress(f"{kata}, {count} thread{'s' * (count != '1')}")
                _add_message(report, kind, content)
        except BaseException:
            process.kill()
            raise
    return kata, process.returncode


def _add_message(report: BenchReport, kind: str, content: Any) -> None:
    if kind == "machine":
        report.machine = content
    elif kind == "ceilings":
        report.ceilings.append(content)
    elif kind == "measurement":
        report.measurements.append(Measurement(**content))
    elif kind == "missing":
        report.note(f"{content} is not installed and was left out: pip install -r requirements-peers.txt")
    elif kind == "problem":
        report.problems.append(content)


def write(report: BenchReport, folder: Path) -> list[Path]:
    """Writes bench.json, and two pictures if matplotlib is installed; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "bench.json"
    file.write_text(json.dumps(report.as_dict(), indent=1) + "\n", encoding="utf-8")
    try:
        from dojo.authoring.bench.plot import draw
    except ImportError:
        report.note(f"matplotlib is not installed, so nothing was drawn: {INSTALL_NOTEBOOKS}")
        return [file]
    return [file, *draw(report, folder)]
