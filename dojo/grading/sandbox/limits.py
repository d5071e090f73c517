"""Limits of what a submission may use: computing time, memory, files, threads, and its scratch folder."""

import os
import resource
import stat
from contextlib import suppress
from pathlib import Path

from dojo.engine.processes import lower_limit

MAX_ADDED_BYTES = 4 * 2**30  # of address space, beside what is mapped before a submission runs; as in practice
MAX_FILE_BYTES = 16 * 2**20  # times MAX_OPEN_FILES is what can hide in files whose names have been removed
MAX_OPEN_FILES = 128
MAX_NEW_THREADS = 64
MAX_SCRATCH_FILES = 4096
MAX_SCRATCH_BYTES = 128 * 2**20


def apply(cpu_seconds: int) -> None:
    """Limits this process: computing time, address space, file sizes, open files, processes of its user."""
    lower_limit(resource.RLIMIT_CPU, cpu_seconds)
    lower_limit(resource.RLIMIT_FSIZE, MAX_FILE_BYTES)
    lower_limit(resource.RLIMIT_CORE, 0)
    lower_limit(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    # This does not bind root; seccomp refuses forks.
    lower_limit(resource.RLIMIT_NPROC, _threads_of_user() + MAX_NEW_THREADS)
    with suppress(OSError):  # torch for CUDA alone maps more than 3 GB
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        lower_limit(resource.RLIMIT_AS, mapped + MAX_ADDED_BYTES)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # if memory runs out, this process is killed first


def _threads_of_user() -> int:
    """How many threads this user runs now, in all processes: RLIMIT_NPROC counts them together."""
    total = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if entry.stat().st_uid == os.getuid():
                total += sum(1 for _ in (entry / "task").iterdir())
    return total


def oom_kills() -> int:
    """How many processes of this machine the kernel has killed because memory ran out; 0 where it does not say."""
    with suppress(OSError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def scratch_is_full(folder: str, pid: int) -> bool:
    """Whether there are too many files, or too large ones, in `folder` and among the open files of `pid`.

    Stops at the limit: a folder with a million files costs no more time than one that is just too full.
    """
    files, size = 0, _unlinked_bytes(pid)
    folders = [folder]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    files += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_size
                    if files > MAX_SCRATCH_FILES or size > MAX_SCRATCH_BYTES:
                        return True
        except FileNotFoundError:  # removed meanwhile
            continue
        except OSError:  # unreadable, or too long a name: it can only be there to hide something
            return True
    return size > MAX_SCRATCH_BYTES


def _unlinked_bytes(pid: int) -> int:
    """Bytes of files that a process holds open and that have no name in any folder."""
    size = 0
    with suppress(OSError):
        for name in os.listdir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                status = os.stat(f"/proc/{pid}/fd/{name}")
                size += status.st_size if stat.S_ISREG(status.st_mode) and not status.st_nlink else 0
    return size
