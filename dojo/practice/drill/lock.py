"""A lock on a drill's folder, so that no drill is open in two terminals at once."""

from pathlib import Path
from typing import IO

from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.core.paths import Checkout


def acquire(folder: Path) -> IO[str] | None:
    """The locked file, or None if another terminal holds the lock. It is released when the file or the process ends.

    Where files cannot be locked (Windows, some network folders) the file is returned without a lock.
    """
    file = (folder / ".open").open("w")
    try:
        import fcntl
    except ImportError:
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError:
        pass
    return file


def acquire_or_raise(checkout: Checkout, folder: Path) -> IO[str] | None:
    """The locked file, or None if the folder is not writable: the drill then goes on without a lock.

    Raises UserError if the drill is open in another terminal.
    """
    try:
        file = acquire(folder)
    except OSError:
        return None
    if file is None:
        shown = checkout.shown(folder)
        raise UserError(
            say("{shown} is open in another terminal. Go on there, or begin another: kata drill", shown=shown)
        )
    return file


def is_open(folder: Path) -> bool:
    """Whether the drill in `folder` is open in some terminal."""
    try:
        file = acquire(folder)
    except OSError:
        return False
    if file:
        file.close()
    return file is None
