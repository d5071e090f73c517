"""The pytest plugin: its options, and what it registers in a pack or a workspace. Elsewhere it does nothing else.

conftest.py names it for a checkout that is not installed, the entry point in pyproject.toml for one that is.
"""

import os
import signal
from pathlib import Path

import pytest

from dojo.core.errors import UserError
from dojo.core.paths import Checkout, find_checkout
from dojo.core.printing import print_anything
from dojo.core.settings import is_pack, is_workspace
from dojo.engine import fixtures, garbage, selection
from dojo.engine.hang import HangGuard
from dojo.engine.session import PLUGIN_NAME, KataSession
from dojo.engine.target import Target


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas")
    group.addoption(
        "--katas", metavar="DIR", help="the katas to test (write --katas=DIR); default: answers/, or KATAS_DIR"
    )
    group.addoption(
        "--kata-seed", metavar="N", type=int, default=0, help="seeds every test's inputs; any N gives the same verdict"
    )
    group.addoption("--stage", metavar="N", type=int, choices=(1, 2, 3, 4), help="only the tests of stages 1 to N")
    group.addoption("--outcomes", metavar="FILE", help="also write the outcomes to FILE, one JSON object a line")
    group.addoption("--no-naming", action="store_true", help="do not look for the named mistake behind a failure")
    group.addoption(
        "--naming-limit",
        metavar="S",
        type=float,
        default=2.0,
        help="the seconds of computing after which no further mistake is looked at; default: 2",
    )
    group.addoption("--no-tracebacks", action="store_true", help="only each failure's sentence; much quicker")
    group.addoption(
        "--hang-limit",
        metavar="S",
        type=float,
        default=30.0,
        help="the processor seconds that a test may take; default: 30",
    )
    group.addoption("--no-history", action="store_true", help="do not record this run in .dojo/history.sqlite")


def pytest_configure(config: pytest.Config) -> None:
    checkout = _checkout_of(config)
    if not checkout:
        return
    print_anything()
    target = Target(config, checkout)
    config.pluginmanager.register(target, "dojo-target")
    config.pluginmanager.register(selection, "dojo-selection")
    config.pluginmanager.register(fixtures, "dojo-fixtures")
    config.pluginmanager.register(garbage, "dojo-garbage")
    if hasattr(signal, "setitimer"):  # not on Windows
        config.pluginmanager.register(HangGuard(config.getoption("--hang-limit")), "dojo-hang-guard")
    config.pluginmanager.register(KataSession(config, checkout, target.directory), PLUGIN_NAME)


def _checkout_of(config: pytest.Config) -> Checkout | None:
    """What a session in this root folder tests: its pack, or that of its workspace; None in a folder that is neither."""
    root = config.rootpath.resolve()
    if is_pack(root):
        workspace = os.environ.get("KATA_WORKSPACE")
        return Checkout(root, Path(workspace) if workspace else None)
    if not is_workspace(root):
        return None
    try:
        checkout = find_checkout(root)
    except UserError as error:
        raise pytest.UsageError(str(error)) from error
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(checkout.root / "tests")]
    # A workspace has no folder of tests: they are in the pack.
    config.args[:] = [
        str(checkout.root / arg) if Path(arg).parts[:1] == ("tests",) and not (root / "tests").exists() else arg
        for arg in config.args
    ]
    return checkout
