"""Imports, before a fork, what every forked child would otherwise import for itself."""

import ast
import ctypes
import gc
import importlib
import os
import re
from contextlib import suppress
from pathlib import Path

from dojo.core.paths import Checkout

HUGE_PAGE_BYTES = 2**21
MADV_COLLAPSE = 25
UNNAMED_MEMORY = re.compile(r"(\w+)-(\w+) rw-p \w+ \w+:\w+ 0 *(?:\[heap\])?$", re.M)  # a line of /proc/self/maps


def preload() -> None:
    """Imports what a run of a kata's tests needs. Call it before any torch operation, and fork afterwards."""
    preload_torch()
    import jaxtyping  # noqa: F401
    import pytest  # noqa: F401
    from _pytest.config import default_plugins

    import dojo.engine.diagnosis
    import dojo.engine.plugin
    import dojo.testing.decoding
    import dojo.testing.diffusion
    import dojo.testing.gpu
    import dojo.testing.modules  # noqa: F401

    for plugin in default_plugins:  # pytest.main() would import them
        importlib.import_module(f"_pytest.{plugin}")
    freeze()


def preload_torch() -> None:
    """Imports torch, and what its first operations would import, with one thread.

    torch's thread pool does not survive a fork: children of a process that has used it wait for ever.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    gc.disable()  # walking over torch's objects again and again would take a fifth of the time
    try:
        import torch

        torch.set_num_threads(1)
        import torch._dynamo  # torch.library needs it, and takes a second to import

        torch.testing.assert_close(torch.ones(1), torch.ones(1))  # imports sympy, which takes half a second
    finally:
        gc.enable()


def preload_kata(checkout: Checkout, kata: str) -> None:
    """Imports what the kata's tests import besides the kata (scikit-learn takes a second)."""
    with suppress(Exception):
        for file in checkout.tests(kata).glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
                for name in names:
                    if name.partition(".")[0] not in ("katas", "solutions"):
                        importlib.import_module(name)


def freeze() -> None:
    """Keeps the garbage collector away from all present objects, so that children do not copy their memory."""
    gc.collect()
    gc.freeze()


def collapse() -> None:
    """Moves this process's memory into huge pages, so that a fork copies, and an exit frees, one entry in place of 512.

    Does nothing before Linux 6.1, and on other systems. It takes 0.1 s, so it is for a process that forks hundreds of children.
    """
    try:
        madvise = ctypes.CDLL(None).madvise
        maps = Path("/proc/self/maps").read_text()
    except (OSError, AttributeError, TypeError):
        return
    for match in UNNAMED_MEMORY.finditer(maps):
        begin, end = (int(address, 16) for address in match.groups())
        first = -(-begin // HUGE_PAGE_BYTES) * HUGE_PAGE_BYTES
        for address in range(first, end - HUGE_PAGE_BYTES + 1, HUGE_PAGE_BYTES):
            madvise(ctypes.c_void_p(address), ctypes.c_size_t(HUGE_PAGE_BYTES), MADV_COLLAPSE)  # it may be refused
