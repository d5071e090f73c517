"""Ends what a kata's process has started and left behind."""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def become_subreaper() -> bool:
    """From now on, whatever this process's descendants leave behind becomes its child; False where that cannot be."""
    if sys.platform != "linux":
        return False
    import ctypes

    with suppress(OSError, AttributeError):
        return ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
    return False


def kill_descendants(spare: frozenset[int] = frozenset()) -> int:
    """Kills all children of this process but `spare`, and theirs as they come here. Returns how many there were."""
    ended = 0
    for _ in range(1000):
        strays = [pid for pid in children() if pid not in spare]
        if not strays:
            break
        for pid in strays:  # stopped first: what forks on and on would outrun a killer
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        for pid in strays:
            with suppress(ProcessLookupError, PermissionError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                ended += 1
    return ended


def children() -> list[int]:
    """The pids of this process's children, whichever thread started them."""
    found: list[int] = []
    for thread in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found += [int(pid) for pid in thread.read_text().split()]
    return found


def can_fork() -> bool:
    """Whether a process that holds torch may be forked: on Linux; KATA_FORK=0 or 1 overrules."""
    asked = os.environ.get("KATA_FORK")
    return hasattr(os, "fork") and (asked == "1" if asked in ("0", "1") else sys.platform == "linux")


def prctl(option: int, value: int = 1) -> bool:
    """Linux's prctl(2); False where it is not to be had."""
    if sys.platform != "linux":
        return False
    import ctypes

    with suppress(OSError, AttributeError):
        return ctypes.CDLL(None).prctl(option, value, 0, 0, 0) == 0
    return False
