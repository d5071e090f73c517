"""Namespaces, for root only: a process tree, a network and a file system of its own, and then another user.

The first process of the new tree belongs to the sandbox. When it ends, the kernel ends all others in the tree.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from dojo.engine.processes import prctl
from dojo.grading.sandbox import syscalls

NOBODY = 65534
SCRATCH_OPTIONS = "size=128m,nr_inodes=4096,mode=0777"  # a flood of bytes or of small files stays in here
CAPABILITIES = 64  # more than Linux has


def enter(scratch: str, needed: Iterable[str]) -> None:
    """Leaves the caller's namespaces; the next fork is the first process of the new tree. Raises OSError.

    `scratch` becomes a small file system in memory. The `needed` paths are made reachable for another user.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    _make_reachable(needed, scratch)
    flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
    syscalls.mount("tmpfs", scratch, "tmpfs", flags, SCRATCH_OPTIONS)


def mount_own_proc() -> None:
    """Makes /proc show the new process tree alone; to be called in its first process."""
    syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)


def become_nobody() -> None:
    """Changes to the user nobody, without groups and capabilities, for good."""
    for capability in range(CAPABILITIES):
        try:
            prctl(syscalls.PR_CAPBSET_DROP, capability)
        except OSError:
            break
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _make_reachable(needed: Iterable[str], scratch: str) -> None:
    """Mounts each needed path again where only its owner could reach it: an interpreter under /root, for example.

    The closed folder above it is covered by an empty one, in which nothing but the needed paths appears.
    """
    by_cover: dict[Path, list[Path]] = {}
    for path in map(Path, needed):
        closed = [p for p in (*reversed(path.parents), path) if p.is_dir() and not p.stat().st_mode & 0o001]
        if closed:
            by_cover.setdefault(closed[0], []).append(path)
    for cover, paths in by_cover.items():
        saved = [Path(scratch) / f"saved-{number}" for number in range(len(paths))]
        for path, copy in zip(paths, saved, strict=True):
            copy.mkdir(exist_ok=True)
            syscalls.mount(str(path), str(copy), "", syscalls.MS_BIND | syscalls.MS_REC)
        syscalls.mount("tmpfs", str(cover), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=0755")
        for path, copy in zip(paths, saved, strict=True):
            path.mkdir(parents=True, exist_ok=True)
            syscalls.mount(str(copy), str(path), "", syscalls.MS_BIND | syscalls.MS_REC)


def why_unavailable() -> str:
    """Why this process cannot enter namespaces, as a clause; empty if it may try."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if os.geteuid() == 0 else "needs root"
