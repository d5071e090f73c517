"""Resource limits: what a submission may use up."""

import os
import resource
from contextlib import suppress
from pathlib import Path

MEMORY = 4 * 2**30  # bytes of address space; torch on a CPU takes less than one
FILE = 16 * 2**20  # times FILES is what can hide in files whose names have been removed
FILES = 128
THREADS = 64


def restrict(cpu_seconds: int) -> None:
    """Limits this process: CPU, address space, file sizes, open files, processes of its user."""
    _lower(resource.RLIMIT_CPU, cpu_seconds)
    _lower(resource.RLIMIT_FSIZE, FILE)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, FILES)
    _lower(resource.RLIMIT_NPROC, _tasks_of_user() + THREADS)  # root is not bound by it: seccomp is the fence there
    if Path("/proc/self/statm").exists():
        _lower(resource.RLIMIT_AS, MEMORY)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, this process goes first


def _lower(kind: int, limit: int) -> None:
    hard = resource.getrlimit(kind)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def _tasks_of_user() -> int:
    """Threads count too, and so does what else this user runs."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.stat().st_uid == os.getuid():
                total += sum(1 for _ in (entry / "task").iterdir())
    return total
