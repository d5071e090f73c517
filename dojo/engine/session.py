"""The outcomes of one pytest session: collected test by test, at the end diagnosed, recorded and summarised."""

import json
import sys
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from _pytest.terminal import TerminalReporter

from dojo.core.errors import UserError
from dojo.core.files import digest
from dojo.core.language import say
from dojo.core.outcome import Diagnosis, Outcome, is_unwritten, shortened, text_of
from dojo.core.paths import Checkout
from dojo.engine import failures, summary
from dojo.engine.hang import StillRunning
from dojo.engine.selection import STAGE_FILE, stage_of

PLUGIN_NAME = "dojo-session"
REPORT_ATTRIBUTE = "kata_outcome"  # where a test's report carries its outcome, as a dict that xdist can send


class KataSession:
    """The plugin that makes one Outcome of each test, and shows failures so that they teach.

    A test that meets the stub's NotImplementedError reads "not started". A wrong answer's sentence stands above a short
    traceback. Outcomes of the learner's own katas go into the history, with the named mistakes that explain them.
    """

    def __init__(self, config: pytest.Config, checkout: Checkout, target: Path) -> None:
        self.config, self.checkout, self.target = config, checkout, target
        self._katas: dict[Path, str] = {}  # of test files
        self.outcomes: list[Outcome] = []
        self.specified: list[Outcome] = []  # without the speed tests, which need not pass
        self.expected: Counter[str] = Counter()  # kata -> its tests, for each kata whose tests are all to run
        self.partial: set[str] = set()  # the katas of which only some tests run
        self.unimportable: set[str] = set()  # the katas whose file raises an exception when it is imported
        self.diagnoses: dict[str, tuple[Diagnosis, ...]] = {}
        self.diagnosis_errors: dict[str, str] = {}
        self.unnamed: list[str] = []  # the katas whose failures found no name in time
        self.history_error = ""
        self.may_run_again = True  # no debugger was entered, and no test hung
        self.finished = False  # diagnosed and recorded
        self.is_worker = hasattr(config, "workerinput")  # of pytest-xdist
        of_the_learner = target == checkout.answers.resolve() and not self.is_worker
        self.is_recorded = of_the_learner and not config.getoption("--no-history")
        self.began = time.time()
        self.sources = {file.stem: digest(file) for file in target.glob("*.py")} if self.is_recorded else {}
        self.outcomes_file = Path(file).resolve() if (file := config.getoption("--outcomes")) else None
        if self.outcomes_file and not self.is_worker:
            try:
                self.outcomes_file.write_text("")  # a run that dies leaves no older verdict behind
            except OSError as error:
                sentence = say("--outcomes: {file} cannot be written ({error})", file=file, error=error.strerror)
                raise pytest.UsageError(sentence) from error

    def kata_of(self, path: Path) -> str:
        """The kata that a test file in tests/KATA/ is about; empty for any other file."""
        if path not in self._katas:  # asked several times for each test
            folder = (self.checkout.root / path).parent
            self._katas[path] = folder.name if folder.parent == self.checkout.root / "tests" else ""
        return self._katas[path]

    def is_specification(self, path: Path) -> bool:
        """Whether a kata must pass this test file; test_speed.py it need not."""
        return bool(self.kata_of(path)) and STAGE_FILE.fullmatch(path.name) is not None

    # -- collection

    @pytest.hookimpl(specname="pytest_make_collect_report", tryfirst=True)
    def pytest_collect_unimportable(self, collector: pytest.Collector) -> pytest.CollectReport | None:
        """A kata that does not import is reported with its first test file; the others would say the same again."""
        if isinstance(collector, pytest.Module) and self.kata_of(collector.path) in self.unimportable:
            return pytest.CollectReport(collector.nodeid, "passed", None, [])
        return None

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
            message = f"importing {collector.name} raised SystemExit: {text_of(exit)}"
            report = pytest.CollectReport(collector.nodeid, "failed", message, [])
        if kata and report.failed:
            printed = report.capstdout
            failures.shorten_captured(report)
            sentence = shortened(failures.explain_import_error(self.checkout, self.target / f"{kata}.py", error))
            if sentence:
                report.longrepr = sentence
                self.unimportable.add(kata)
            else:
                report.longrepr = shortened(str(report.longrepr))
            self._add(Outcome(collector.name, kata, 0, "error", str(report.longrepr), printed=printed))
        return report

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        self.partial |= {self.kata_of(item.path) for item in items if self.is_specification(item.path)}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.partial |= {self.kata_of(Path(arg.split("::")[0])) for arg in self.config.args if "::" in arg}
        if self.config.getoption("lf", False):  # leaves tests out without calling the hook above
            self.partial |= {self.kata_of(item.path) for item in session.items}
        specified = [item for item in session.items if self.is_specification(item.path)]
        files = {item.path for item in specified}
        counts = Counter(self.kata_of(item.path) for item in specified)
        self.partial |= {kata for kata in counts if not files.issuperset(self.checkout.test_files(kata))}
        self.expected = Counter({kata: count for kata, count in counts.items() if kata not in self.partial})
        if self.is_worker:  # only workers collect, and all of them the same
            self.config.workeroutput["expected"] = dict(self.expected)  # type: ignore[attr-defined]  # by pytest-xdist

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """One of pytest-xdist's workers has ended; one that died has sent nothing."""
        self.expected = Counter(getattr(node, "workeroutput", {}).get("expected", self.expected))

    # -- running

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        if self.config.getoption("--no-tracebacks"):
            failures.leave_out_traceback(item)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        kata = self.kata_of(item.path)
        if not kata or (call.when != "call" and report.passed):
            return report
        error = call.excinfo.value if call.excinfo else None
        self.may_run_again &= not isinstance(error, StillRunning)
        message = ""
        if report.passed:
            verdict = "passed"
        elif report.skipped:
            verdict = "skipped"
            message = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
        elif is_unwritten(error, self.target):
            verdict, message = "not started", text_of(error)
            report.longrepr = message
        else:
            verdict = "failed" if call.when == "call" else "error"
            file = self.target / f"{kata}.py"
            sentence = failures.explain_failure(self.checkout, file, item, error, may_run_again=self.may_run_again)
            message = sentence or f"{type(error).__name__}: {text_of(error)}"
            report.longrepr = failures.shorten_traceback(report.longrepr, error, sentence)
        printed, seconds = report.capstdout, round(call.duration, 4)
        failures.shorten_captured(report)
        outcome = Outcome(item.name, kata, stage_of(item), verdict, message, seconds, printed)  # type: ignore[arg-type]
        setattr(report, REPORT_ATTRIBUTE, outcome.as_dict())
        report.is_specification = self.is_specification(item.path)  # type: ignore[attr-defined]
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if outcome := outcome_of(report):
            self._add(outcome, report.is_specification)

    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        outcome = outcome_of(report)
        if outcome and outcome.verdict == "not started":
            return "not started", "·", ("not started", {"yellow": True})
        return None

    def _add(self, outcome: Outcome, specified: bool = True) -> None:
        self.outcomes.append(outcome)
        if specified:
            self.specified.append(outcome)

    def pytest_enter_pdb(self) -> None:
        self.may_run_again = False

    # -- the end

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, exitstatus: int) -> Generator[None, Any, Any]:
        if self.outcomes_file and not self.is_worker:
            lines = (json.dumps(outcome.as_dict()) + "\n" for outcome in self.outcomes)
            self.outcomes_file.write_text("".join(lines), encoding="utf-8")
        yield  # pytest prints its summary, unless --no-summary is given
        self._finish(exitstatus)

    def _finish(self, exitstatus: int) -> None:
        """Diagnoses and records the run, once."""
        if self.finished or self.is_worker or exitstatus == pytest.ExitCode.INTERNAL_ERROR:
            return
        self.finished = True
        # After Ctrl-C a diagnosis would call the very function that may have made the learner give up waiting; after a
        # debugger, one that may wait for keys at the next breakpoint().
        interrupted = exitstatus == pytest.ExitCode.INTERRUPTED
        if self.may_run_again and not interrupted and not self.config.getoption("--no-naming"):
            self._diagnose()
        if self.outcomes and self.is_recorded:
            self._record()

    def _diagnose(self) -> None:
        """Looks for the mistakes behind the failures of each kata, of all together for no longer than --naming-limit."""
        deadline = time.process_time() + self.config.getoption("--naming-limit")
        for kata in dict.fromkeys(o.kata for o in self.outcomes if o.verdict == "failed"):
            from dojo.engine.diagnosis import diagnose_kata  # brings torch

            outcomes = [outcome for outcome in self.specified if outcome.kata == kata]
            with summary.Awaited(self.config.pluginmanager.get_plugin("terminalreporter")) as awaited:
                limit_s = deadline - time.process_time()
                naming = diagnose_kata(self.checkout, kata, outcomes, limit_s=limit_s, begins=awaited.show)
            self.diagnoses[kata], self.diagnosis_errors[kata] = naming.diagnoses, naming.error
            self.unnamed += [] if naming.in_time or naming.diagnoses else [kata]

    def _record(self) -> None:
        from dojo.progress.database import tell_of_damage
        from dojo.progress.runs import record_run

        try:
            record_run(
                self.checkout,
                self.specified,
                self.expected,
                sources={**self.sources, **getattr(sys.modules.get("katas"), "digests", {})},  # what was imported
                began=self.began,
                diagnoses=self.diagnoses,
            )
            self.history_error = tell_of_damage()
        except UserError as error:
            self.history_error = str(error)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: TerminalReporter, exitstatus: int) -> Generator[None, Any, Any]:
        yield  # pytest's own lists come first, so that this is the last thing on the screen
        if exitstatus in (pytest.ExitCode.NO_TESTS_COLLECTED, pytest.ExitCode.USAGE_ERROR) and not self.is_worker:
            summary.write_where_tests_are(terminalreporter, self.config.args, self.checkout)
        if self.is_worker or not self.outcomes:
            return
        if terminalreporter.verbosity > -2:
            summary.write_not_started(terminalreporter, self.outcomes, self.checkout, self.target)
        summary.write_stages(terminalreporter, self.outcomes)
        terminalreporter.flush()
        self._finish(exitstatus)  # only now: the diagnosis runs the learner's code, which may hang or end the process
        summary.write_diagnoses(terminalreporter, self.diagnoses, self.diagnosis_errors)
        summary.write_handed_out(terminalreporter, self.outcomes, self.checkout)
        if self.target == self.checkout.answers.resolve():
            summary.write_where_inputs_are(terminalreporter, self.outcomes)
        summary.write_unnamed(terminalreporter, self.unnamed, self.config.getoption("--naming-limit"))
        if self.history_error:
            terminalreporter.write_line(self.history_error, yellow=True)


def outcome_of(report: Any) -> Outcome | None:
    """The outcome that a test's report carries, if it is one of a kata's test."""
    data = getattr(report, REPORT_ATTRIBUTE, None)
    return Outcome(**data) if data else None
