"""Runs the tests of one kata with pytest, inside this process. Call it only in a forked child."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from dojo.core.outcome import Diagnosis, Outcome
from dojo.core.paths import Checkout
from dojo.engine.session import PLUGIN_NAME, KataSession

# Starting pytest is most of what a killed mutant costs, so its own plugins that no kata's test needs stay out.
UNUSED_PLUGINS = [
    "doctest",
    "unittest",
    "pastebin",
    "junitxml",
    "stepwise",
    "setuponly",
    "setupplan",
    "faulthandler",
    "threadexception",
    "unraisableexception",
    "legacypath",
    "logging",
    "cacheprovider",
    "warnings",
]


@dataclass(frozen=True)
class RunResult:
    """The result of one pytest session."""

    outcomes: tuple[Outcome, ...]
    expected: Mapping[str, int]  # kata -> its tests, for each kata whose tests were all to run
    diagnoses: tuple[Diagnosis, ...]
    output: str
    exit_code: int
    may_run_again: bool  # what hung would hang again


class SessionKeeper:
    """A pytest plugin that keeps the KataSession, which pytest.main() does not return."""

    session: KataSession | None = None

    def pytest_unconfigure(self, config: pytest.Config) -> None:
        self.session = config.pluginmanager.get_plugin(PLUGIN_NAME)


class OneWay(pytest.Directory):
    """A folder above a kata's tests, as if it held nothing else: pytest would look at each of the other katas."""

    following: Path

    def collect(self) -> Iterator[pytest.Collector]:
        if self.following.is_dir():
            node = self.ihook.pytest_collect_directory(path=self.following, parent=self)
            if node is not None:
                yield node


class StraightToTests:
    """A pytest plugin that collects `folder` without a look beside the way there."""

    def __init__(self, folder: Path) -> None:
        self.next = {above: below for below, above in zip([folder, *folder.parents], folder.parents, strict=False)}

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(self, path: Path, parent: pytest.Collector) -> pytest.Directory | None:
        if path not in self.next:
            return None
        node: OneWay = OneWay.from_parent(parent, path=path)
        node.following = self.next[path]
        return node


def leave_out_plugins() -> None:
    """Keeps the next pytest of this process to its own plugins, and to the options that it is given here.

    What a shell exports for its own runs (coverage, pytest-xdist) needs plugins that are not loaded.
    """
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    for variable in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(variable, None)


def run_pytest(checkout: Checkout, kata: str, target: Path, arguments: Sequence[str], *plugins: object) -> RunResult:
    """Runs one pytest session on `target`/kata.py. Records nothing in the history.

    Captures what is written to file descriptors 1 and 2, and does not restore them.
    """
    os.environ["KATAS_DIR"] = str(target)
    if checkout.workspace:
        os.environ["KATA_WORKSPACE"] = str(checkout.workspace)
    leave_out_plugins()
    os.chdir(checkout.root)
    if str(checkout.root) not in sys.path:
        sys.path.insert(0, str(checkout.root))
    fixed = [
        "-q",
        "-pdojo.engine.plugin",
        "--no-history",
        f"--rootdir={checkout.root}",
        *(f"-pno:{plugin}" for plugin in UNUSED_PLUGINS),
    ]
    keeper = SessionKeeper()
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        every_plugin = [keeper, StraightToTests(checkout.tests(kata)), *plugins]
        exit_code = int(pytest.main([checkout.tests_argument(kata), *fixed, *arguments], plugins=every_plugin))
        sys.stdout.flush()
        sys.stderr.flush()
        log.seek(0)
        output = log.read().decode("utf-8", "replace")
    session = keeper.session
    if session is None:
        return RunResult((), {}, (), output, exit_code, False)
    diagnoses = session.diagnoses.get(kata, ())
    return RunResult(
        tuple(session.outcomes), dict(session.expected), diagnoses, output, exit_code, session.may_run_again
    )
