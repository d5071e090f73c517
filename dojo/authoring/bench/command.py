"""`kata bench`: starts a measuring process for each number of threads, gathers what they find, writes it down."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dojo.authoring.bench.results import Found, Report, Request
from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.core.stubs import stub

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
) -> Report:
    """Measures the named katas, or all that have a bench file."""
    katas = chosen(checkout, catalog, names)
    report = Report(device)
    own = {}
    for kata in katas:
        if file := own_file(checkout, kata, report, progress):
            own[kata] = str(file)
    for place, count in enumerate(threads):
        # Growth is a matter of the algorithm: the sweep runs once, at the first number of threads.
        request = Request(str(checkout.root), katas, own, count, device, peers, sweep and place == 0, seconds)
        _run(request, report, progress)
    return report


def thread_counts(text: str) -> list[int]:
    """ "1,2" -> [1, 2]; raises UserError for anything else."""
    counts = [int(part) for part in text.split(",") if part.strip().isdecimal()]
    if len(counts) != len(text.split(",")) or 0 in counts:
        raise UserError(f"--threads takes numbers from 1 on, with commas between them, such as 1,2; not {text!r}.")
    return list(dict.fromkeys(counts))


def chosen(checkout: Checkout, catalog: Catalog, names: Sequence[str]) -> list[str]:
    """The katas to measure; raises UserError for one that has nothing to measure."""
    having = [kata.name for kata in catalog.katas if checkout.bench(kata.name).is_file()]
    for name in names:
        if catalog[name].name not in having:
            raise UserError(f"{name} has no bench file tests/bench/{name}.py. These have one: {', '.join(having)}.")
    return list(names) or having


def own_file(checkout: Checkout, kata: str, report: Report, progress: Progress) -> Path | None:
    """The learner's file, if it holds an answer and every test passes."""
    target = Path(os.environ.get("KATAS_DIR") or checkout.katas).resolve()
    file = target / f"{kata}.py"
    if target == checkout.solutions.resolve() or not file.is_file():
        return None
    if file.read_text(encoding="utf-8") == stub(checkout, kata):
        return None
    progress(f"{kata}: does yours pass?")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "--no-history", str(checkout.tests(kata))],
        cwd=checkout.root,
        env={**os.environ, "KATAS_DIR": str(target)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    if done.returncode:
        report.note(f"{kata}: yours is left out, because its tests do not pass yet (kata test {kata}).")
        return None
    return file


def _run(request: Request, report: Report, progress: Progress) -> None:
    """One child after another, until every kata had its turn: a child that dies takes its kata with it, no more."""
    left = list(request.katas)
    while left:
        at, code = _child(Request(**{**asdict(request), "katas": left}), report, progress)
        if code == 0:
            return
        if not at:
            report.problems.append(f"The measuring process ended with {code} before it measured anything.")
            return
        report.problems.append(f"{at}: the measuring process ended with {code}; its figures are not complete.")
        left = left[left.index(at) + 1 :]


def _child(request: Request, report: Report, progress: Progress) -> tuple[str, int]:
    """Runs one child; returns the kata that it was at and its exit code."""
    count = str(request.threads)
    environment = {**os.environ, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "OPENBLAS_NUM_THREADS": count}
    environment |= {"PYTHONPATH": os.pathsep.join(filter(None, [request.root, os.environ.get("PYTHONPATH", "")]))}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error", "DIFFUSERS_VERBOSITY": "error"}
    at = ""
    with subprocess.Popen(
        [sys.executable, "-m", "dojo.authoring.bench.worker"],
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
                    at = content
                    progress(f"{at}, {count} thread{'s' * (count != '1')}")
                _note(report, kind, content)
        except BaseException:
            process.kill()
            raise
    return at, process.returncode


def _note(report: Report, kind: str, content: Any) -> None:
    if kind == "machine":
        report.machine = content
    elif kind == "ceilings":
        report.ceilings.append(content)
    elif kind == "found":
        report.found.append(Found(**content))
    elif kind == "missing":
        report.note(f"{content} is not installed and was left out: pip install -r requirements-peers.txt")
    elif kind == "problem":
        report.problems.append(content)


def write(report: Report, folder: Path) -> list[Path]:
    """bench.json, and the two pictures where matplotlib is installed; returns what was written."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "bench.json"
    file.write_text(json.dumps(asdict(report), indent=1) + "\n", encoding="utf-8")
    try:
        from dojo.authoring.bench.plot import draw
    except ImportError:
        report.note("matplotlib is not installed, so nothing was drawn: pip install matplotlib")
        return [file]
    return [file, *draw(report, folder)]
