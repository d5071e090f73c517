"""Imports, before a fork, what every forked child would otherwise import for itself."""

import gc
import importlib
import os


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
    import torch

    torch.set_num_threads(1)
    import torch._dynamo  # torch.library needs it, and takes a second to import

    torch.testing.assert_close(torch.ones(1), torch.ones(1))  # imports sympy, which takes half a second


def freeze() -> None:
    """Keeps the garbage collector away from all present objects, so that children do not copy their memory."""
    gc.collect()
    gc.freeze()
