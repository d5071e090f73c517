"""Process helpers that both fork servers use."""

import os
import signal
import sys

import pytest

from dojo.engine import processes
from dojo.engine.pool import run_forked
from dojo.engine.processes import can_fork, describe_exit, signal_name

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


@pytest.mark.parametrize(("value", "allowed"), [("0", False), ("1", True)])
def test_the_environment_decides_about_fork(value, allowed, monkeypatch):
    """KATA_FORK overrides what the platform suggests."""
    monkeypatch.setenv("KATA_FORK", value)
    assert can_fork() is (allowed and hasattr(os, "fork"))


@pytest.mark.parametrize(
    ("code", "clause"),
    [
        (0, "ended the process (exit code 0) before its tests were through; look for exit() or os._exit()"),
        (-signal.SIGKILL, "was killed (SIGKILL), perhaps for want of memory"),
        (-signal.SIGSEGV, "crashed the interpreter (SIGSEGV)"),
        (-signal.SIGABRT, "aborted the interpreter (SIGABRT)"),
        (-signal.SIGTERM, "was ended by SIGTERM"),
        (-40, "was ended by signal 40"),
    ],
)
def test_an_exit_code_is_described_in_a_clause(code, clause):
    """Real-time signals have no names in Python."""
    assert describe_exit(code, "its tests were through", ", perhaps for want of memory") == clause


def test_a_signal_has_a_name_or_a_number():
    """SIGKILL, and a real-time signal."""
    assert (signal_name(9), signal_name(40)) == ("SIGKILL", "signal 40")


def test_prctl_raises_the_error_of_the_system():
    """With errno on Linux; there is no prctl elsewhere."""
    with pytest.raises(OSError):
        processes.prctl(9999)


@linux
def test_descendants_are_killed_with_their_orphans():
    """A daemon's parent has ended, so that only a subreaper still finds it. Spared children live on."""

    def task():
        processes.become_subreaper()
        spared = os.fork()
        if not spared:
            signal.pause()
        reading, writing = os.pipe()
        parent = os.fork()
        if not parent:
            os.setsid()
            if not os.fork():
                os.write(writing, b"x")
                signal.pause()
            os._exit(0)
        os.read(reading, 1)
        os.waitpid(parent, 0)
        return processes.kill_descendants(frozenset({spared})), processes.children() == [spared]

    assert dict(run_forked([task], jobs=1, seconds=60)) == {0: (1, True)}


@linux
def test_a_limit_is_lowered_and_never_raised():
    """The shell may have set a lower one."""

    def task():
        import resource

        limits = []
        for limit in (100, 50, 70):
            processes.lower_limit(resource.RLIMIT_NOFILE, limit)
            limits.append(resource.getrlimit(resource.RLIMIT_NOFILE))
        return limits

    assert dict(run_forked([task], jobs=1, seconds=60)) == {0: [(100, 100), (50, 50), (50, 50)]}
