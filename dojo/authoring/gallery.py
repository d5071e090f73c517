"""Runs the programs of notebooks/material/gallery against the references, each in an interpreter of its own."""

import os
import subprocess
import sys

from dojo.authoring.extras import require_notebook_libraries
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.engine.target import child_environment


def run(checkout: Checkout, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs `python -m material.gallery.MODULE ARGUMENTS` in notebooks/; returns its exit code and output."""
    environment = {
        **os.environ,
        **child_environment(checkout, checkout.solutions),
        "OMP_NUM_THREADS": "1",  # sums in one order
        "MPLBACKEND": "agg",
    }
    return subprocess.run(
        [sys.executable, "-m", f"material.gallery.{module}", *arguments],
        cwd=checkout.root / "notebooks",
        env=environment,
        capture_output=True,
        text=True,
    )


def draw_pictures(checkout: Checkout, check: bool) -> list[str]:
    """Draws the gallery's pictures in docs/pictures; returns a sentence for each.

    With `check`, draws nothing and returns a sentence for each picture that would be another now.
    """
    require_notebook_libraries("Pictures", "matplotlib", "PIL", "safetensors")
    flags = ["--check"] if check else []
    done = run(checkout, "pictures", str(checkout.root / "docs" / "pictures"), *flags)
    if done.returncode and not done.stdout:
        raise UserError(f"The pictures cannot be drawn: {done.stderr.strip() or 'the program ended without a word'}")
    return done.stdout.splitlines()
