"""Runs `kata` commands for tests: inside this process, or as a process of their own."""

import os
import sys

from click.testing import CliRunner

from dojo.cli.main import main
from dojo.tests.checkouts import REPOSITORY, record


def kata(*arguments):
    """Runs a command in this process; returns click's result."""
    return CliRunner().invoke(main, arguments, prog_name="kata")


def program(*arguments):
    """Returns the command line of a `kata` process. Its checkout is that of the current folder."""
    return [sys.executable, "-m", "dojo.cli.main", *arguments]


def environment(**more):
    """Returns the environment of a `kata` process: this one without the variables of katas and pytest, and `more`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("KATA", "PYTEST"))}
    return {**inherited, "PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **more}


def mark_solved(checkout, name="tiny"):
    """Records a run in which every test passed."""
    record(checkout, name, "passed")
