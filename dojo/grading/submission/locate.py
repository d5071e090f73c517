"""Finds the folder of a submission that holds its katas, and opens it so that no link in it is followed."""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from dojo.core.errors import UserError
from dojo.grading.submission.near_misses import hint, is_archive, misspelt_files
from dojo.grading.submission.read import FILE_TYPES, Unreadable, UnreadableSubmission

MAX_ENTRIES = 2000  # a folder may hold millions; no more than this many are listed
MAX_DEPTH = 4  # of the folders around the katas: archives of archives unpack like this
MAX_FOLDERS = 100  # that are opened in the search
# What file managers and file systems add, as `casefold` has it. Names that begin with a dot are skipped as well.
NOBODYS = {
    "__macosx",
    "lost+found",
    "system volume information",
    "$recycle.bin",
    "@eadir",
    "__pycache__",
    "node_modules",
}
OPEN_SUBMISSION = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # the teacher's own path may be a link
OPEN_FOLDER = OPEN_SUBMISSION | os.O_NOFOLLOW


@dataclass(frozen=True)
class KataFolder:
    """The open folder that holds katas/ or the files themselves, and the names in it."""

    handle: int
    prefix: str  # the path from the submission's folder to this one, as it is shown: "" or "homework/"
    katas_handle: int | None  # of katas/ in it
    katas_trouble: str  # why katas/ cannot be used; empty if it can, or does not exist
    katas_error: Unreadable | None  # set if katas/ is there and may not be read
    answers_handle: int | None  # of answers/ in it, where a learner writes
    files: list[str]
    katas_files: list[str]
    all_katas: frozenset[str]
    misspelt: dict[str, str]  # kata -> a file whose name is nearly the kata's

    def hint(self, kata: str) -> str:
        """What may have been meant as the file of `kata`: a sentence with a blank before it, or nothing."""
        if sentence := self._hint(kata, "katas/", self.katas_files) or self._hint(kata, "", self.files):
            return sentence
        return f" There is {self.misspelt[kata]}: rename it to {kata}.py." if kata in self.misspelt else ""

    def _hint(self, kata: str, folder: str, files: list[str]) -> str:
        return hint(kata, f"{self.prefix}{folder}", files, self.all_katas)

    def holds_any_kata(self) -> bool:
        return any(f"{kata}.py" in (*self.katas_files, *self.files) for kata in self.all_katas)


@contextmanager
def open_kata_folder(folder: Path, all_katas: frozenset[str]) -> Iterator[KataFolder]:
    """The submission's folder; if it holds no kata, the one folder in it that does (archives unpack like this).

    Raises UserError if `folder` is no folder, if several folders in it hold katas, or if there is no .py file.
    """
    with ExitStack() as stack:
        top = _open_submission(folder)
        stack.callback(os.close, top)
        handle, prefix = top, ""
        unreadable: list[Unreadable] = []
        if not _top_holds_katas(folder, top, all_katas):
            descriptors = _search(top, all_katas, stack, unreadable)
            if len(descriptors) > 1:
                raise UserError(
                    f"{folder} holds no kata, but several folders in it do ({', '.join(map(ascii, descriptors))}); "
                    f"give the one you mean. If each of them is a submission: `kata grade-cohort {folder} --out OUT`."
                )
            if descriptors:
                ((name, handle),) = descriptors.items()
                prefix = f"{name if name.isprintable() else ascii(name)[1:-1]}/"
            elif unreadable:
                raise UnreadableSubmission(f"{folder} holds no kata that can be read. {unreadable[0]}")
        katas_handle, trouble, katas_error = _open_katas(handle, prefix)
        if katas_handle is not None:
            stack.callback(os.close, katas_handle)
        answers_handle = _open_answers(handle, all_katas)
        if answers_handle is not None:
            stack.callback(os.close, answers_handle)
        files = [entry.name for entry in _entries(handle)]
        katas_files = [entry.name for entry in _entries(katas_handle)] if katas_handle is not None else []
        misspelt = misspelt_files(prefix, files, all_katas) | misspelt_files(f"{prefix}katas/", katas_files, all_katas)
        kata_folder = KataFolder(
            handle, prefix, katas_handle, trouble, katas_error, answers_handle, files, katas_files, all_katas, misspelt
        )
        if not (trouble or katas_error or answers_handle) and not any(
            name.endswith(".py") for name in [*katas_files, *files]
        ):
            raise UserError(_why_no_submission(folder, kata_folder))
        yield kata_folder


def _open_submission(folder: Path) -> int:
    try:
        return os.open(folder, OPEN_SUBMISSION)
    except FileNotFoundError as error:
        raise UserError(f"There is no folder {folder}; give the one that holds answers/*.py.") from error
    except NotADirectoryError as error:
        if folder.suffix == ".py":
            parent = folder.parent if folder.parent.name else folder.absolute().parent
            raise UserError(f"{folder} is a file; give the folder that holds it: {parent}") from error
        problem = "an archive: unpack it, and" if is_archive(folder.name) else "not a folder;"
        raise UserError(f"{folder} is {problem} give the folder that holds answers/*.py.") from error
    except OSError as error:
        raise UnreadableSubmission(str(Unreadable(str(folder), error))) from error


