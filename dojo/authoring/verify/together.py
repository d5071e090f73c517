"""Tries many wrong answers in one forked child: the reference's functions get the code of one after the other.

A child for each, with its import and its collection of tests, takes ten times as long as the test that fails. A test's
refusal counts only if the same test, run right after it on the reference, passes: then nothing that earlier answers left
behind was at fault. What is not refused here, for whatever reason, has to be tried in a child of its own.
"""

import ast
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from dojo.authoring.verify import swaps
from dojo.authoring.verify.mutants import Mutant
from dojo.authoring.verify.slips import Slip
from dojo.authoring.verify.trials import MistakeTrial, MutantTrial, Trials, fails, first_line, judged_slip
from dojo.core.mistakes import Mistake
from dojo.core.outcome import Outcome
from dojo.engine.hang import OutOfTime
from dojo.engine.warm_pytest import Repeated

MANY = 40  # wrong answers for one child: its start is then a small part of the whole
CPU_S = 20.0  # after which a child leaves the rest to others, far below a trial's time limit

Wrong = tuple[Mistake, str] | tuple[Mutant] | tuple[Slip]  # the arguments of a trial


def try_together(trials: Trials, wrong: Sequence[Wrong]) -> list[MistakeTrial | MutantTrial | str | None]:
    """The results of the trials of all these; None for each that has to be tried alone."""
    source = trials.checkout.reference(trials.kata).read_text(encoding="utf-8")
    with trials.warm.repeated(trials.kata, source) as tests:
        reference = _LiveReference(trials, tests, source)
        return [reference.result(*one) for one in wrong]


class _LiveReference:
    """The reference's functions and the tests, both live."""

    def __init__(self, trials: Trials, tests: Repeated, source: str) -> None:
        self.trials, self.tests = trials, tests
        code = self._compiled(source)
        # Mutants are unparsed: of another reference than this, more than the mutation would differ.
        self.references = [code, self._compiled(ast.unparse(ast.parse(source)))]
        self.limits_s = trials.cpu_limits_s
        self.functions = swaps.LiveFunctions(code)
        self.ends = time.process_time() + CPU_S
        self.is_sound = True

    def result(self, wrong: Mistake | Mutant | Slip, source: str = "") -> MistakeTrial | MutantTrial | str | None:
        trials = self.trials
        if isinstance(wrong, Mistake):
            outcome = self._refusal(source, trials.tests_of(wrong), lambda outcome: outcome.verdict == "failed")
            return MistakeTrial(True, first_line(outcome.message)) if outcome and not self.tests.was_late else None
        if isinstance(wrong, Mutant):
            outcome = self._refusal(wrong.source, trials.tests_that_reach(wrong), fails)
            if outcome:
                trials.count_kill(wrong, outcome.test)
            return MutantTrial(outcome.test) if outcome else None
        outcome = self._refusal(wrong.source, trials.traces, fails)
        return judged_slip(wrong, outcome) if outcome and not self.tests.was_late else None

    def _refusal(self, source: str, tests: Iterable[str], stops: Callable[[Outcome], bool]) -> Outcome | None:
        """The first outcome that stops, if the same test passes on the reference."""
        if not self.is_sound or time.process_time() > self.ends:
            return None
        after = self._compiled(source)
        found = [changes for before in self.references if (changes := swaps.changes(before, after))]
        if not found:
            return None
        try:
            with self.functions.changed(min(found, key=len)):
                outcome = next((outcome for test in tests if stops(outcome := self._run(test))), None)
            was_late = self.tests.was_late
            self.is_sound = outcome is None or self._run(outcome.test).verdict == "passed"
            self.tests.was_late = was_late
        except (OutOfTime, Exception):  # one that pytest did not catch
            self.is_sound = False
        return outcome if self.is_sound else None

    def _run(self, test: str) -> Outcome:
        return self.tests.run(test, self.limits_s[test])

    def _compiled(self, source: str) -> Any:
        return compile(source, str(self.tests.file), "exec", dont_inherit=True)
