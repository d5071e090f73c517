"""Makes plain `pytest` use the trainer's plugin, also where the package is not installed."""

import importlib.util
import sys

import pytest

if missing := [name for name in ("torch", "numpy", "rich") if importlib.util.find_spec(name) is None]:
    pytest.exit(
        f"{sys.executable} has no {', no '.join(missing)}. In a new terminal, `. .venv/bin/activate` comes first; if there "
        f"is no .venv yet, see the README's first command.",
        returncode=pytest.ExitCode.USAGE_ERROR,
    )

pytest_plugins = ["dojo.engine.plugin"]
