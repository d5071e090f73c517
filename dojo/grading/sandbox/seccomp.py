"""A seccomp filter: no new programs or processes, no sockets, nothing done to other processes.

It is a list of what is refused, so that a right answer, which computes, never meets it. Refused calls fail with EPERM.
"""

import ctypes
import errno
import os
import platform
import struct

from dojo.grading.sandbox.syscalls import PR_SET_NO_NEW_PRIVS, prctl

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
# Landlock does not know these, and an honest shutil.copy uses them: they do nothing, and say that all is well.
IGNORED: dict[str, tuple[int | None, int | None]] = {
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16), "removexattrat": (466, 466),
}  # fmt: skip
KILL, TGKILL, CLONE, PRLIMIT, CLONE3 = (62, 129), (234, 131), (56, 220), (302, 261), (435, 435)
FCNTL, OWNERS = (72, 25), (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: a pipe that kills its owner when it is read
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, NOTHING, DENY, NO_SUCH, KILL_PROCESS = (
    0x7FFF0000,
    0x50000,
    0x50000 | errno.EPERM,
    0x50000 | errno.ENOSYS,
    0x80000000,
)
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
CLONE_THREAD = 0x10000


def restrict() -> None:
    """Installs the filter in this process, for good; raises OSError where it cannot."""
    machine = platform.machine()
    if machine not in AUDIT:
        raise OSError(f"no table of system calls for {machine}")
    program = _program(("x86_64", "aarch64").index(machine), AUDIT[machine], os.getpid())
    code = b"".join(struct.pack("<HBBI", *line) for line in program)
    buffer = ctypes.create_string_buffer(code, len(code))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(buffer)))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(22, 2, ctypes.c_void_p(ctypes.addressof(header)))  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER


def _program(column: int, arch: int, pid: int) -> list[tuple[int, int, int, int]]:
    lines = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, arch), (RETURN, 0, 0, KILL_PROCESS), (LOAD, 0, 0, 0)]
    if column == 0:
        lines += [(AT_LEAST, 0, 1, 0x40000000), (RETURN, 0, 0, DENY)]  # the x32 names of the same calls
    for table, answer in ((REFUSED, DENY), (IGNORED, NOTHING)):
        for numbers in table.values():
            number = numbers[column]
            if number is not None:
                lines += [(EQUAL, 0, 1, number), (RETURN, 0, 0, answer)]
    lines += [(EQUAL, 0, 1, CLONE3[column]), (RETURN, 0, 0, NO_SUCH)]  # its flags cannot be seen: glibc then uses clone
    first = 16  # the low half of the first argument, little-endian
    lines += [(EQUAL, 0, 4, CLONE[column]), (LOAD, 0, 0, first), (ANY_BIT, 1, 0, CLONE_THREAD)]
    lines += [(RETURN, 0, 0, DENY), (RETURN, 0, 0, ALLOW)]
    for numbers, own in ((KILL, (pid,)), (TGKILL, (pid,)), (PRLIMIT, (0, pid))):
        checks = [(EQUAL, len(own) - i, 0, p) for i, p in enumerate(own)]
        lines += [(EQUAL, 0, len(checks) + 3, numbers[column]), (LOAD, 0, 0, first), *checks]
        lines += [(RETURN, 0, 0, DENY), (RETURN, 0, 0, ALLOW)]
    checks = [(EQUAL, len(OWNERS) - i, 0, command) for i, command in enumerate(OWNERS)]
    lines += [(EQUAL, 0, len(checks) + 3, FCNTL[column]), (LOAD, 0, 0, first + 8), *checks]
    lines += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, DENY)]
    return [*lines, (RETURN, 0, 0, ALLOW)]