def _top_holds_katas(folder: Path, top: int, all_katas: frozenset[str]) -> bool:
    try:
        return _holds_katas(top, all_katas)
    except OSError as error:
        raise UnreadableSubmission(str(Unreadable(str(folder), error))) from error


def is_nobodys(folder: str) -> bool:
    """Whether this is a folder that no student has made."""
    return folder.startswith(".") or folder.casefold() in NOBODYS


def _search(top: int, all_katas: frozenset[str], stack: ExitStack, unreadable: list[Unreadable]) -> dict[str, int]:
    """The folders below `top` that hold katas, all at the least depth at which there are any: path -> descriptor.

    `stack` closes the descriptors; `unreadable` gets a problem for each folder that may not be looked into.
    """
    level, opened = {"": top}, 0
    for _ in range(MAX_DEPTH):
        with_katas: dict[str, int] = {}
        below: dict[str, int] = {}
        for path, folder in level.items():
            for name in _folders(folder):
                opened += 1
                if opened > MAX_FOLDERS or len(with_katas) > 2:
                    return with_katas
                inner = f"{path}/{name}" if path else name
                try:
                    handle = os.open(name, OPEN_FOLDER, dir_fd=folder)
                    stack.callback(os.close, handle)
                    (with_katas if _holds_katas(handle, all_katas) else below)[inner] = handle
                except OSError as error:
                    unreadable.append(Unreadable(ascii(inner)[1:-1], error))
        if with_katas or not below:
            return with_katas
        level = below
    return {}


def _folders(folder: int) -> list[str]:
    """The names of the folders in `folder` that a student may have made, sorted; none if it holds too much for one."""
    names = []
    for entry in _entries(folder):
        with suppress(OSError):
            if not is_nobodys(entry.name) and entry.is_dir(follow_symlinks=False):
                names.append(entry.name)
    return sorted(names) if len(names) < MAX_ENTRIES else []


def _holds_katas(folder: int, all_katas: frozenset[str]) -> bool:
    """Whether there is a folder katas or answers, or a file of a kata. Raises OSError if that cannot be seen."""
    for name in ("katas", *(f"{kata}.py" for kata in all_katas)):
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            return True
    answers = _open_answers(folder, all_katas)
    if answers is not None:
        os.close(answers)
    return answers is not None


def _open_answers(folder: int, all_katas: frozenset[str]) -> int | None:
    """A descriptor of answers/ in `folder`; None if there is no such folder, or no kata in it."""
    try:
        handle = os.open("answers", OPEN_FOLDER, dir_fd=folder)
    except OSError:  # a link, too: no link in a submission is followed
        return None
    if any(entry.name.removesuffix(".py") in all_katas for entry in _entries(handle)):
        return handle
    os.close(handle)
    return None


def _open_katas(folder: int, prefix: str) -> tuple[int | None, str, Unreadable | None]:
    """A descriptor of katas/ in `folder`; or None, and why it cannot be used or read (neither if it does not exist)."""
    try:
        mode = os.stat("katas", dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            file_type = FILE_TYPES.get(stat.S_IFMT(mode), "a file")
            return None, f"{prefix}katas is {file_type}, not a folder; put the folder itself there.", None
        return os.open("katas", OPEN_FOLDER, dir_fd=folder), "", None
    except FileNotFoundError:
        return None, "", None
    except OSError as error:
        return None, "", Unreadable(f"The folder {prefix}katas", error)


def _entries(folder: int) -> list[os.DirEntry[str]]:
    with suppress(OSError), os.scandir(folder) as entries:
        return list(islice(entries, MAX_ENTRIES))
    return []


def _why_no_submission(folder: Path, kata_folder: KataFolder) -> str:
    """Where the katas may be instead. Names from the submission are quoted, since they may hold control characters."""
    if hints := list(filter(None, map(kata_folder.hint, sorted(kata_folder.all_katas)))):
        return f"{folder} holds no kata.{''.join(hints[:3])}"
    for name in [*kata_folder.files, *kata_folder.katas_files]:
        if is_archive(name):
            return f"{folder} holds {name!a}; unpack it, and give the folder that holds answers/*.py."
    for entry in _entries(kata_folder.handle):
        with suppress(OSError):
            if entry.name != "katas" and entry.is_dir(follow_symlinks=False):
                os.stat(f"{entry.name}/katas", dir_fd=kata_folder.handle, follow_symlinks=False)
                return f"{folder} holds no kata, but the folder {entry.name!a} in it has a folder katas; give that one."
    where = (
        f"{kata_folder.prefix}katas/ has no .py file"
        if kata_folder.katas_handle is not None
        else "it has neither a folder katas nor .py files of its own"
    )
    return f"{folder} holds no kata: {where}. Give the folder that holds answers/*.py (or katas/*.py)."
