"""The clock of drills. If KATA_CLOCK names a file, the number of seconds in it replaces both system clocks (for tests)."""

import os
import time
from contextlib import suppress
from pathlib import Path

_last_read: float | None = None  # used again while the file is being rewritten and holds no whole number


def now() -> float:
    """Seconds since the epoch."""
    override = _override()
    return time.time() if override is None else override


def monotonic() -> float:
    """Seconds since an arbitrary moment. It does not change with the system's time, nor run while the computer is suspended."""
    override = _override()
    return time.monotonic() if override is None else override


def _override() -> float | None:
    """The seconds in the file that KATA_CLOCK names; None without that variable."""
    global _last_read
    if not (file := os.environ.get("KATA_CLOCK")):
        return None
    with suppress(OSError, ValueError):
        _last_read = float(Path(file).read_text())
    return _last_read
