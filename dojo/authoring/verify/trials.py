"""The trials of `kata dev verify`. Each runs in a forked child and returns plain data."""

import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from dojo.authoring.verify.mutants import Mutant
from dojo.authoring.verify.slips import Slip, is_raw_error
from dojo.core.mistakes import Mistake
from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.engine.diagnosis import diagnose
from dojo.engine.known import SEED, complete_evidence
from dojo.engine.reach import LineTrace
from dojo.engine.warm_pytest import TestRun, TestTrace, WarmPytest
from dojo.testing import probes

EQUIVALENCE_SEEDS = (0, 1)
NEARBY = 50  # as many kills elsewhere weigh as much as one of a mutant of the same statement
MIN_CPU_S, CPU_FACTOR = 1.0, 20.0  # what one test may use on a mutant, beside what it used on the reference


@dataclass(frozen=True)
class RightTrial:
    """The outcomes of a complete run that should pass, or on the stub be "not started" in every test."""

    passed: tuple[str, ...]
    not_started: tuple[str, ...]
    wrong: tuple[str, ...]  # "test: message" of everything else
    seconds: float
    traces: dict[str, TestTrace] = field(default_factory=dict)
    modules: tuple[str, ...] = ()  # that the run has imported

    @property
    def failures(self) -> tuple[str, ...]:
        """The tests that do not pass, with their messages. On a right answer there are none."""
        return self.wrong + tuple(f"{test}: not started" for test in self.not_started)


@dataclass(frozen=True)
class MistakeTrial:
    """Whether the named test catches one mistake, and the first line of what it says."""

    caught: bool
    first_line: str


@dataclass(frozen=True)
class MutantTrial:
    """The test that fails on a mutant, or "". If none fails: whether the probe sees a difference."""

    killed_by: str
    differs: bool = False


@dataclass(frozen=True)
class EvidenceTrial:
    """What the probe shows of the named mistakes, and the reference's evidence at `EQUIVALENCE_SEEDS`."""

    unseen: frozenset[str]  # the mistakes whose evidence equals the reference's
    named: frozenset[str]  # the mistakes that a run on them names
    reference: dict[int, probes.Evidence]
    lines: dict[int, dict[str, frozenset[int]]]  # of the reference, that each case runs at each of these seeds


