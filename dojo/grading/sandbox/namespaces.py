"""As root: a process tree, a network and a file system of its own, then another user.

The first process of the new tree is ours. When it ends the kernel ends everything in the tree, so nothing survives.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from dojo.grading.sandbox import syscalls

NOBODY = 65534
SCRATCH = "size=128m,nr_inodes=4096,mode=0777"  # a full disk, or a million small files, stays in here


def enter(scratch: str, needed: Iterable[str]) -> None:
    """Leaves the caller's namespaces; the next fork is the first process of the new tree. Raises OSError.

    `scratch` becomes a small file system in memory. Whatever of `needed` another user could not reach (an interpreter
    under /root, say) is laid bare, and the rest of what hides it is covered.
    """
    syscalls.unshare(syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWNET | syscalls.CLONE_NEWIPC)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)
    _uncover(scratch, needed)
    syscalls.mount("tmpfs", scratch, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC, SCRATCH)


def show_own_processes() -> None:
    """In the first process of the new tree: /proc shows that tree alone."""
    syscalls.mount("proc", "/proc", "proc", syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC)


def become_nobody() -> None:
    """Another user, no groups, no capabilities, for good."""
    for capability in range(64):
        try:
            syscalls.prctl(syscalls.PR_CAPBSET_DROP, capability)
        except OSError:
            break
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _uncover(scratch: str, needed: Iterable[str]) -> None:
    hidden: dict[Path, list[Path]] = {}
    for path in map(Path, needed):
        closed = [p for p in (*reversed(path.parents), path) if p.is_dir() and not p.stat().st_mode & 0o001]
        if closed:
            hidden.setdefault(closed[0], []).append(path)
    for cover, paths in hidden.items():
        aside = [Path(scratch) / f"kept-{i}" for i in range(len(paths))]
        for path, kept in zip(paths, aside, strict=True):
            kept.mkdir(exist_ok=True)
            syscalls.mount(str(path), str(kept), "", syscalls.MS_BIND | syscalls.MS_REC)
        syscalls.mount("tmpfs", str(cover), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV, "mode=0755")
        for path, kept in zip(paths, aside, strict=True):
            path.mkdir(parents=True, exist_ok=True)
            syscalls.mount(str(kept), str(path), "", syscalls.MS_BIND | syscalls.MS_REC)


def can_enter() -> str:
    """Empty when this process may try; else why not, as a clause."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if os.geteuid() == 0 else "needs root"
