"""Forks a process and applies all layers to it, in the order in which they do not hinder each other."""

import os
import signal
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from dojo.engine.processes import PR_SET_PDEATHSIG, prctl
from dojo.grading.sandbox import landlock, limits, namespaces, seccomp
from dojo.grading.sandbox.syscalls import PR_SET_NO_NEW_PRIVS

LAYERS = ("policy", "operators", "limits", "landlock", "seccomp", "namespaces")
EXIT_FAULT = 120  # an exception in the child, before its body or in it


@dataclass(frozen=True)
class Isolation:
    """Which layers apply, where the process may write, how long it may compute, and what it may read."""

    layers: tuple[str, ...]
    scratch: str
    cpu_seconds: int
    readable: tuple[str, ...]


def why_unavailable() -> dict[str, str]:
    """Why this platform lacks each layer, as a clause; empty for a layer that it has."""
    reasons = dict.fromkeys(LAYERS, "")
    if os.name == "nt":
        reasons["limits"] = "needs Linux or macOS"
    for name, check in (("landlock", landlock.version), ("seccomp", seccomp.check_available)):
        try:
            check()
        except OSError as error:
            reasons[name] = f"not on this system ({error.strerror or error})"
    reasons["namespaces"] = namespaces.why_unavailable()
    return reasons


def fork_isolated(isolation: Isolation, keep: tuple[int, ...], body: Callable[[], None]) -> int:
    """Forks a child that isolates itself and then runs `body`. Returns its pid; see `exit_status` for how it ends.

    The child keeps the descriptors in `keep`, and 0, 1 and 2, which lead to /dev/null. If it cannot isolate itself it
    sends {"fault": reason} to the last one in `keep`.
    """
    pid = os.fork()
    if pid:
        return pid
    status, isolated = EXIT_FAULT, False
    try:
        with suppress(OSError):
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        os.setsid()
        _close_others(keep)
        if "namespaces" in isolation.layers:
            namespaces.enter(isolation.scratch, isolation.readable)
            status = exit_status(_run_in_new_tree(isolation, keep, body))
        else:
            _apply(isolation)
            isolated = True
            body()
            status = 0
    except BaseException as error:
        if not isolated:
            _send_fault(keep[-1], error)
    finally:
        os._exit(status)


def _run_in_new_tree(isolation: Isolation, keep: tuple[int, ...], body: Callable[[], None]) -> int:
    """Runs `body` in a grandchild, and returns the wait status of the child between.

    The child is the first process of the new tree, the grandchild is isolated.
    """
    first = os.fork()
    if first:
        _close(keep)  # the grader sees a pipe close only when no process holds its other end
        return os.waitpid(first, 0)[1]
    status, isolated = EXIT_FAULT, False
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        namespaces.mount_own_proc()
        pid = os.fork()
        if not pid:
            os.setsid()
            _apply(isolation)
            isolated = True
            body()
            os._exit(0)
        _close(keep)
        ended, code = 0, 0
        while ended != pid:
            ended, code = os.wait()
        status = exit_status(code)
    except BaseException as error:
        if not isolated:
            _send_fault(keep[-1], error)
    finally:
        os._exit(status)


def exit_status(code: int) -> int:
    """The exit code in a wait status, or 128 and the number of the signal that ended the process, as shells have it."""
    return 128 + os.WTERMSIG(code) if os.WIFSIGNALED(code) else os.WEXITSTATUS(code)


def _send_fault(outbox: int, error: BaseException) -> None:
    with suppress(BaseException):
        from dojo.grading.sandbox import pipe  # late: it imports torch, which must not be loaded before every fork

        pipe.send(outbox, {"fault": f"{type(error).__name__}: {error}"})


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        with suppress(OSError):
            os.close(descriptor)


def _close_others(keep: tuple[int, ...]) -> None:
    """Closes all descriptors but those in `keep`, and opens /dev/null as 0, 1 and 2."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    folder = "/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"
    _close(int(name) for name in os.listdir(folder) if int(name) > 2 and int(name) not in keep)


def _apply(isolation: Isolation) -> None:
    """Applies the layers to this process, for good."""
    os.chdir(isolation.scratch)
    os.environ.clear()
    os.environ.update(
        HOME=isolation.scratch, TMPDIR=isolation.scratch, PATH="/usr/bin:/bin", LANG="C.UTF-8", OMP_NUM_THREADS="1"
    )
    os.umask(0o077)
    tempfile.tempdir = None  # else a folder that was looked up before would stay
    if "limits" in isolation.layers:
        import torch  # noqa: F401  # where the fork server may not hold it: what torch maps is not the submission's

        limits.apply(isolation.cpu_seconds)
    if "namespaces" in isolation.layers:
        namespaces.become_nobody()
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # changing the user has cleared it
    with suppress(OSError):
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    if "landlock" in isolation.layers:
        landlock.apply(isolation.readable, [isolation.scratch])
    if "seccomp" in isolation.layers:
        seccomp.apply()
