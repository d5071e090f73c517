"""As root: a process tree, a network and a file system of its own, then another user.

The first process of the new tree is ours. When it ends the kernel ends everything in the tree, so nothing survives.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from dojo.grade.cage import kernel

NOBODY = 65534
SCRATCH = "size=128m,nr_inodes=4096,mode=0777"  # a full disk, or a million small files, stays in here


def enter(scratch: str, needed: Iterable[str]) -> None:
    """Leaves the caller's namespaces; the next fork is the first process of the new tree. Raises OSError.

    `scratch` becomes a small file system in memory. Whatever of `needed` another user could not reach (an interpreter
    under /root, say) is laid bare, and the rest of what hides it is covered.
    """
    kernel.unshare(kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC)
    kernel.mount("none", "/", "", kernel.MS_REC | kernel.MS_PRIVATE)
    _uncover(scratch, needed)
    kernel.mount("tmpfs", scratch, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC, SCRATCH)


def show_own_processes() -> None:
    """In the first process of the new tree: /proc shows that tree alone."""
    kernel.mount("proc", "/proc", "proc", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)


def become_nobody() -> None:
    """Another user, no groups, no capabilities, for good."""
    for capability in range(64):
        try:
            kernel.prctl(kernel.PR_CAPBSET_DROP, capability)
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
            kernel.mount(str(path), str(kept), "", kernel.MS_BIND | kernel.MS_REC)
        kernel.mount("tmpfs", str(cover), "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=0755")
        for path, kept in zip(paths, aside, strict=True):
            path.mkdir(parents=True, exist_ok=True)
            kernel.mount(str(kept), str(path), "", kernel.MS_BIND | kernel.MS_REC)


def can_enter() -> str:
    """Empty when this process may try; else why not, as a clause."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if os.geteuid() == 0 else "needs root"
