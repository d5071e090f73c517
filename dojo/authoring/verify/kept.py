"""Keeps the reports of successful proofs, so that `kata dev verify` does not prove again what has not changed.

A report is kept in `.dojo/cache/` with a digest of everything that the proof reads: it holds on this machine, and until
one of these files, a library or the proof itself changes.
"""

import hashlib
import json
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dojo
from dojo.authoring.verify.report import ProofReport, Survivor
from dojo.core import files
from dojo.core.errors import UserError
from dojo.core.paths import Checkout

LIBRARIES = ("torch", "numpy", "pytest", "scikit-learn", "scipy", "jaxtyping", "pluggy")
ROOMS = ("core", "testing", "engine", "authoring/verify")  # of dojo, as far as a proof uses them


def key(checkout: Checkout, kata: str, settings: str) -> str:
    """A digest of everything that a proof of `kata` with these `settings` depends on."""
    parts = [
        settings,
        sys.version,
        platform.platform(),
        str(Path("/dev/nvidiactl").exists()),
        *map(_version, LIBRARIES),
    ]
    digest = hashlib.sha256("\n".join([kata, *parts]).encode())
    for path in _files(checkout, kata):
        try:
            content = path.read_bytes()
        except OSError:
            continue  # then the key is that of a checkout without this file
        digest.update(f"\0{checkout.shown(path)}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def read(checkout: Checkout, key: str) -> ProofReport | None:
    """The report kept under `key`; None if there is none, or it is damaged."""
    try:
        data = json.loads(_file(checkout, key).read_text(encoding="utf-8"))
        data["survivors"] = [Survivor(*survivor) for survivor in data["survivors"]]
        data["rejected"] = set(data["rejected"])
        report = ProofReport(**data)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return report if report.proved_on and not report.shortfalls else None


def write(checkout: Checkout, key: str, report: ProofReport) -> None:
    """Keeps `report`, which has no shortfall, under `key`. Does nothing where the cache cannot be written."""
    data = asdict(report) | {"rejected": sorted(report.rejected), "proved_on": time.strftime("%Y-%m-%d")}
    try:
        files.write(_file(checkout, key), json.dumps(data))
    except UserError:  # a read-only checkout: it is proved again
        return


def _file(checkout: Checkout, key: str) -> Path:
    return checkout.state / "cache" / f"proof-{key[:32]}.json"


def _files(checkout: Checkout, kata: str) -> Iterator[Path]:
    """The configuration of pytest, the trainer's code, the kata's files and those of every kata that they mention."""
    yield from (checkout.root / name for name in ("conftest.py", "pyproject.toml", "tests/conftest.py"))
    package = Path(dojo.__file__).parent
    for room in ROOMS:
        yield from sorted((package / room).rglob("*.py"))
    written = checkout.differences(kata)  # from the others, after a proof
    for path in sorted(checkout.tests(kata).rglob("*")):
        if path.is_file() and path.suffix != ".pyc" and path != written:
            yield path
    names = {path.stem for path in checkout.solutions.glob("*.py")}
    mentioned, waiting = set(), [kata]
    while waiting:
        name = waiting.pop()
        mentioned.add(name)
        sources = [checkout.reference(name)]
        if name == kata:
            sources += checkout.tests(kata).rglob("*.py")
        words = {word for path in sources if path.is_file() for word in re.findall(rb"\w+", path.read_bytes())}
        waiting += (other for other in names - mentioned - set(waiting) if other.encode() in words)
    yield from (checkout.reference(name) for name in sorted(mentioned))


def _version(library: str) -> str:
    try:
        return f"{library} {version(library)}"
    except PackageNotFoundError:
        return f"no {library}"
