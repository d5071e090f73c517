"""What there is to grade: submissions, their files, and the distinct files among them."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dojo.grade.intake import Taken, take_in
from dojo.grade.results import CaseResult, KataResult
from dojo.paths import Checkout
from dojo.problem import Problem


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


def find(folder: Path) -> list[Path]:
    """The submissions: the folders in `folder`, by name. Raises Problem when there is none."""
    try:
        found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.is_symlink() and p.name[0] != ".")
    except OSError as error:
        raise Problem(
            f"{folder} cannot be read: {error.strerror}. It should hold one folder for each submission."
        ) from error
    if not found:
        raise Problem(f"{folder} holds no folder. It should hold one for each submission, with katas/*.py in it.")
    return found


def read(checkout: Checkout, folders: list[Path], katas: list[str]) -> Plan:
    """Takes every submission in; equal sources are kept once."""
    plan = Plan({}, {}, {})
    for folder in folders:
        try:
            taken = take_in(folder, katas, checkout=checkout)
        except Problem as problem:
            plan.trouble[shown(folder)] = str(problem)
            nothing = {kata: Taken(kata, None, None, "not_attempted", str(problem)) for kata in katas}
            plan.handed_in[shown(folder)] = nothing
            continue
        for kata, file in taken.items():
            if file.status == "ok" and file.source is not None and file.sha256 is not None:
                plan.sources.setdefault((kata, file.sha256), file.source)
        plan.handed_in[shown(folder)] = {kata: replace(file, source=None) for kata, file in taken.items()}
    return plan


def shown(folder: Path) -> str:
    """The folder's name; what is no text in it is escaped."""
    return folder.name.encode("utf-8", "backslashreplace").decode()


class Results:
    """The graded files on disk, named by everything that decides: kata, upstream, seed and content."""

    def __init__(self, folder: Path, upstream: str, commitment: str) -> None:
        self.folder, self.base = folder, f"{upstream}\n{commitment}"

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
        from dojo.grade.commands import put

        if result.status != "error":
            put(self.path(result.id, sha256), text(result))


def text(result: KataResult) -> str:
    return json.dumps(asdict(result), ensure_ascii=True)


def parse(text: str) -> KataResult:
    """Raises ValueError, TypeError or KeyError for anything else."""
    fields = json.loads(text)
    cases = tuple(CaseResult(**case) for case in fields.pop("cases"))
    return KataResult(**fields | {"cases": cases, "mistakes": tuple(fields["mistakes"])})
