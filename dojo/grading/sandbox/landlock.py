"""Landlock: which files a process and its children may reach. A process restricts itself, without privileges."""

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

from dojo.grading.sandbox.syscalls import syscall

# System calls; the same numbers on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
QUERY_VERSION = 1  # a flag of CREATE_RULESET
RULE_PATH_BENEATH = 1
# Rights to files, one bit each (linux/landlock.h).
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
MAKE_CHAR, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK, MAKE_SYM = (1 << bit for bit in (6, 9, 10, 11, 12))
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST_RIGHTS = (1 << 13) - 1  # all of the first version
SINCE_VERSION = {2: REFER, 3: TRUNCATE, 5: IOCTL_DEV}
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE  # what a rule about a file, not a folder, may hold
TCP = 0b11  # bind and connect, since version 4
SCOPED = 0b11  # abstract sockets of, and signals to, processes outside; since version 6
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


class _RulesetAttr(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneathAttr(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("rights", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The version of Landlock that this kernel has; raises OSError if it has none."""
    return syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(QUERY_VERSION))


def apply(readable: Iterable[str], writable: Iterable[str]) -> None:
    """Restricts this process to reading `readable` and to reading and writing `writable`. No TCP. Raises OSError."""
    current = version()
    all_rights = FIRST_RIGHTS
    for since, right in SINCE_VERSION.items():
        all_rights |= right if current >= since else 0
    attr = _RulesetAttr(all_rights, TCP if current >= 4 else 0, SCOPED if current >= 6 else 0)
    size = 24 if current >= 6 else 16 if current >= 4 else 8
    ruleset = syscall(CREATE_RULESET, ctypes.byref(attr), ctypes.c_size_t(size), ctypes.c_uint32(0))
    never = EXECUTE | IOCTL_DEV | MAKE_CHAR | MAKE_SOCK | MAKE_FIFO | MAKE_BLOCK | MAKE_SYM
    try:
        for path in readable:
            _allow(ruleset, path, READ_FILE | READ_DIR)
        for path in DEVICES:
            _allow(ruleset, path, READ_FILE | WRITE_FILE)
        for path in writable:
            _allow(ruleset, path, all_rights & ~never)
        syscall(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine: nothing to allow
        return
    try:
        if not Path(path).is_dir():
            rights &= OF_FILES
        attr = _PathBeneathAttr(rights, parent)
        syscall(
            ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(RULE_PATH_BENEATH), ctypes.byref(attr), ctypes.c_uint32(0)
        )
    finally:
        os.close(parent)
