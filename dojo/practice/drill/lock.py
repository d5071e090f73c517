"""Which drills are open in some terminal, so that none goes on in two at once."""

from pathlib import Path
from typing import IO


def take(folder: Path) -> IO[str] | None:
    """Marks the drill in `folder` as open until the file is closed or the process ends, however it ends.

    None when another terminal has it. Where files cannot be locked (Windows, some network folders) nobody is refused.
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


def is_open(folder: Path) -> bool:
    """Whether a terminal has the drill in `folder`."""
    try:
        file = take(folder)
    except OSError:
        return False
    if file:
        file.close()
    return file is None
