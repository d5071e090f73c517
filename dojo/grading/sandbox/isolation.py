"""All layers in order, around one forked process."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dojo.grading.sandbox import landlock, namespaces, seccomp, syscalls

LAYERS = ("policy", "operators", "limits", "landlock", "seccomp", "namespaces")
MINE = Path(__file__).resolve().parents[2]  # dojo/


@dataclass(frozen=True)
class Fence:
    """Which layers to raise, where the process may write, and how long it may compute."""

    layers: tuple[str, ...]
    scratch: str
    cpu_seconds: int


def readable() -> list[str]:
    """What a worker reads: Python, torch, this package, and what the system libraries look up."""
    system = [
        "/usr",
        "/lib",
        "/lib64",
        "/etc/ld.so.cache",
        "/etc/localtime",
        "/proc/self",
        "/proc/cpuinfo",
        "/proc/meminfo",
    ]
    return [*dict.fromkeys([sys.prefix, sys.base_prefix, str(MINE), *system, "/sys/devices/system/cpu"])]


def available() -> dict[str, str]:
    """Each layer: empty when this platform has it, else why not."""
    found = dict.fromkeys(LAYERS, "")
    if os.name == "nt":
        found["limits"] = "needs Linux or macOS"
    for name, test in (("landlock", landlock.version), ("seccomp", _can_filter)):
        try:
            test()
        except OSError as error:
            found[name] = f"not on this system ({error.strerror or error})"
    found["namespaces"] = namespaces.can_enter()
    return found


def _can_filter() -> None:
    if sys.platform != "linux" or os.uname().machine not in seccomp.AUDIT:
        raise OSError("no filter for this system")


def fork_fenced(fence: Fence, keep: tuple[int, ...], body: Callable[[], None]) -> int:
    """Forks; the child raises its fences and runs `body`. Returns the pid to wait for, whose end is the child's.

    `keep` are the descriptors that the child holds besides 0, 1 and 2, which lead nowhere.
    """
    pid = os.fork()
    if pid:
        return pid
    status, raised = 120, False
    try:
        with suppress(OSError):
            syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        _let_go(keep)
        if "namespaces" in fence.layers:
            namespaces.enter(fence.scratch, readable())
            status = _end_like(_in_new_tree(fence, keep, body))
        else:
            _raise_fences(fence)
            raised = True
            body()
            status = 0
    except BaseException as error:
        _complain(keep, error, raised)
    finally:
        os._exit(status)


def _in_new_tree(fence: Fence, keep: tuple[int, ...], body: Callable[[], None]) -> int:
    """Three generations: this one waits, its child is the first process of the tree, the grandchild is fenced."""
    first = os.fork()
    if first:
        _close(keep)  # or nobody would hear that the grandchild has ended
        return os.waitpid(first, 0)[1]
    status, raised = 120, False
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        namespaces.show_own_processes()
        pid = os.fork()
        if not pid:
            os.setsid()
            _raise_fences(fence)
            raised = True
            body()
            os._exit(0)
        _close(keep)
        ended, code = 0, 0
        while ended != pid:
            ended, code = os.wait()
        status = _end_like(code)
    except BaseException as error:
        _complain(keep, error, raised)
    finally:
        os._exit(status)


def _complain(keep: tuple[int, ...], error: BaseException, raised: bool) -> None:
    """Tells of a fence that would not stand. What is raised behind the fences is the submission's affair."""
    if raised:
        return
    with suppress(BaseException):
        from dojo.grading.sandbox import pipe  # late: it brings torch, which is not to be forked everywhere

        pipe.send(keep[-1], {"fault": f"{type(error).__name__}: {error}"})


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def _end_like(status: int) -> int:
    """An exit status that tells `status` of waitpid: signals from 128 on."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _let_go(keep: tuple[int, ...]) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    _close(int(name) for name in os.listdir(folder) if int(name) > 2 and int(name) not in keep)


def _raise_fences(fence: Fence) -> None:
    os.chdir(fence.scratch)
    os.environ.clear()
    os.environ.update(
        HOME=fence.scratch, TMPDIR=fence.scratch, PATH="/usr/bin:/bin", LANG="C.UTF-8", OMP_NUM_THREADS="1"
    )
    os.umask(0o077)
    tempfile.tempdir = None  # it may have been looked up before
    if "limits" in fence.layers:
        from dojo.grading.sandbox import limits

        limits.restrict(fence.cpu_seconds)
    if "namespaces" in fence.layers:
        namespaces.become_nobody()
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)  # changing user cleared it
    with suppress(OSError):
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
    if "landlock" in fence.layers:
        landlock.restrict(readable(), [fence.scratch])
    if "seccomp" in fence.layers:
        seccomp.restrict()
