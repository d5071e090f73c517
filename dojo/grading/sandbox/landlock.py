"""Landlock: which files a process and its children may reach, set by the process itself, without privileges."""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from dojo.grading.sandbox.syscalls import syscall

CREATE, ADD, RESTRICT = 444, 445, 446  # the same numbers on every architecture
READ_FILE, READ_DIR, EXECUTE = 1 << 2, 1 << 3, 1 << 0
REFER, TRUNCATE, IOCTL = 13, 14, 15
OF_FILES = EXECUTE | 1 << 1 | READ_FILE | 1 << TRUNCATE
NEWER = {2: 1 << REFER, 3: 1 << TRUNCATE, 5: 1 << IOCTL}  # rights that the first version did not know
TCP = 0b11  # bind and connect, since version 4
SCOPED = 0b11  # abstract sockets and signals to processes outside, since version 6
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The kernel's version of Landlock; raises OSError where there is none."""
    return syscall(CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))


def restrict(readable: Iterable[str], writable: Iterable[str]) -> None:
    """From now on only these trees: `readable` to read, `writable` to read and write. No TCP. Raises OSError."""
    known = version()
    everything = (1 << 13) - 1
    for since, right in NEWER.items():
        everything |= right if known >= since else 0
    rules = _Ruleset(everything, TCP if known >= 4 else 0, SCOPED if known >= 6 else 0)
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = syscall(CREATE, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    try:
        for path in readable:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for path in DEVICES:
            _allow(ruleset, path, READ_FILE | 1 << 1)
        for path in writable:
            _allow(ruleset, path, everything & ~(EXECUTE | 1 << IOCTL | 0b1111 << 9 | 1 << 6))  # no devices, no sockets
        syscall(RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        where = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine: nothing to allow
        return
    try:
        if not Path(path).is_dir():
            rights &= OF_FILES
        beneath = _Beneath(rights, where)
        syscall(ADD, ctypes.c_int(ruleset), ctypes.c_int(1), ctypes.byref(beneath), ctypes.c_uint32(0))
    finally:
        os.close(where)
