"""System calls that Python 3.11 does not offer, through ctypes; prctl stands in dojo.engine.processes."""

import ctypes
import os
import sys

PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 24, 38
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET = 0x20000, 0x8000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18


def _libc() -> ctypes.CDLL:
    if sys.platform != "linux":
        raise OSError("not on Linux")
    return ctypes.CDLL(None, use_errno=True)


def syscall(number: int, *arguments: object) -> int:
    """syscall(2); raises OSError."""
    libc = _libc()
    libc.syscall.restype = ctypes.c_long
    return _check(libc.syscall(ctypes.c_long(number), *arguments))


def unshare(flags: int) -> None:
    """unshare(2); raises OSError."""
    _check(_libc().unshare(flags))


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2); raises OSError."""
    _check(_libc().mount(*(os.fsencode(s) for s in (source, target, kind)), ctypes.c_ulong(flags), os.fsencode(data)))


def _check(result: int) -> int:
    """Returns `result`; raises OSError if it says that the call failed."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
