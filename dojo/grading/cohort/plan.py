"""What is to be graded: the submissions of a class, the distinct files among them, and the results on disk."""

import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.paths import Checkout
from dojo.grading.grader import Grader
from dojo.grading.reports.escape import plain
from dojo.grading.results import CaseResult, KataResult
from dojo.grading.submission.intake import FileStatus, SubmittedFile, read_submission
from dojo.grading.submission.locate import is_nobodys
from dojo.grading.submission.read import UnreadableSubmission

MAX_NAME_BYTES = 100
FileKey = tuple[str, str]  # kata, SHA-256 of the file


@dataclass(frozen=True)
class Plan:
    """The files of a class. Each distinct source is held once, in `sources`."""

    submissions: dict[str, dict[str, SubmittedFile]]  # submission -> kata -> file, without its source
    unreadable: dict[str, str]  # submission -> why nothing could be read
    sources: dict[FileKey, bytes]

    def files(self) -> Iterator[tuple[str, SubmittedFile]]:
        """Every submission with each of its files."""
        for submission, files in self.submissions.items():
            for file in files.values():
                yield submission, file

    def file(self, key: FileKey) -> SubmittedFile:
        """A file with its source."""
        return SubmittedFile(key[0], self.sources[key], key[1], "ok")


def find_submissions(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """The submissions in `folder`, by a unique printable name, and the names of all entries that are no folders.

    Raises UserError if there is no submission.
    """
    try:
        entries = sorted((p for p in folder.iterdir() if p.name[0] != "."), key=lambda p: os.fsencode(p.name))
        folders = [path for path in entries if path.is_dir() and not path.is_symlink()]
    except OSError as error:
        raise UserError(
            f"{folder} cannot be read: {error.strerror}. It should hold one folder for each submission."
        ) from error
    submissions: dict[str, Path] = {}
    used: set[str] = set()
    for path in folders:
        if not is_nobodys(path.name):
            submissions[_unique_name(path.name, used)] = path
    others = [plain(path.name) for path in entries if path not in folders]
    if not submissions:
        content = f"it holds {', '.join(others[:5])}" if others else "it is empty"
        archives = " Unpack the archives first." if any(name.endswith((".zip", ".gz")) for name in others) else ""
        if not archives and any(name.endswith(".py") for name in others):
            archives = " Make a folder for each student, and put that student's files into it."
        raise UserError(
            f"{folder} should hold one folder for each submission, with answers/*.py in it; {content}.{archives}"
        )
    return submissions, others


def _unique_name(folder: str, used: set[str]) -> str:
    """The folder's name if it is printable, short and not used; else its printable part and a hash of the name.

    Reports are files, and file systems differ: to some, ADA and ada are one name, or the two ways to write an é, and
    some have no name that ends in a dot. `used` has the names so far, as those would compare them.
    """
    raw = os.fsencode(folder)
    alike = unicodedata.normalize("NFKC", folder).casefold()
    is_portable = plain(folder) == folder and not set(folder) & set('<>:"|?*\\') and not folder.endswith(".")
    if is_portable and len(raw) <= MAX_NAME_BYTES and alike not in used:
        used.add(alike)
        return folder
    shown = "".join(c for c in plain(folder) if c.isalnum() or c in " ._-")[:60].strip(" .") or "name"
    name = f"{shown}~{hashlib.sha256(raw).hexdigest()[:16]}"
    if name.casefold() in used:  # somebody has called a folder so
        return _unique_name(f"{folder}~", used)
    used.add(name.casefold())
    return name


def read_class(checkout: Checkout, folders: dict[str, Path], katas: list[str]) -> Plan:
    """Reads every submission."""
    plan = Plan({}, {}, {})
    for name, folder in folders.items():
        try:
            files = read_submission(folder, katas, checkout=checkout)
        except (UserError, OSError) as error:
            plan.unreadable[name] = str(error)
            # A student who hands in nothing gets nothing. What the grader may not read is no mark.
            is_fault = isinstance(error, UnreadableSubmission | OSError)
            status: FileStatus = "error" if is_fault else "not_attempted"
            files = {kata: SubmittedFile(kata, None, None, status, str(error)) for kata in katas}
        for kata, file in files.items():
            if file.status == "ok" and file.source is not None and file.sha256 is not None:
                plan.sources.setdefault((kata, file.sha256), file.source)
        plan.submissions[name] = {kata: replace(file, source=None) for kata, file in files.items()}
    return plan


class ResultStore:
    """The results of the distinct files, on disk. A result's name is a hash of everything that decides it.

    These are the kata, the file, the grader's code and references, the seed, the layers, and whether mistakes are named.
    """

    def __init__(self, folder: Path, grader: Grader) -> None:
        self.folder = folder
        self._grader_key = (
            f"{grader.upstream_sha256}\n{grader.seed.commitment}\n{grader.selftest.layers}\n{grader.name_mistakes}"
        )
        self._faults: dict[FileKey, KataResult] = {}

    def path(self, key: FileKey) -> Path:
        kata, sha256 = key
        name = hashlib.sha256(f"{kata}\n{sha256}\n{self._grader_key}".encode()).hexdigest()
        return self.folder / kata / f"{name[:40]}.json"

    def get(self, key: FileKey) -> KataResult | None:
        """None if the file has not been graded, or its result is damaged."""
        if key in self._faults:
            return self._faults[key]
        try:
            return result_from_json(self.path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def save(self, key: FileKey, result: KataResult) -> None:
        """Writes the result. A fault of the grader is only remembered, so that the next run tries again."""
        if result.status == "error":
            self._faults[key] = result
        else:
            write(self.path(key), result_to_json(result))


def result_to_json(result: KataResult) -> str:
    return json.dumps(asdict(result), ensure_ascii=True)


def result_from_json(text: str) -> KataResult:
    """Raises ValueError, TypeError or KeyError for text that `result_to_json` did not write."""
    fields = json.loads(text)
    cases = tuple(CaseResult(**case) for case in fields.pop("cases"))
    return KataResult(**fields | {"cases": cases, "mistakes": tuple(fields["mistakes"])})
