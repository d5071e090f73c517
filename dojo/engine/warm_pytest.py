"""Runs the tests of katas on many source texts: pytest starts once, and each run happens in a fork of that process.

A run collects a test file only when the first of its tests is due, and at first only that test's function, so a mutant
that the likeliest test kills costs little more than the fork.
"""

import importlib
import io
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.engine.hang import OutOfTime
from dojo.engine.preload import preload_kata
from dojo.engine.reach import ElsewhereTrace, LineTrace
from dojo.engine.runner import UNUSED_PLUGINS, leave_out_plugins
from dojo.engine.session import PLUGIN_NAME, KataSession
from dojo.engine.target import Target


@dataclass(frozen=True)
class TestTrace:
    """What one test needs on the code that it was traced on."""

    file: Path
    seconds: float
    lines: frozenset[int]  # of the kata's file
    elsewhere: bool = False  # it may run other lines in another process, or read the file
    at_import: frozenset[int] = frozenset()  # the lines that run when the test files are imported


@dataclass(frozen=True)
class TestRun:
    """The outcomes of one run, in the order of running, and with `trace` what each test needs."""

    outcomes: tuple[Outcome, ...]
    traces: dict[str, TestTrace] = field(default_factory=dict)

    @property
    def failures(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.verdict not in ("passed", "skipped"))


class WarmPytest:
    """A pytest session that has started and collected nothing yet."""

    def __init__(self, checkout: Checkout, session: pytest.Session) -> None:
        self.checkout, self.session = checkout, session
        self._modules: dict[str, dict[Path, pytest.Module]] = {}  # by kata and file; nothing is collected from them yet
        self._wanted: Callable[[str], bool] = lambda name: True
        session.config.pluginmanager.register(self, "dojo-warm-pytest")

    def prepare(self, kata: str) -> None:
        """Lists the test files of `kata`, and imports what they import, in this process, so that its forks need not.

        They list them where its conftest imports katas.
        """
        preload_kata(self.checkout, kata)
        conftest = self.checkout.tests(kata) / "conftest.py"
        if not (conftest.is_file() and "katas" in conftest.read_text(encoding="utf-8")):
            self._modules[kata] = self._list_modules(kata)

    def run(
        self,
        kata: str,
        source: str,
        *,
        seed: int = 0,
        first: Sequence[tuple[str, Path]] = (),
        others: bool = True,
        stops: Callable[[Outcome], bool] = lambda outcome: False,
        cpu_limits_s: dict[str, float] | None = None,
        trace: bool = False,
    ) -> TestRun:
        """Runs the tests of `kata` on `source`, beside the references of all other katas. Call it only in a forked child.

        The tests `first` (name and file) run in this order, and then, with `others`, all others; none after an outcome
        that `stops`. A test that uses more CPU time than its limit ends the process with SIGPROF.
        """
        with self._aimed(kata, source, seed) as (file, outcomes):
            traces: dict[str, TestTrace] = {}
            elsewhere = ElsewhereTrace(str(file)) if trace else None
            at_import = LineTrace(str(file))
            seen = 0
            items = self._items(kata, first, others)
            while True:
                with (
                    at_import if trace else nullcontext()
                ):  # a test file is imported when the first of its tests is due
                    item = next(items, None)
                if item is None:
                    break
                before = elsewhere.count if elsewhere else 0
                with LineTrace(str(file)) if trace else nullcontext() as lines, _cpu_limit(cpu_limits_s, item.name):
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)  # the next may not be collected
                new, seen = outcomes[seen:], len(outcomes)
                if lines and elsewhere:
                    seconds = sum(outcome.seconds for outcome in new)
                    left = elsewhere.count > before
                    traces[item.name] = TestTrace(item.path, seconds, frozenset(lines.lines), left)
                if any(map(stops, new)):
                    break
            for name, needs in traces.items():
                traces[name] = replace(needs, at_import=frozenset(at_import.lines))
            return TestRun(tuple(outcomes), traces)

    @contextmanager
    def repeated(self, kata: str, source: str) -> Iterator["Repeated"]:
        """The tests of `kata` on `source`, to be run again and again. Call it only in a forked child."""
        with self._aimed(kata, source, seed=0) as (file, outcomes):
            items = {item.name: item for item in self._items(kata, (), others=True)}
            yield Repeated(file, items, outcomes)

    @contextmanager
    def _aimed(self, kata: str, source: str, seed: int) -> Iterator[tuple[Path, list[Outcome]]]:
        """A file with `source` to which the session points, and the list that outcomes are going to be added to."""
        with _temporary_folder() as folder:
            target = Path(folder).resolve() / "katas"
            target.mkdir()
            file = target / f"{kata}.py"
            file.write_text(source, encoding="utf-8")
            outcomes = self._aim(target, seed)
            importlib.import_module("katas").__path__.append(str(self.checkout.solutions))  # after the target
            yield file, outcomes

    def _aim(self, target: Path, seed: int) -> list[Outcome]:
        """Points this process's session to the katas in `target`. Returns the list that outcomes are going to be added to."""
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        config = self.session.config
        config.option.katas, config.option.kata_seed = str(target), seed
        Target(config, self.checkout)  # sets the environment
        kata_session = config.pluginmanager.get_plugin(PLUGIN_NAME)
        assert isinstance(kata_session, KataSession)
        kata_session.target = target
        return kata_session.outcomes

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makeitem(self, name: str) -> list[pytest.Item] | None:
        """Leaves out the functions that are not wanted at the time."""
        return None if self._wanted(name) else []

    def _items(self, kata: str, first: Sequence[tuple[str, Path]], others: bool) -> Iterator[pytest.Item]:
        modules = self._modules.get(kata) or self._list_modules(kata)
        collected: dict[Path, dict[str, pytest.Item]] = {}
        alone: dict[Path, str] = {}  # the function that has been collected from a file, and no other

        def collect(file: Path, wanted: Callable[[str], bool]) -> dict[str, pytest.Item]:
            self._wanted = wanted
            items = list(self.session.genitems(modules[file])) if file in modules else []
            config = self.session.config
            config.hook.pytest_collection_modifyitems(session=self.session, config=config, items=items)
            return {item.name: item for item in items}

        def collect_rest(file: Path) -> None:
            if file not in collected:
                collected[file] = collect(file, lambda name: True)
            elif (function := alone.pop(file, "")) and collected[file]:  # otherwise the file could not be imported
                collected[file] |= collect(file, lambda name: name != function)

        for name, file in first:
            if file not in collected:
                function = alone[file] = name.partition("[")[0]
                collected[file] = collect(file, lambda name, function=function: name == function)  # type: ignore[misc]
            if name not in collected[file]:
                collect_rest(file)
            if item := collected[file].get(name):
                yield item
        if others:
            names = {name for name, _ in first}
            for file in self.checkout.test_files(kata):
                collect_rest(file)
                yield from (item for name, item in collected[file].items() if name not in names)

    def _list_modules(self, kata: str) -> dict[Path, pytest.Module]:
        hook = self.session.config.hook
        try:
            folders = self.session.perform_collect([self.checkout.tests_argument(kata)], genitems=False)
        except pytest.UsageError:  # there is no such folder
            return {}
        reports = [hook.pytest_make_collect_report(collector=folder) for folder in folders]
        return {
            node.path: node for report in reports for node in report.result or () if isinstance(node, pytest.Module)
        }


