"""How many processor cores this process may use, and how much longer things take while they are busy."""

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MAX_SLOWDOWN = 8.0


def usable_cores(root: Path = Path("/")) -> int:
    """The cores in this process's affinity mask, or fewer where a cgroup limits its computing time, as in a container.

    The host's number (os.cpu_count) would be too many in both. `root` is the root of the file system.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min([float(cores), *_cgroup_limits(root)])))


def slowdown() -> float:
    """How much longer than alone a process takes now: the waiting processes for each usable core, between 1 and 8."""
    with suppress(OSError, AttributeError):
        return min(max(os.getloadavg()[0] / usable_cores(), 1.0), MAX_SLOWDOWN)
    return 1.0


def _cgroup_limits(root: Path) -> Iterator[float]:
    """The limits, in cores, of this process's cgroup and of those around it; of version 2 and of version 1."""
    mount = root / "sys/fs/cgroup"
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            # Inside a container, `path` may be the host's: then only the folder that is mounted is there to be read.
            for top in (mount / controllers, mount / "cpu") if controllers else (mount,):
                inner = top / path.lstrip("/")
                for folder in (inner, *inner.parents):
                    if folder.is_relative_to(top):
                        yield from _limits_in(folder)


def _limits_in(folder: Path) -> Iterator[float]:
    with suppress(OSError, ValueError):  # "max 100000" is no limit
        quota, period = (folder / "cpu.max").read_text().split()
        yield int(quota) / int(period)
    with suppress(OSError, ValueError):
        quota_us, period_us = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if quota_us > 0:  # -1 is no limit
            yield quota_us / period_us
