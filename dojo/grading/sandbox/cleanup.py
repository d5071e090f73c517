"""Removing a folder that somebody filled with ill intent: very deep, unreadable, oddly named, or very large.

Nothing here recurses, follows a link, or holds a path longer than one name. A folder inside the tree is first moved up
to the top and then emptied there, so depth costs neither descriptors nor stack.
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

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path, *, seconds: float) -> bool:
    """Removes `path` and everything below it; False where something is left after `seconds`, or cannot be removed.

    A link is removed, not what it leads to. What is left may have been moved up to the top of `path`.
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
    _open_up(os.fspath(path), None)
    try:
        top = os.open(path, FOLDER)
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
    fresh = (f"{secrets.token_hex(8)}-{number}" for number in count())
    progress = True
    while progress:  # again, should something have been added meanwhile
        progress = False
        for name in _names(top):
            # Remembered, not read from the folder again: one that has held many files stays slow to read.
            waiting = [name]
            while waiting:
                if time.monotonic() > deadline:
                    return
                name = waiting.pop()
                progress |= _unlink(name, top) or _remove_folder(name, top, fresh, waiting, deadline)


def _remove_folder(name: str, top: int, fresh: Iterator[str], moved: list[str], deadline: float) -> bool:
    """Empties one folder of `top`: files go, folders move up. Whether anything has changed."""
    with suppress(OSError):
        os.rmdir(name, dir_fd=top)
        return True
    _open_up(name, top)
    try:
        folder = os.open(name, FOLDER, dir_fd=top)
    except OSError:
        return False
    progress = False
    try:
        for inner in _names(folder):
            if time.monotonic() > deadline:
                return progress
            if _unlink(inner, folder):
                progress = True
            elif up := _move_up(inner, folder, top, fresh):
                progress = True
                moved.append(up)
    finally:
        os.close(folder)
    with suppress(OSError):
        os.rmdir(name, dir_fd=top)
        return True
    return progress


def _move_up(name: str, folder: int, top: int, fresh: Iterator[str]) -> str:
    """The name under which a folder of `folder` now lies in `top`; empty if it could not be moved."""
    _open_up(name, folder)  # moving a folder changes its "..", which takes the right to write to it
    new = next(fresh)
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
    """The names in a folder; those that are not UTF-8 come as surrogates and go back as the bytes they were."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name


def _open_up(name: str, folder: int | None) -> None:
    """Makes a folder readable and writable for its owner; a link, or another's folder, is left alone."""
    with suppress(OSError, NotImplementedError):
        if sys.platform != "linux":
            os.chmod(name, 0o700, dir_fd=folder, follow_symlinks=False)
            return
        # Linux has no chmod that stops at links, but a descriptor that only names the folder does, whatever its mode.
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            if stat.S_IMODE(os.fstat(handle).st_mode) & 0o700 != 0o700:
                os.chmod(f"/proc/self/fd/{handle}", 0o700)
        finally:
            os.close(handle)
