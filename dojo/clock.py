"""The time of drills. Tests, and whoever wants to try a drill's end, set it: KATA_CLOCK names a file of seconds."""

import os
import time
from pathlib import Path


def now() -> float:
    """Seconds since 1970, or what the file that KATA_CLOCK names says."""
    if file := os.environ.get("KATA_CLOCK"):
        try:
            return float(Path(file).read_text())
        except (OSError, ValueError):
            pass
    return time.time()
