"""Reads the files of the named katas from a submission's folder, as bytes. No other file is opened.

A kata lies in answers/NAME.py, where learners write, else in katas/NAME.py or in NAME.py (loose files). If the last two exist
and differ, the kata is refused: choosing one might grade the file that was not meant. A stub in answers/ counts as no file.
If the folder has none of these and exactly one folder in it does, or in those below, that one counts.

No link below the submission's folder is followed. Hard links are accepted: backups and deduplicating stores are full of
them, and neither an archive nor a checkout can carry one to a file outside.

What the system does not let the grader read is the teacher's to mend: its status is "error", which is no mark.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout
from dojo.core.stubs import stub
from dojo.grading.submission.locate import OPEN_SUBMISSION, KataFolder, open_kata_folder
from dojo.grading.submission.near_misses import is_archive
from dojo.grading.submission.read import Refusal, Unreadable, decode, read_bytes

FileStatus = Literal["ok", "not_attempted", "refused", "error"]  # error: it is there, and may not be read


@dataclass(frozen=True)
class SubmittedFile:
    """What a submission holds for one kata. `source` is UTF-8 without a byte-order mark; its lines end in \\n."""

    kata: str
    source: bytes | None
    sha256: str | None  # of the file's bytes as they are on disk
    status: FileStatus
    reason: str = ""  # one sentence, unless the status is "ok"


def read_submission(
    folder: Path, katas: Sequence[str], *, checkout: Checkout | None = None
) -> dict[str, SubmittedFile]:
    """The files of `katas` in the submission `folder`, by kata. Raises UserError if `folder` is no submission.

    A file that equals its stub, as rendered from `checkout`, is not attempted.
    """
    checkout = checkout or find_checkout()
    all_katas = frozenset(katas) | {file.stem for file in checkout.solutions.glob("[!_]*.py")}
    with open_kata_folder(folder, all_katas) as kata_folder:
        return {kata: _read_kata(kata, kata_folder, checkout) for kata in katas}


def read_submitted_file(file: Path, kata: str, *, checkout: Checkout | None = None) -> SubmittedFile:
    """One file, by the same rules. Raises UserError if it does not exist."""
    try:
        folder = os.open(file.parent, OPEN_SUBMISSION)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.") from error
    try:
        raw = read_bytes(folder, file.name, str(file))
    except (Refusal, Unreadable) as problem:
        return _unread(kata, problem)
    finally:
        os.close(folder)
    if raw is None:
        raise UserError(f"There is no file {file}.")
    return _classify(kata, str(file), raw, checkout or find_checkout())


def _read_kata(kata: str, folder: KataFolder, checkout: Checkout) -> SubmittedFile:
    in_answers = _read_answer(kata, folder, checkout)
    if in_answers and in_answers.status != "not_attempted":
        return in_answers
    elsewhere = _read_elsewhere(kata, folder, checkout)
    return in_answers if in_answers and elsewhere.status == "not_attempted" else elsewhere


def _read_answer(kata: str, folder: KataFolder, checkout: Checkout) -> SubmittedFile | None:
    """The file of the kata in answers/; None if there is none."""
    if folder.answers_handle is None:
        return None
    path = f"{folder.prefix}answers/{kata}.py"
    try:
        raw = read_bytes(folder.answers_handle, f"{kata}.py", path)
    except (Refusal, Unreadable) as problem:
        return _unread(kata, problem)
    return None if raw is None else _classify(kata, path, raw, checkout)


def _read_elsewhere(kata: str, folder: KataFolder, checkout: Checkout) -> SubmittedFile:
    """The file of the kata in katas/, or the loose one."""
    file = f"{kata}.py"
    loose_path, katas_path = f"{folder.prefix}{file}", f"{folder.prefix}katas/{file}"
    try:
        if folder.katas_error is not None:
            raise folder.katas_error
        loose = read_bytes(folder.handle, file, loose_path)
        in_katas = None if folder.katas_handle is None else read_bytes(folder.katas_handle, file, katas_path)
        if folder.katas_trouble and loose is None:
            raise Refusal(folder.katas_trouble)
        if loose is not None and in_katas is not None and loose != in_katas:
            raise Refusal(
                f"There are two of it, {katas_path} and {loose_path}, and they differ; keep the one you mean."
            )
    except (Refusal, Unreadable) as problem:
        return _unread(kata, problem)
    if in_katas is not None:
        return _classify(kata, katas_path, in_katas, checkout)
    if loose is not None:
        return _classify(kata, loose_path, loose, checkout)
    hint = folder.hint(kata)
    if not hint and not folder.holds_any_kata():
        hint = next((f" There is {name!a}: unpack it." for name in folder.files if is_archive(name)), "")
    missing = katas_path if folder.answers_handle is None else f"{folder.prefix}answers/{file}"
    return SubmittedFile(kata, None, None, "not_attempted", f"There is no {missing}.{hint}")


def _unread(kata: str, problem: Refusal | Unreadable) -> SubmittedFile:
    status: FileStatus = "refused" if isinstance(problem, Refusal) else "error"
    return SubmittedFile(kata, None, None, status, str(problem))


def _classify(kata: str, shown: str, raw: bytes, checkout: Checkout) -> SubmittedFile:
    """Decides whether a file is refused, still the stub, or ok."""
    sha256 = hashlib.sha256(raw).hexdigest()
    try:
        text = decode(raw, shown)
    except Refusal as refusal:
        return SubmittedFile(kata, None, sha256, "refused", str(refusal))
    source = text.encode()
    if "".join(text.split()) == "".join(stub(checkout, kata).split()):
        return SubmittedFile(kata, source, sha256, "not_attempted", f"{shown} is still the stub.")
    return SubmittedFile(kata, source, sha256, "ok")
