"""Says which environment plain `pytest` needs: it is the trainer's plugin, installed there, that tests answers/."""

import importlib.util
import sys

import pytest

if importlib.util.find_spec("dojo") is None:
    pytest.exit(
        f"{sys.executable} does not have the trainer (`kata`). Activate the environment that you installed it in.",
        returncode=pytest.ExitCode.USAGE_ERROR,
    )
