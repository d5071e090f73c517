"""A seccomp filter: no new programs or processes, no sockets, nothing done to other processes.

The filter lists what it refuses; all else is allowed. A right answer only computes, and never makes a refused call.
Refused calls fail with EPERM.
"""

import ctypes
import errno
import os
import platform
import struct
import sys

from dojo.engine.processes import prctl
from dojo.grading.sandbox.syscalls import PR_SET_NO_NEW_PRIVS

# Numbers of x86-64 and of aarch64 (the generic table); None where that architecture has no such call.
REFUSED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "sendmsg": (46, 211),
    "execve": (59, 221), "execveat": (322, 281), "fork": (57, None), "vfork": (58, None),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "tkill": (200, 130),
    "setpriority": (141, 140), "sched_setscheduler": (144, 119), "sched_setparam": (142, 118),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274), "ioprio_set": (251, 30), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39),
    "pivot_root": (155, 41), "chroot": (161, 51), "move_mount": (429, 429), "open_tree": (428, 428),
    "fsopen": (430, 430), "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "open_by_handle_at": (304, 265), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "shmget": (29, 194), "shmat": (30, 196), "semget": (64, 190), "msgget": (68, 186), "mq_open": (240, 180),
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "init_module": (175, 105), "finit_module": (313, 273),
    "personality": (135, 92), "quotactl": (179, 60), "reboot": (169, 142), "swapon": (167, 224),
}  # fmt: skip
# Landlock does not cover these, and an honest shutil.copy makes them. They do nothing and return success.
IGNORED: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
}  # fmt: skip
# Refused or allowed by their first or second argument.
KILL, TGKILL, CLONE, PRLIMIT, CLONE3 = (62, 129), (234, 131), (56, 220), (302, 261), (435, 435)
CLONE_THREAD = 0x10000  # a clone with this flag is a new thread, not a new process
FCNTL = (72, 25)
SET_OWNER = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: with them, a pipe can send its reader a signal

MACHINES = ("x86_64", "aarch64")  # in the order of the columns above
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# What a filter returns (linux/seccomp.h).
ALLOW = 0x7FFF0000
ERRNO = 0x50000
SUCCEED, DENY, NO_SUCH_CALL = ERRNO, ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
KILL_PROCESS = 0x80000000
# BPF instructions: load a 32-bit word of seccomp_data, compare the loaded word, return.
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
# Offsets in seccomp_data; of an argument, its low half (both machines are little-endian).
NUMBER, ARCH, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24
X32_BIT = 0x40000000
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, operand


def check_available() -> None:
    """Raises OSError where there is no table of system calls for this machine."""
    if sys.platform != "linux" or platform.machine() not in AUDIT_ARCH:
        raise OSError("no filter for this system")


def apply() -> None:
    """Installs the filter in this process, for good; raises OSError if it cannot."""
    check_available()
    program = _program(MACHINES.index(platform.machine()), AUDIT_ARCH[platform.machine()], os.getpid())
    code = b"".join(struct.pack("<HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_void_p(ctypes.addressof(header)))


def _program(column: int, arch: int, pid: int) -> list[Instruction]:
    program: list[Instruction] = [(LOAD, 0, 0, ARCH), (EQUAL, 1, 0, arch), (RETURN, 0, 0, KILL_PROCESS)]
    program += [(LOAD, 0, 0, NUMBER)]
    if MACHINES[column] == "x86_64":
        program += [(AT_LEAST, 0, 1, X32_BIT), (RETURN, 0, 0, DENY)]  # the x32 names of the same calls
    for table, answer in ((REFUSED, DENY), (IGNORED, SUCCEED)):
        for numbers in table.values():
            number = numbers[column]
            if number is not None:
                program += [(EQUAL, 0, 1, number), (RETURN, 0, 0, answer)]
    # The flags of clone3 are in memory, where a filter cannot look; without clone3, glibc uses clone.
    program += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, NO_SUCH_CALL)]
    program += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, FIRST_ARGUMENT), (ANY_BIT, 1, 0, CLONE_THREAD)]
    program += [(RETURN, 0, 0, DENY), (RETURN, 0, 0, ALLOW)]
    for numbers, targets in ((KILL, (pid,)), (TGKILL, (pid,)), (PRLIMIT, (0, pid))):  # of this process alone
        program += _by_argument(numbers[column], FIRST_ARGUMENT, targets, ALLOW, DENY)
    program += _by_argument(FCNTL[column], SECOND_ARGUMENT, SET_OWNER, DENY, ALLOW)
    return [*program, (RETURN, 0, 0, ALLOW)]


def _by_argument(
    number: int, argument: int, values: tuple[int, ...], if_equal: int, otherwise: int
) -> list[Instruction]:
    """Answers the call `number` by whether an argument is one of `values`; passes other calls on."""
    checks: list[Instruction] = [(EQUAL, len(values) - i, 0, value) for i, value in enumerate(values)]
    return [
        (EQUAL, 0, len(checks) + 3, number), (LOAD, 0, 0, argument), *checks,
        (RETURN, 0, 0, otherwise), (RETURN, 0, 0, if_equal),
    ]  # fmt: skip
