"""The pytest plugin: one Outcome per test, and failures that summary.

A test that meets the stub's NotImplementedError reads "not started". A wrong answer's sentence stands above a short
traceback without torch's frames. At the end the run says which named mistake the learner's code behaves like, and
what to do next. Outcomes of the learner's own katas go into the history.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from _pytest._code.code import ExceptionChainRepr, ReprEntry, TerminalRepr

from dojo.core.errors import UserError
from dojo.core.outcome import Outcome, is_unwritten
from dojo.core.paths import Checkout

KEY = "kata_outcome"


def pytest_addoption(parser):
    group = parser.getgroup("katas")
    group.addoption("--outcomes", metavar="FILE", help="also write the outcomes to FILE, one JSON object a line")
    group.addoption("--no-naming", action="store_true", help="do not look for the named mistake behind a failure")
    group.addoption("--no-tracebacks", action="store_true", help="only each failure's sentence; much quicker")
    group.addoption("--no-history", action="store_true", help="do not record this run in .dojo/history.sqlite")


def pytest_configure(config):
    config.pluginmanager.register(Dojo(config), "dojo-session")


class Dojo:
    """What one pytest session knows: the target, and the outcomes so far."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.checkout = Checkout(config.rootpath)
        self.outcomes: list[Outcome] = []
        self.for_history: list[Outcome] = []  # without the speed tests, which no one must pass
        self.expected: Counter[str] = Counter()
        self.partial: set[str] = set()
        self.named: dict[str, list[tuple[str, str]]] = {}  # per kata: name and sentence of the mistakes found
        self.worker = hasattr(config, "workerinput")
        self.file = Path(file).resolve() if (file := config.getoption("--outcomes")) else None
        if self.file and not self.worker:
            try:
                self.file.write_text("")  # a run that dies leaves no older verdict behind
            except OSError as error:
                raise pytest.UsageError(f"--outcomes: {file} cannot be written ({error.strerror})") from error

    @property
    def target(self) -> Path:
        return Path(os.environ["KATAS_DIR"])

    def kata_of(self, path: Path) -> str:
        """The kata that a test file specifies; empty for any other file."""
        name = path.stem.removeprefix("test_").removesuffix("_speed")
        path = self.config.rootpath / path
        return name if path.is_relative_to(self.checkout.root / "tests") and path.stem.startswith("test_") else ""

    def specifies(self, path: Path) -> bool:
        """Whether a test file belongs to what a kata must pass, rather than to tests/speed/."""
        return (self.config.rootpath / path).parent == self.checkout.root / "tests"

    # -- collection

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Generator[None, Any, Any]:
        kata = self.kata_of(collector.path) if isinstance(collector, pytest.Module) else ""
        try:
            report = yield
            error = report.call.excinfo.value if report.failed else None
            if isinstance(error, pytest.Collector.CollectError):
                error = error.__cause__ or error
        except SystemExit as exit:  # pytest would end the whole run for it
            if not kata:
                raise
            error = exit
            said = f"importing {collector.name} raised SystemExit: {exit}"
            report = pytest.CollectReport(collector.nodeid, "failed", said, [])
        if kata and report.failed:
            sentence = self._import_problem(kata, error)
            if sentence:
                report.longrepr = sentence
            self._add(Outcome(collector.name, kata, 0, "error", sentence or str(report.longrepr)))
        return report

    def _import_problem(self, kata: str, error: BaseException | None) -> str:
        """Why the learner's file does not import, in a sentence; empty when the fault lies elsewhere."""
        file = self.target / f"{kata}.py"
        shown = self.checkout.shown(file)
        if not file.is_file():
            return f"{shown} does not exist. Get the stub back with: kata reset {kata}"
        if isinstance(error, SyntaxError) and Path(error.filename or file).parent == self.target:
            shown = self.checkout.shown(Path(error.filename or file))
            text = (error.text or "").rstrip()
            caret = " " * ((error.offset or 1) - 1) + "^"
            return f"{shown}, line {error.lineno or 1}: {error.msg}\n    {text}\n    {caret}\nMend that line and save; nothing was run."
        if missing := re.match(rf"cannot import name '(\w+)' from 'katas\.{kata}'", str(error)):
            return (
                f"{shown} has no `{missing[1]}`, which its tests import. Keep the names of the stub (kata show {kata})."
            )
        number = _last_line_in(error, file) if error else None
        return f"{shown}, line {number}: importing it raised {type(error).__name__}: {error}" if number else ""

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.partial |= {self.kata_of(item.path) for item in items if self.specifies(item.path)}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.partial |= {self.kata_of(Path(arg.split("::")[0])) for arg in self.config.args if "::" in arg}
        if self.config.getoption("lf", False):  # leaves tests out without a word to the hook above
            self.partial |= {self.kata_of(item.path) for item in session.items}
        self.expected = Counter(
            kata
            for item in session.items
            if self.specifies(item.path) and (kata := self.kata_of(item.path)) not in self.partial
        )

    # -- running

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        if self.config.getoption("--no-tracebacks"):  # reading sources and parsing them is most of a failing run's time
            vars(item)["repr_failure"] = vars(item)["_repr_failure_py"] = _sentence_only

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo) -> Generator[None, Any, Any]:
        report = yield
        kata = self.kata_of(item.path)
        if not kata or (call.when != "call" and report.passed):
            return report
        error = call.excinfo.value if call.excinfo else None
        mark = item.get_closest_marker("stage")
        stage = int(mark.args[0]) if mark else 0
        message = ""
        if report.passed:
            verdict = "passed"
        elif report.skipped:
            verdict = "skipped"
            message = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        elif is_unwritten(error, self.target):
            verdict, message = "not started", str(error)
            report.longrepr = message
        else:
            verdict = "failed" if call.when == "call" else "error"
            sentence = self._sentence(item, kata, error)
            message = sentence or f"{type(error).__name__}: {error}"
            report.longrepr = _taught(report.longrepr, error, sentence)
        outcome = Outcome(item.name, kata, stage, verdict, message, round(call.duration, 4))  # type: ignore[arg-type]
        setattr(report, KEY, outcome.as_dict())
        return report

    def _sentence(self, item: pytest.Item, kata: str, error: BaseException | None) -> str:
        """What stands above the traceback; empty when the fault lies outside the learner's file."""
        from dojo.testing import Wrong

        if isinstance(error, Wrong):
            return str(error)
        file = self.target / f"{kata}.py"
        line = _last_line_in(error, file) if error else None
        if line is None:
            return ""
        why = " ".join((getattr(getattr(item, "obj", None), "__doc__", None) or "").split())
        sentence = f"{self.checkout.shown(file)}, line {line}, raised {type(error).__name__}: {error}"
        return f"{sentence}\nwhy it is tested: {why}" if why else sentence

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if data := getattr(report, KEY, None):
            self._add(Outcome(**data), self.specifies(Path(report.nodeid.split("::")[0])))

    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        data = getattr(report, KEY, None)
        if data and data["verdict"] == "not started":
            return "not started", "·", ("not started", {"yellow": True})
        return None

    def _add(self, outcome: Outcome, specified: bool = True) -> None:
        self.outcomes.append(outcome)
        if specified:
            self.for_history.append(outcome)

    # -- the end

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.worker:
            return
        if self.file:
            self.file.write_text("".join(json.dumps(o.as_dict()) + "\n" for o in self.outcomes), encoding="utf-8")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: Any, exitstatus: int) -> Generator[None, Any, Any]:
        yield  # pytest's own lists come first: what is said here should be the last thing on the screen
        if not self.worker and self.outcomes:
            self._summarise(terminalreporter, exitstatus)

    def _summarise(self, terminalreporter: Any, exitstatus: int) -> None:
        from dojo.engine import summary

        summary.summarise(terminalreporter, self, interrupted=exitstatus == pytest.ExitCode.INTERRUPTED)
        if self.target == self.checkout.katas and not self.config.getoption("--no-history"):
            from dojo.progress.runs import record_run

            try:
                record_run(self.checkout, self.for_history, self.expected, named=self.named)
            except UserError as problem:
                terminalreporter.write_line(str(problem), yellow=True)