class Repeated:
    """The tests of one kata, collected once to be run again and again."""

    def __init__(self, file: Path, items: dict[str, pytest.Item], outcomes: list[Outcome]) -> None:
        self.file, self.items, self.outcomes = file, items, outcomes
        self.was_late = False  # the last test to run used more time than its limit
        signal.signal(signal.SIGPROF, self._stop)

    def run(self, test: str, cpu_limit_s: float) -> Outcome:
        """The outcome of one test. OutOfTime is raised in it at the limit, and again each second."""
        self.was_late = False
        item = self.items[test]
        with _cpu_limit({test: cpu_limit_s}, test):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        return self.outcomes[-1]

    def _stop(self, signum: int, frame: object) -> None:
        self.was_late = True
        raise OutOfTime


def with_warm_pytest(checkout: Checkout, body: Callable[[WarmPytest], None]) -> None:
    """Starts pytest, calls `body`, and ends pytest. `body` forks a child for each run."""
    host = _Host(checkout, body, sys.stdout)
    leave_out_plugins()
    before = os.getcwd()
    os.chdir(checkout.root)
    if str(checkout.root) not in sys.path:
        sys.path.insert(0, str(checkout.root))
    fixed = ["-qq", "--capture=no", "--no-history", "--no-naming", "--no-tracebacks", "--tb=no"]
    fixed += ["-pdojo.engine.plugin", f"--katas={checkout.solutions}", f"--rootdir={checkout.root}"]
    fixed += [f"-pno:{plugin}" for plugin in UNUSED_PLUGINS]
    log = io.StringIO()
    try:
        with redirect_stdout(log):
            pytest.main([str(checkout.root / "tests"), *fixed], plugins=[host])
    finally:
        os.chdir(before)
    if host.error:
        raise host.error
    if not host.called:
        raise RuntimeError(f"pytest did not start: {log.getvalue()[-2000:]}")


class _Host:
    """A pytest plugin that calls `body` instead of collecting tests."""

    def __init__(self, checkout: Checkout, body: Callable[[WarmPytest], None], stdout: Any) -> None:
        self.checkout, self.body, self.stdout = checkout, body, stdout
        self.called = False
        self.error: BaseException | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> bool:
        self.called = True
        try:
            with redirect_stdout(self.stdout):
                self.body(WarmPytest(self.checkout, session))
        except BaseException as error:  # pytest would report it as its own
            self.error = error
        return True


@contextmanager
def _temporary_folder() -> Iterator[str]:
    """A folder for this run; what tests write into temporary files is deleted with it."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="kata-") as folder:
        tempfile.tempdir = folder
        yield folder
    tempfile.tempdir = before


@contextmanager
def _cpu_limit(limits_s: dict[str, float] | None, test: str) -> Iterator[None]:
    if limits_s is None or test not in limits_s:
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, limits_s[test], 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
