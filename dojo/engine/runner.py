"""Runs the tests of one kata on one source text, inside this process. Call it in a forked child (dojo.engine.pool)."""

import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dojo.core.outcome import Outcome, is_solved
from dojo.core.paths import Checkout

# Start-up is most of what a killed mutant costs: pytest's own plugins that no kata test needs stay out.
UNUSED = "doctest unittest pastebin junitxml stepwise setuponly setupplan faulthandler threadexception unraisableexception legacypath logging cacheprovider warnings"


@dataclass(frozen=True)
class Run:
    """What one pytest run said."""

    outcomes: tuple[Outcome, ...]
    output: str
    code: int

    @property
    def all_passed(self) -> bool:
        passed = sum(o.verdict == "passed" for o in self.outcomes)
        return self.code == 0 and is_solved(passed, passed + len(self.failures), complete=True)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.verdict not in ("passed", "skipped"))


class Grab:
    """Takes what the session knows at its end."""

    outcomes: tuple[Outcome, ...] = ()
    expected: dict[str, int]
    output = ""
    code = 0

    def __init__(self) -> None:
        self.expected = {}

    def pytest_unconfigure(self, config) -> None:
        dojo = config.pluginmanager.get_plugin("dojo-session")
        if dojo:
            self.outcomes, self.expected = tuple(dojo.outcomes), dict(dojo.expected)


def run_tests(
    checkout: Checkout, kata: str, source: str, *, seed: int = 0, only: str = "", extra: Sequence[str] = ()
) -> Run:
    """The tests of `kata` against `source` (beside the references of all other katas); `only` names one test function."""
    with tempfile.TemporaryDirectory(prefix="kata-") as folder:
        target = Path(folder).resolve()
        for reference in checkout.solutions.glob("*.py"):
            if reference.stem != kata:
                (target / reference.name).symlink_to(reference)
        (target / f"{kata}.py").write_text(source, encoding="utf-8")
        grab = run_pytest(checkout, kata, target, [f"--kata-seed={seed}", *extra], only=only)
    return Run(grab.outcomes, grab.output, grab.code)


def run_pytest(
    checkout: Checkout, kata: str, target: Path, arguments: Sequence[str], *plugins: object, only: str = ""
) -> Grab:
    """One pytest session on `target`/kata.py, with its output taken from the file descriptors. Nothing is recorded."""
    import pytest

    os.environ["KATAS_DIR"] = str(target)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.chdir(checkout.root)
    if str(checkout.root) not in sys.path:
        sys.path.insert(0, str(checkout.root))
    tests = str(checkout.tests(kata)) + (f"::{only}" if only else "")
    fixed = ["-q", "--no-history", f"--rootdir={checkout.root}"] + [f"-pno:{plugin}" for plugin in UNUSED.split()]
    grab = Grab()
    with tempfile.TemporaryFile() as log:
        sys.stdout.flush()
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        grab.code = int(pytest.main([tests, *fixed, *arguments], plugins=[grab, *plugins]))
        sys.stdout.flush()
        sys.stderr.flush()
        log.seek(0)
        grab.output = log.read().decode("utf-8", "replace")
    return grab
