"""Starting, leaving, killing and explaining processes: what the engine's and the grader's fork servers both need."""

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

from dojo.core.language import say

if TYPE_CHECKING:
    import ctypes

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
MAX_FILE_BYTES = 64 * 2**20  # that a kata may write into one file, and print
PROC = Path("/proc")
KILL_ROUNDS = 1000  # each takes the children that the round before has orphaned


def can_fork() -> bool:
    """Whether a process that holds torch may be forked: by default on Linux; KATA_FORK=0 or 1 overrides that."""
    override = os.environ.get("KATA_FORK")
    return hasattr(os, "fork") and (override == "1" if override in ("0", "1") else sys.platform == "linux")


def prctl(option: int, *values: "int | ctypes.c_void_p") -> None:
    """Calls Linux's prctl(2). Raises OSError, also on other systems."""
    import ctypes

    if sys.platform != "linux":
        raise OSError("prctl needs Linux")
    arguments = [ctypes.c_ulong(v) if isinstance(v, int) else v for v in (*values, 0, 0, 0, 0)[:4]]
    if ctypes.CDLL(None, use_errno=True).prctl(option, *arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> bool:
    """From now on this process becomes the parent of its descendants' orphans. Returns False where that is impossible."""
    with suppress(OSError, AttributeError):
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        return True
    return False


@contextmanager
def ctrl_c_blocked() -> Iterator[None]:
    """Blocks Ctrl-C. A process that starts inside inherits this, until `unblock_ctrl_c` there."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing starts it otherwise now, which would unblock Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def unblock_ctrl_c() -> None:
    """For a process that was started inside `ctrl_c_blocked`."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def leave_terminal() -> None:
    """Moves this process into a session of its own, without keys, Ctrl-C and output: these belong to its caller."""
    if hasattr(os, "setsid"):
        with suppress(OSError):
            os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unblock_ctrl_c()  # the caller may have blocked it until here
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)


def lower_limit(kind: int, limit: int) -> None:
    """Lowers one resource limit (resource.RLIMIT_...) of this process, soft and hard. Never raises it."""
    import resource

    hard = resource.getrlimit(kind)[1]  # the shell may have set a lower one (ulimit)
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    resource.setrlimit(kind, (limit, limit))


def kill_group(pid: int) -> None:
    """Kills the process group that `pid` leads. Does nothing if there is none, or none yet."""
    with suppress(ProcessLookupError, PermissionError, AttributeError):  # AttributeError: Windows has no groups
        os.killpg(pid, signal.SIGKILL)


def kill_descendants(spare: frozenset[int] = frozenset()) -> int:
    """Kills the children of this process, except `spare`, and their orphans. Returns how many it killed.

    Only a subreaper (`become_subreaper`) receives the orphans.
    """
    killed = 0
    for _ in range(KILL_ROUNDS):
        pids = [pid for pid in children() if pid not in spare]
        if not pids:
            break
        for pid in pids:  # SIGSTOP first, or a fork bomb would outrun this loop
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            with suppress(ProcessLookupError, PermissionError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                killed += 1
    return killed


def children() -> list[int]:
    """The pids of this process's children, of all its threads."""
    pids: list[int] = []
    lists = list(PROC.glob("self/task/*/children"))
    for file in lists:
        with suppress(OSError):
            pids += [int(pid) for pid in file.read_text().split()]
    for file in PROC.glob("[0-9]*/stat") if not lists else ():  # a kernel without these lists, such as gVisor's
        with suppress(OSError, ValueError, IndexError):
            if int(file.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                pids.append(int(file.parent.name))
    return pids


def wrote_too_much(error: BaseException) -> str:
    """What a process did that met the limit MAX_FILE_BYTES, as a clause without its subject; empty for another error."""
    if not isinstance(error, OSError) or error.errno != errno.EFBIG:
        return ""
    return say("printed or wrote more than {mib} MiB, which is all that one run may", mib=MAX_FILE_BYTES >> 20)


def describe_exit(code: int, before: str, killed: str) -> str:
    """Why a process ended too early, as a clause without its subject: "crashed the interpreter (SIGSEGV)".

    `code` is as in `multiprocessing.Process.exitcode`: an exit code, or minus the number of the signal that ended it.
    `before` names what it should have done first ("its tests were through"), `killed` what SIGKILL most likely means.
    """
    if code >= 0:
        return say(
            "ended the process (exit code {code}) before {before}; look for exit() or os._exit()",
            code=code,
            before=before,
        )
    name = signal_name(-code)
    return {
        "SIGKILL": say("was killed (SIGKILL){killed}", killed=killed),
        "SIGSEGV": say("crashed the interpreter (SIGSEGV)"),
        "SIGABRT": say("aborted the interpreter (SIGABRT)"),
        "SIGXCPU": say("used up its computing time"),
        "SIGXFSZ": say("wrote a larger file than a kata may"),
    }.get(name, say("was ended by {name}", name=name))


def signal_name(number: int) -> str:
    """ "SIGTERM"; "signal 40" for one that has no name, such as a real-time signal."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
