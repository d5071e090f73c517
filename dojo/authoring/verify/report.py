"""What a proof has shown of one kata: figures, survivors, and what falls short of the proof in sentences."""

import importlib
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NamedTuple

from dojo.authoring.verify.mutants import Mutant
from dojo.authoring.verify.slips import Slip
from dojo.authoring.verify.trials import EvidenceTrial, MistakeTrial, MutantTrial, RightTrial, Trials
from dojo.core.mistakes import Mistake, Mistakes, load_mistakes
from dojo.core.paths import Checkout
from dojo.engine.pool import TaskDied
from dojo.engine.preload import freeze

MIN_KILL_RATE = 0.95
MIN_MISTAKES = 12
MIN_NAMED_RATE = 0.9
MIN_ALTERNATIVES = 5


class Survivor(NamedTuple):
    """A mutant that passes every test."""

    change: str
    differs: bool  # whether its evidence differs from the reference's
    why: str  # the explanation in its [[survivor]] entry, or ""


@dataclass
class ProofReport:
    """The result of verifying one kata. It is a proof if there is no shortfall."""

    kata: str
    tests: int = 0
    seconds: float = 0.0
    mistakes: int = 0
    caught: int = 0
    named: int = 0
    slips: int = 0
    mutants: int = 0
    killed: int = 0
    survivors: list[Survivor] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    alternatives: int = 0
    rejected: set[str] = field(default_factory=set)  # alternatives and adapters that fail a test
    peers: int = 0
    shortfalls: list[str] = field(default_factory=list)
    readable: bool = True
    proved_on: str = ""  # the day of the proof, if it was not made in this run

    @property
    def kill_rate(self) -> float | None:
        """The share of mutants that die, among those that the probe can tell from the reference; None if there are none."""
        distinct = self.killed + sum(survivor.differs for survivor in self.survivors)
        return self.killed / distinct if distinct else None


def add_stub(report: ProofReport, result: RightTrial | TaskDied) -> None:
    if isinstance(result, TaskDied):
        report.shortfalls.append(f"the stub's run {result.why}")
        return
    report.tests = len(result.not_started) + len(result.passed) + len(result.wrong)
    report.shortfalls += [
        f"{test} passes on the stub; a test must fail until its code is written" for test in result.passed
    ]
    report.shortfalls += [f"on the stub a test should read 'not started', but {wrong}" for wrong in result.wrong]


def add_reference(report: ProofReport, trials: Trials, seed: int, result: RightTrial | TaskDied) -> None:
    if isinstance(result, TaskDied):
        report.shortfalls.append(f"the reference's run at seed {seed} {result.why}")
        return
    if result.traces:
        trials.traces = result.traces
        for module in result.modules:  # so that the later children need not import it
            with suppress(Exception):
                importlib.import_module(module)
        freeze()
    else:
        report.seconds = max(report.seconds, result.seconds)
    report.shortfalls += [f"the reference fails at seed {seed}: {wrong}" for wrong in result.failures]


def add_evidence(report: ProofReport, trials: Trials, result: EvidenceTrial | TaskDied) -> None:
    if isinstance(result, TaskDied):
        report.shortfalls.append(f"the probe's run on the mistakes {result.why}")
        return
    trials.evidence = result
    report.shortfalls += [
        f"the probe cannot tell mistake {name!r} from the reference; add a case" for name in sorted(result.unseen)
    ]


def add_mistake(report: ProofReport, trials: Trials, mistake: Mistake, result: MistakeTrial | TaskDied) -> None:
    report.mistakes += 1
    if isinstance(result, TaskDied):
        report.shortfalls.append(f"mistake {mistake.name!r}: its run {result.why}")
        return
    report.caught += result.caught
    if not result.caught:
        report.shortfalls.append(f"mistake {mistake.name!r} is not caught by {mistake.caught_by} ({result.first_line})")
    elif trials.evidence and mistake.name in trials.evidence.named:
        report.named += 1
    else:
        report.unnamed.append(mistake.name)


def add_slip(report: ProofReport, slip: Slip, result: str | TaskDied) -> None:
    report.slips += 1
    if fault := f"where {slip.what}, the run {result.why}" if isinstance(result, TaskDied) else result:
        report.shortfalls.append(fault)


def add_probe_faults(report: ProofReport, result: list[str] | TaskDied) -> None:
    faults = [f"the probe's run on the alternatives {result.why}"] if isinstance(result, TaskDied) else result
    report.shortfalls += [fault for fault in faults if fault not in report.shortfalls]


def add_right(report: ProofReport, path: str, seed: int, result: RightTrial | TaskDied) -> None:
    faults = (
        [result.why]
        if isinstance(result, TaskDied)
        else [f"fails at seed {seed}: {wrong}" for wrong in result.failures]
    )
    report.shortfalls += [f"{path}, a right answer, {fault}" for fault in faults]
    if faults:
        report.rejected.add(path)


def add_mutant(
    report: ProofReport, trials: Trials, mistakes: Mistakes, mutant: Mutant, result: MutantTrial | TaskDied
) -> None:
    report.mutants += 1
    if isinstance(result, TaskDied):  # a mutant that hangs or crashes is dead as well
        report.killed += 1
    elif result.killed_by:
        report.killed += 1
        trials.count_kill(mutant, result.killed_by)
    else:
        why = mistakes.survivors.get(mutant.change, "")
        report.survivors.append(Survivor(mutant.change, result.differs, why))


def conclude(checkout: Checkout, report: ProofReport, with_mutants: bool, *, complete: bool) -> None:
    """Adds the shortfalls that only all trials together show. A sample is not `complete` and says nothing of rates."""
    mistakes = load_mistakes(checkout.mistakes(report.kata))
    if len(mistakes.named) < MIN_MISTAKES:
        report.shortfalls.append(f"{len(mistakes.named)} named mistakes; a kata has at least {MIN_MISTAKES}")
    if complete and report.alternatives < MIN_ALTERNATIVES:
        report.shortfalls.append(f"{report.alternatives} alternatives; a kata has at least {MIN_ALTERNATIVES}")
    if complete and report.named < MIN_NAMED_RATE * report.mistakes:
        report.shortfalls.append(
            f"runs name {report.named} of {report.mistakes} mistakes; {MIN_NAMED_RATE:.0%} are asked for"
        )
    if not with_mutants:
        return
    if complete and report.kill_rate is not None and report.kill_rate < MIN_KILL_RATE:
        report.shortfalls.append(
            f"{report.kill_rate:.1%} of the non-equivalent mutants die; {MIN_KILL_RATE:.0%} are asked for"
        )
    if unexplained := sum(not survivor.why for survivor in report.survivors):
        report.shortfalls.append(
            f"{unexplained} surviving mutants are not explained: add a test that kills them, or a [[survivor]] entry "
            f"(change, why) to tests/{report.kata}/mistakes.toml"
        )
    changes = {survivor.change for survivor in report.survivors}
    stale = [change for change in mistakes.survivors if change not in changes] if complete else []
    report.shortfalls += [f"a [[survivor]] entry explains no surviving mutant: {change}" for change in stale]
