"""What there is to grade: submissions, their files, and the distinct files among them."""

import hashlib
import json
import os
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.grading.reports.escape import plain
from dojo.grading.results import CaseResult, KataResult
from dojo.grading.submission.intake import Taken, take_in

if TYPE_CHECKING:
    from dojo.grading.grader import Grader


@dataclass(frozen=True)
class Unit:
    """One distinct file of one kata; `path` is a submission that holds it."""

    kata: str
    sha256: str
    submission: Path


@dataclass(frozen=True)
class Plan:
    """`handed_in` says what each submission holds, without the sources; an empty one has `trouble`."""

    handed_in: dict[str, dict[str, Taken]]
    trouble: dict[str, str]
    sources: dict[tuple[str, str], bytes]

    def files(self) -> Iterator[tuple[str, str, Taken]]:
        """Submission, kata, file."""
        for name, taken in self.handed_in.items():
            for kata, file in taken.items():
                yield name, kata, file


def find(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The submissions, each under a name of its own, and what else lies in `folder`. Raises UserError when there is none."""
    try:
        entries = sorted((p for p in folder.iterdir() if p.name[0] != "."), key=lambda p: os.fsencode(p.name))
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read: {error.strerror}. It should hold one folder for each submission."
        ) from error
    found: dict[str, Path] = {}
    for path in entries:
        if path.is_dir() and not path.is_symlink():
            found[_label(path.name, found)] = path
    others = [plain(path.name) for path in entries if path.is_symlink() or not path.is_dir()]
    if not found:
        held = f"it holds {', '.join(others[:5])}" if others else "it is empty"
        archives = " Unpack the archives first." if any(name.endswith((".zip", ".gz")) for name in others) else ""
        raise UserError(
            f"{folder} should hold one folder for each submission, with katas/*.py in it; {held}.{archives}"
        )
    return found, others


def _label(name: str, taken: Container[str]) -> str:
    """The folder's name where that is plain text and free; else what can be shown of it, and a mark of its own."""
    raw = os.fsencode(name)
    if plain(name) == name and len(raw) <= 100 and name.casefold() not in taken and name not in taken:
        return name
    shown = "".join(c for c in plain(name) if c.isalnum() or c in " ._-")[:60].strip() or "name"
    return f"{shown}~{hashlib.sha256(raw).hexdigest()[:16]}"


def read(checkout: Checkout, folders: dict[str, Path], katas: list[str]) -> Plan:
    """Takes every submission in; equal sources are kept once."""
    plan = Plan({}, {}, {})
    for name, folder in folders.items():
        try:
            taken = take_in(folder, katas, checkout=checkout)
        except UserError as problem:
            plan.trouble[name] = str(problem)
            plan.handed_in[name] = {kata: Taken(kata, None, None, "not_attempted", str(problem)) for kata in katas}
            continue
        for kata, file in taken.items():
            if file.status == "ok" and file.source is not None and file.sha256 is not None:
                plan.sources.setdefault((kata, file.sha256), file.source)
        plan.handed_in[name] = {kata: replace(file, source=None) for kata, file in taken.items()}
    return plan


class Results:
    """The graded files on disk, named by everything that decides: kata, content, upstream, seed, fences, naming."""

    def __init__(self, folder: Path, grader: "Grader") -> None:
        self.folder = folder
        self.base = f"{grader.upstream}\n{grader.seed.commitment}\n{grader.standing.layers}\n{grader.naming}"

    def path(self, kata: str, sha256: str) -> Path:
        key = hashlib.sha256(f"{kata}\n{sha256}\n{self.base}".encode()).hexdigest()
        return self.folder / kata / f"{key[:40]}.json"

    def get(self, kata: str, sha256: str) -> KataResult | None:
        """None when it is not graded yet, or the file is damaged."""
        try:
            return parse(self.path(kata, sha256).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def keep(self, result: KataResult, sha256: str) -> None:
        """A fault of the grader's is not kept: the next run tries again."""
        from dojo.core.files import write

        if result.status != "error":
            write(self.path(result.id, sha256), text(result))


def text(result: KataResult) -> str:
    return json.dumps(asdict(result), ensure_ascii=True)


def parse(text: str) -> KataResult:
    """Raises ValueError, TypeError or KeyError for anything else."""
    fields = json.loads(text)
    cases = tuple(CaseResult(**case) for case in fields.pop("cases"))
    return KataResult(**fields | {"cases": cases, "mistakes": tuple(fields["mistakes"])})