class Taught(TerminalRepr):
    """The learner's sentence, then the traceback that led to it."""

    def __init__(self, sentence: str, traceback: Any) -> None:
        self.sentence = sentence
        self.traceback = traceback

    def toterminal(self, tw: Any) -> None:
        for line in self.sentence.splitlines():
            tw.line(line, red=not line.startswith(("hint:", "why")), bold=True)
        tw.line("")
        self.traceback.toterminal(tw)


def _sentence_only(excinfo: pytest.ExceptionInfo, style: str | None = None) -> str:
    return excinfo.exconly()


def _taught(longrepr: Any, error: BaseException | None, sentence: str) -> Any:
    """`longrepr` without the frames of torch and of the checks; under `sentence`, which then need not be repeated."""
    from dojo.testing import Wrong

    if not isinstance(longrepr, ExceptionChainRepr):
        return longrepr
    if isinstance(error, Wrong):  # what it was raised from adds nothing
        longrepr.chain = longrepr.chain[-1:]
    for traceback, _, _ in longrepr.chain:
        entries = traceback.reprentries
        kept = [entry for entry in entries if not _is_machinery(entry)] or entries
        said = [line for line in getattr(entries[-1], "lines", ()) if line.startswith("E")]
        traceback.reprentries = kept
        last = kept[-1]
        if isinstance(last, ReprEntry):
            code = [line for line in last.lines if not line.startswith("E")]
            last.lines = code if sentence else [*code, *said]
    return Taught(sentence, longrepr) if sentence else longrepr


def _is_machinery(entry: Any) -> bool:
    path = str(getattr(getattr(entry, "reprfileloc", None), "path", ""))
    return "site-packages" in path or path.endswith(
        ("dojo/testing/checks.py", "dojo/testing/sampling.py", "contextlib.py")
    )


def _last_line_in(error: BaseException, file: Path) -> int | None:
    line, trace = None, error.__traceback__
    while trace:
        if Path(trace.tb_frame.f_code.co_filename) == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
