"""Describes the machine that the figures were measured on."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "numpy", "scikit-learn", "transformers", "diffusers", "peft", "loralib")


def describe() -> dict[str, Any]:
    """Returns processor, cores, Python, torch's build, and the versions of what was compared. Imports torch."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": cores,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: installed for name in LIBRARIES if (installed := _version(name))},
        "torch_build": torch.__config__.show().strip(),
        "torch_threads": torch.__config__.parallel_info().strip(),
    }


def _version(library: str) -> str:
    """Returns the installed version, or "" if there is none."""
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _cpu() -> str:
    """Returns the processor's name as the kernel gives it, with family and model: cloud machines often hide the name."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return platform.processor() or platform.machine()
    fields: dict[str, str] = {}
    for line in info.read_text(encoding="utf-8").split("\n\n")[0].splitlines():
        key, _, value = line.partition(":")
        fields[key.strip()] = value.strip()
    name = fields.get("model name", platform.machine())
    family, model = fields.get("cpu family"), fields.get("model")
    return f"{name}, family {family} model {model}" if family and model else name
