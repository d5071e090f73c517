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
from dojo.grading.submission.read import FILE_TYPES

MAX_ENTRIES = 2000  # a folder may hold millions; no more than this many are listed
OPEN_SUBMISSION = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC  # the teacher's own path may be a link
OPEN_FOLDER = OPEN_SUBMISSION | os.O_NOFOLLOW


@dataclass(frozen=True)
class KataFolder:
    """The open folder that holds katas/ or the files themselves, and the names in it."""

    handle: int
    prefix: str  # the path from the submission's folder to this one, as it is shown: "" or "homework/"
    katas_handle: int | None  # of katas/ in it
    katas_trouble: str  # why katas/ cannot be used; empty if it can, or does not exist
    files: list[str]
    katas_files: list[str]
    all_katas: frozenset[str]
    misspelt: dict[str, str]  # kata -> a file whose name is nearly the kata's

    def hint(self, kata: str) -> str:
        """What may have been meant as the file of `kata`: a sentence with a blank before it, or nothing."""
        if sentence := hint(kata, f"{self.prefix}katas/", self.katas_files) or hint(kata, self.prefix, self.files):
            return sentence
        return f" There is {self.misspelt[kata]}: rename it to {kata}.py." if kata in self.misspelt else ""

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
        if not _holds_katas(top, all_katas) and len(entries := _entries(top)) < MAX_ENTRIES:
            descriptors: dict[str, int] = {}  # of the folders that hold katas
            for entry in sorted(entries, key=lambda entry: entry.name):
                if len(descriptors) < 3 and (inner := _open_if_it_holds_katas(top, entry, all_katas)) is not None:
                    stack.callback(os.close, inner)
                    descriptors[entry.name] = inner
            if len(descriptors) > 1:
                raise UserError(
                    f"{folder} holds no kata, but several folders in it do ({', '.join(map(ascii, descriptors))}); "
                    f"give the one you mean. If each of them is a submission: `kata grade-cohort {folder} --out OUT`."
                )
            if descriptors:
                ((name, handle),) = descriptors.items()
                prefix = f"{name if name.isprintable() else ascii(name)[1:-1]}/"
        katas_handle, trouble = _open_katas(handle, prefix)
        if katas_handle is not None:
            stack.callback(os.close, katas_handle)
        files = [entry.name for entry in _entries(handle)]
        katas_files = [entry.name for entry in _entries(katas_handle)] if katas_handle is not None else []
        misspelt = misspelt_files(prefix, files, all_katas) | misspelt_files(f"{prefix}katas/", katas_files, all_katas)
        kata_folder = KataFolder(handle, prefix, katas_handle, trouble, files, katas_files, all_katas, misspelt)
        if not trouble and not any(name.endswith(".py") for name in [*katas_files, *files]):
            raise UserError(_why_no_submission(folder, kata_folder))
        yield kata_folder


def _open_submission(folder: Path) -> int:
    try:
        return os.open(folder, OPEN_SUBMISSION)
    except FileNotFoundError as error:
        raise UserError(f"There is no folder {folder}; give the one that holds katas/*.py.") from error
    except NotADirectoryError as error:
        if folder.suffix == ".py":
            parent = folder.parent if folder.parent.name else folder.absolute().parent
            raise UserError(f"{folder} is a file; give the folder that holds it: {parent}") from error
        problem = "an archive: unpack it, and" if is_archive(folder.name) else "not a folder;"
        raise UserError(f"{folder} is {problem} give the folder that holds katas/*.py.") from error
    except OSError as error:
        raise UserError(f"{folder} cannot be read: {error.strerror}.") from error


def _open_if_it_holds_katas(top: int, entry: os.DirEntry[str], all_katas: frozenset[str]) -> int | None:
    """A descriptor of this entry if it is a folder that holds katas."""
    with suppress(OSError):
        if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
            handle = os.open(entry.name, OPEN_FOLDER, dir_fd=top)
            if _holds_katas(handle, all_katas):
                return handle
            os.close(handle)
    return None


def _holds_katas(folder: int, all_katas: frozenset[str]) -> bool:
    for name in ("katas", *(f"{kata}.py" for kata in all_katas)):
        with suppress(OSError):
            os.stat(name, dir_fd=folder, follow_symlinks=False)
            return True
    return False


def _open_katas(folder: int, prefix: str) -> tuple[int | None, str]:
    """A descriptor of katas/ in `folder`, or None and why it cannot be used (nothing if it does not exist)."""
    try:
        mode = os.stat("katas", dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            file_type = FILE_TYPES.get(stat.S_IFMT(mode), "a file")
            return None, f"{prefix}katas is {file_type}, not a folder; put the folder itself there."
        return os.open("katas", OPEN_FOLDER, dir_fd=folder), ""
    except FileNotFoundError:
        return None, ""
    except OSError as error:
        return None, f"The folder {prefix}katas cannot be read: {error.strerror}."


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
            return f"{folder} holds {name!a}; unpack it, and give the folder that holds katas/*.py."
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
    return f"{folder} holds no kata: {where}. Give the folder that holds katas/*.py."
