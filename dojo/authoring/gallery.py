"""Runs the programs of notebooks/material/gallery against the reference, each in an interpreter of its own."""

import os
import subprocess
import sys

from dojo.core.errors import UserError
from dojo.core.paths import Checkout


def run(checkout: Checkout, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m material.gallery.MODULE ARGUMENTS`, in notebooks/, with what it prints."""
    environment = os.environ | {
        "KATAS_DIR": str(checkout.solutions),
        "PYTHONPATH": str(checkout.root),
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
    """Draws the README's pictures and says so, a sentence each; with `check`, only says which are not as drawn now."""
    flags = ["--check"] if check else []
    done = run(checkout, "pictures", str(checkout.root / "docs" / "pictures"), *flags)
    if done.returncode and not done.stdout:
        raise UserError(f"The pictures cannot be drawn: {done.stderr.strip() or 'the program ended without a word'}")
    return done.stdout.splitlines()
