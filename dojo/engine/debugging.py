"""The pytest plugin of `kata debug`: runs tests until one fails, and prints the page of that one in place of pytest's report."""

import shutil
import sys
from collections import Counter, deque
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import pytest
from _pytest.config import create_terminal_writer

from dojo.core.language import say, to_say
from dojo.core.outcome import harmless
from dojo.core.phrases import phrases_of
from dojo.engine.calls import Call, CallRecorder, functions_of
from dojo.engine.debug_page import DebuggedTest, Line, page
from dojo.engine.failures import purpose_of
from dojo.engine.session import PLUGIN_NAME, KataSession, outcome_of

CALLS_KEPT = 1000  # of one test
PROMPT_LINES = 2  # which the shell needs below the page
VERDICTS = {
    "passed": to_say("passed"),
    "failed": to_say("failed"),
    "error": to_say("error"),
    "not started": to_say("not started"),
    "skipped": to_say("skipped"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("katas")
    group.addoption("--debug-test", metavar="TEST", default="", help="a part of the names of the tests to look at")
    group.addoption("--every-call", action="store_true", help="show every call, however long the page becomes")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    session = config.pluginmanager.get_plugin(PLUGIN_NAME)
    if session:
        config.pluginmanager.unregister(config.pluginmanager.get_plugin("terminalreporter"))
        config.pluginmanager.register(Debugger(config, session), "dojo-debugger")


class Debugger:
    """Records the calls of each test that runs, until one fails."""

    def __init__(self, config: pytest.Config, session: KataSession) -> None:
        self.config, self.session = config, session
        self.wanted = str(config.getoption("--debug-test")).rpartition("::")[2]
        self.kata = ""  # whose tests these are
        self.found = False  # one that is wanted
        self.running: pytest.Function | None = None  # the test whose calls these are
        self.calls: deque[Call] = deque()
        self.number = 0  # of the calls, those included that are not kept
        self.record: DebuggedTest | None = None  # of the last test that ran
        width, height = shutil.get_terminal_size()
        self.width = width
        self.height = None if config.getoption("--every-call") else height - PROMPT_LINES

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self.kata = self.session.kata_of(items[0].path) if items else ""
        exact = [item for item in items if item.name == self.wanted]
        items[:] = exact or [item for item in items if self.wanted in item.name]
        self.found = bool(items)

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
        module = sys.modules.get(f"katas.{self.session.kata_of(pyfuncitem.path)}")
        if module is None or pyfuncitem is self.running:  # a test that failed may be run again, to explain it
            return (yield)
        from dojo.testing.summary import summarise

        self.running, self.calls, self.number = pyfuncitem, deque(maxlen=CALLS_KEPT), 0
        with CallRecorder(functions_of(module), self._note, partial(summarise, width=self.width)):
            return (yield)

    def _note(self, call: Call) -> None:
        if not call.depth:  # the test's own calls
            self.calls.append(call)
            self.number += 1

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if outcome := outcome_of(report):
            file = self.session.checkout.shown(self.session.target / f"{outcome.kata}.py")
            docstring = purpose_of(item, phrases_of(self.session.checkout.tests(outcome.kata)))
            calls = list(self.calls) if item is self.running else []
            before = self.number - len(calls) if calls else 0
            seed = self.config.getoption("--kata-seed")
            self.record = DebuggedTest(outcome, seed, docstring, file, calls, before)
            if outcome.verdict in ("failed", "error"):
                item.session.shouldfail = "it is to be shown"
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        writer = create_terminal_writer(self.config, sys.stdout)
        for line in self._lines():
            writer.line(harmless(line.text), **({line.style: True} if line.style else {}))

    def _lines(self) -> Iterator[Line]:
        outcomes = self.session.outcomes
        unimportable = next((outcome for outcome in outcomes if not outcome.stage and outcome.verdict == "error"), None)
        if unimportable:
            yield from (Line(text, "red") for text in unimportable.message.splitlines())
        elif self.record and (self.record.outcome.verdict in ("failed", "error") or len(outcomes) == 1):
            yield from page(self.record, self.width, self.height)
        elif outcomes:
            counts = Counter(outcome.verdict for outcome in outcomes)
            words = [say("{number} {verdict}", number=counts[each], verdict=say(VERDICTS[each])) for each in counts]
            yield Line(say("No test fails: {counts}.", counts=say(", ").join(words)))
            if counts["passed"]:
                name = outcomes[0].kata
                yield Line(say("To look at one that passes, name it alone: kata debug {name} TEST", name=name))
        elif self.kata and not self.found:
            yield Line(
                say(
                    "No test has {part!r} in its name. All names: kata test {kata} --collect-only -q",
                    part=self.wanted,
                    kata=self.kata,
                )
            )