class Trials:
    """The trials of one kata, and what the first of them tell the later ones."""

    def __init__(
        self,
        warm: WarmPytest,
        checkout: Checkout,
        kata: str,
        mistakes: Sequence[Mistake],
        sample: Sequence[Mistake] | None = None,
    ) -> None:
        """`sample` are the mistakes to try; None: all of them."""
        self.warm, self.checkout, self.kata = warm, checkout, kata
        self.mistakes = mistakes if sample is None else sample
        self.traces: dict[str, TestTrace] = {}  # of each test on the reference
        self.kills = Counter(mistake.caught_by for mistake in mistakes)  # by test function
        self.kills_nearby: Counter[tuple[str, range, str]] = Counter()  # of mutants, by function, lines and test
        self.evidence: EvidenceTrial | None = None

    def try_right(self, source: str, seed: int, trace: bool = False) -> RightTrial:
        """Runs all tests. With `trace`, says which lines each of them runs."""
        before = set(sys.modules)
        run = self.warm.run(self.kata, source, seed=seed, trace=trace)
        by = {v: tuple(o.test for o in run.outcomes if o.verdict == v) for v in ("passed", "not started")}
        wrong = tuple(f"{o.test}: {first_line(o.message)}" for o in run.failures if o.verdict != "not started")
        if not run.outcomes:
            wrong = ("no test ran; CONTRIBUTING.md lists a kata's files",)
        modules = tuple(self._of_libraries(set(sys.modules) - before)) if trace else ()
        return RightTrial(
            by["passed"], by["not started"], wrong, sum(o.seconds for o in run.outcomes), run.traces, modules
        )

    def try_mistake(self, mistake: Mistake, source: str) -> MistakeTrial:
        """Runs the tests that the mistake names until one fails."""
        tests = self.tests_of(mistake)
        if not tests:
            return MistakeTrial(False, "there is no such test")
        run = self._run(source, tests, others=False, stops=lambda outcome: outcome.verdict == "failed")
        failed = [outcome for outcome in run.outcomes if outcome.verdict == "failed"]
        other = run.failures[0].message if run.failures else "it passes"
        return MistakeTrial(bool(failed), first_line(failed[0].message if failed else other))

    def try_mutant(self, mutant: Mutant) -> MutantTrial:
        """Runs the tests that can see the change until one fails, the likeliest killers first."""
        reaching = self.tests_that_reach(mutant)
        # The others do with the mutant what they do with the reference, but for what they do out of the trace's sight.
        elsewhere = [test for test, trace in self.traces.items() if trace.elsewhere and test not in set(reaching)]
        run = self._run(mutant.source, reaching + elsewhere, others=not reaching, stops=fails)
        if run.failures or not any(outcome.verdict == "passed" for outcome in run.outcomes):
            return MutantTrial(killed_by=run.failures[0].test if run.failures else "import")
        return MutantTrial("", differs=any(self._differs(mutant, seed) for seed in EQUIVALENCE_SEEDS))

    def try_slip(self, slip: Slip) -> str:
        """Runs the tests until one fails. Returns what falls short: that none fails, or says only that it met an error."""
        run = self.warm.run(self.kata, slip.source, stops=fails)
        return judged_slip(slip, run.failures[0]) if run.failures else f"every test passes where {slip.what}"

    def gather_evidence(self) -> EvidenceTrial:
        """Gathers the evidence of the reference and of every mistake, once. Of a sample, each is told from the others in it."""
        probe = probes.load_probe(self.checkout.probe(self.kata))
        with warnings.catch_warnings(action="ignore"):  # wrong answers make torch warn
            known = complete_evidence(self.checkout, self.kata, probe, self.mistakes)
        cases, wrong = probes.cases(probe, SEED), known.mistakes
        named = {m.name for m in wrong if any(d.says == m.says for d in diagnose(cases, dict(wrong[m]), known))}
        reference, lines = {}, {}
        for seed in EQUIVALENCE_SEEDS:
            reference[seed], lines[seed] = self._gather_traced(probe, seed)
        unseen = {mistake.name for mistake in wrong if not known.shown[mistake]}
        return EvidenceTrial(frozenset(unseen), frozenset(named), reference, lines)

    @property
    def cpu_limits_s(self) -> dict[str, float]:
        """What each test may use on a wrong answer."""
        return {test: MIN_CPU_S + CPU_FACTOR * trace.seconds for test, trace in self.traces.items()}

    def tests_of(self, mistake: Mistake) -> list[str]:
        """The tests that the mistake names, the cheapest first."""
        tests = (test for test in self.traces if _function(test) == mistake.caught_by)
        return sorted(tests, key=lambda test: self.traces[test].seconds)

    def tests_that_reach(self, mutant: Mutant) -> list[str]:
        """The tests that run a changed line, the likeliest killers first."""
        reaching = [test for test, trace in self.traces.items() if _runs(trace.lines | trace.at_import, mutant)]
        return sorted(reaching, key=lambda test: self._kills_a_second(test, mutant), reverse=True)

    def count_kill(self, mutant: Mutant, test: str) -> None:
        self.kills[_function(test)] += 1
        self.kills_nearby[mutant.function, mutant.lines, test] += 1

    def _run(self, source: str, tests: list[str], **options: object) -> TestRun:
        first = [(test, self.traces[test].file) for test in tests]
        return self.warm.run(self.kata, source, first=first, cpu_limits_s=self.cpu_limits_s, **options)  # type: ignore[arg-type]

    def _kills_a_second(self, test: str, mutant: Mutant) -> float:
        nearby = self.kills_nearby[mutant.function, mutant.lines, test]
        return (self.kills[_function(test)] + NEARBY * nearby + 0.2) / (self.traces[test].seconds + 0.002)

    def _differs(self, mutant: Mutant, seed: int) -> bool:
        """Whether a case that runs a changed line gives other evidence than the reference; no other case can."""
        if self.evidence is None:  # its trial died, which is a shortfall of its own
            return True
        right, lines = self.evidence.reference[seed], self.evidence.lines[seed]
        probe = probes.load_probe(self.checkout.probe(self.kata))
        with warnings.catch_warnings(action="ignore"):
            kata = self._load(mutant.source)
            return any(
                not probes.same(probes.gather_case(probe, kata, case, seed), right[case.name])
                for case in probes.cases(probe, seed)
                if _runs(lines[case.name], mutant)
            )

    def _gather_traced(self, probe: probes.Probe, seed: int) -> tuple[probes.Evidence, dict[str, frozenset[int]]]:
        """The reference's evidence, and the lines that each case runs, those that the import runs among them."""
        file = self._file_name()
        evidence, lines = {}, {}
        with warnings.catch_warnings(action="ignore"):
            with LineTrace(file) as at_import:
                kata = self._load(self.checkout.reference(self.kata).read_text(encoding="utf-8"))
            for case in probes.cases(probe, seed):
                with LineTrace(file) as trace:
                    evidence[case.name] = probes.gather_case(probe, kata, case, seed)
                lines[case.name] = frozenset(trace.lines | at_import.lines)
        return evidence, lines

    def _load(self, source: str) -> ModuleType:
        return probes.load_module(f"trial_{self.kata}", source, self._file_name())

    def _file_name(self) -> str:
        return f"<{self.kata}>"

    def _of_libraries(self, modules: Iterable[str]) -> Iterable[str]:
        """Those of `modules` that lie outside the checkout and its katas, in an order in which they can be imported."""
        for name in sorted(modules):
            file = getattr(sys.modules[name], "__file__", None)
            if file and "site-packages" in Path(file).parts and name.split(".")[0] in Path(file).parts:
                yield name


def fails(outcome: Outcome) -> bool:
    """Whether a test refuses an answer."""
    return outcome.verdict not in ("passed", "skipped")


def judged_slip(slip: Slip, first: Outcome) -> str:
    """What falls short where `first` is the first test to fail: nothing, or that it says only that it met an error."""
    if not is_raw_error(first.message):
        return ""
    return f"where {slip.what}, {first.test} stops with an error of its own: {first_line(first.message)}"


def _runs(lines: frozenset[int], mutant: Mutant) -> bool:
    """Whether what runs these lines of the reference can see the change."""
    return not mutant.lines or not lines.isdisjoint(mutant.lines)


def _function(test: str) -> str:
    return test.partition("[")[0]


def first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
