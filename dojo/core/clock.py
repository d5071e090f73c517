"""The time of drills. Tests, and whoever wants to try a drill's end, set it: KATA_CLOCK names a file of seconds."""

import os
import time
from contextlib import suppress
from pathlib import Path

_read: float | None = None  # what the file said last: whoever writes it may be halfway through


def now() -> float:
    """Seconds since 1970, or what the file that KATA_CLOCK names says."""
    told = _told()
    return time.time() if told is None else told


def monotonic() -> float:
    """Seconds from anywhere on, to measure what passes. They stand while the computer sleeps, and nobody can set them
    back; KATA_CLOCK overrules these too."""
    told = _told()
    return time.monotonic() if told is None else told


def _told() -> float | None:
    global _read
    if not (file := os.environ.get("KATA_CLOCK")):
        return None
    with suppress(OSError, ValueError):
        _read = float(Path(file).read_text())
    return _read
