"""Removes a folder that a hostile process has filled: very deep, unreadable, oddly named, or very large.

Nothing here recurses, follows a link, or uses a path longer than one name. A folder inside the tree is first moved up
to the top and then emptied there, so that depth costs neither descriptors nor stack.
"""

import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path, *, seconds: float) -> bool:
    """Removes `path` and everything below it. False if `seconds` did not suffice, or something cannot be removed.

    A link is removed, not its target. Folders that remain may have been moved up to the top of `path`.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return True
    except OSError:
        return False
    if not stat.S_ISDIR(mode):
        with suppress(OSError):
            os.unlink(path)
        return not os.path.lexists(path)
    _make_accessible(os.fspath(path), None)
    try:
        top = os.open(path, OPEN_FOLDER)
    except OSError:
        return False
    try:
        _empty(top, time.monotonic() + seconds)
    finally:
        os.close(top)
    with suppress(OSError):
        os.rmdir(path)
    return not os.path.lexists(path)


def _empty(top: int, deadline: float) -> None:
    """Removes everything in the folder `top`, again and again while files are being added."""
    new_names = (f"{secrets.token_hex(8)}-{number}" for number in count())
    progress = True
    while progress:
        progress = False
        for name in _names(top):
            # A list of our own: a folder that has held many files stays slow to read.
            waiting = [name]
            while waiting:
                if time.monotonic() > deadline:
                    return
                name = waiting.pop()
                progress |= _unlink(name, top) or _remove_folder(name, top, new_names, waiting, deadline)


def _remove_folder(name: str, top: int, new_names: Iterator[str], moved: list[str], deadline: float) -> bool:
    """Removes the files in a folder of `top` and moves its folders up. Returns whether anything has changed."""
    with suppress(OSError):
        os.rmdir(name, dir_fd=top)
        return True
    _make_accessible(name, top)
    try:
        folder = os.open(name, OPEN_FOLDER, dir_fd=top)
    except OSError:
        return False
    progress = False
    try:
        for inner in _names(folder):
            if time.monotonic() > deadline:
                return progress
            if _unlink(inner, folder):
                progress = True
            elif up := _move_up(inner, folder, top, new_names):
                progress = True
                moved.append(up)
    finally:
        os.close(folder)
    with suppress(OSError):
        os.rmdir(name, dir_fd=top)
        return True
    return progress


def _move_up(name: str, folder: int, top: int, new_names: Iterator[str]) -> str:
    """Moves a folder of `folder` to `top`. Returns its new name; empty if it could not be moved."""
    _make_accessible(name, folder)  # moving a folder changes its "..", which needs the right to write to it
    new = next(new_names)
    with suppress(OSError):
        os.rename(name, new, src_dir_fd=folder, dst_dir_fd=top)
        return new
    return ""


def _unlink(name: str, folder: int) -> bool:
    with suppress(OSError):
        os.unlink(name, dir_fd=folder)
        return True
    return False


def _names(folder: int) -> Iterator[str]:
    """The names in a folder; bytes that are not UTF-8 are surrogates, which os functions turn into bytes again."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def _make_accessible(name: str, folder: int | None) -> None:
    """Makes a folder readable and writable for its owner. Does nothing to links and to folders of other users."""
    with suppress(OSError, NotImplementedError):
        if sys.platform != "linux":
            os.chmod(name, 0o700, dir_fd=folder, follow_symlinks=False)
            return
        # Linux has no chmod that does not follow links, but O_PATH opens a folder without following, whatever its mode.
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            if stat.S_IMODE(os.fstat(handle).st_mode) & 0o700 != 0o700:
                os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
