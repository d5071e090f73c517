"""Verifies katas: a proof of each kata in forked trials, and what falls short of it in sentences.

- No test passes on the stub, which is rendered from the reference and not read from katas/.
- The reference passes at five seeds.
- Every named mistake is caught by the test that its entry names, and nearly all are named in the run.
- Nearly all automatic mutants die, and the survivors are explained.
- Every alternative passes the tests and gives the reference's evidence.
- The probe can grade (dojo.authoring.verify.probe_checks).
- With `peers`, only this: every adapter over an installed library passes.

With `sample`, only so many mistakes and mutants of each kata are tried, and half as many alternatives: the same ones
until the reference changes.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple, TypeVar

from dojo.authoring.verify import probe_checks, trials
from dojo.authoring.verify.mutants import mutants
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.mistakes import Mistake, Mistakes, load_mistakes
from dojo.core.paths import Checkout
from dojo.core.stubs import render
from dojo.engine.pool import TaskDied, require_fork, run_forked
from dojo.engine.preload import preload

SEEDS = (0, 1, 2, 3, 4)
MIN_KILL_RATE = 0.95
MIN_MISTAKES = 12
MIN_NAMED_RATE = 0.9
TRIAL_TIMEOUT_S = 60.0  # also what a mutant that loops for ever costs


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
    mutants: int = 0
    killed: int = 0
    survivors: list[Survivor] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    alternatives: int = 0
    rejected: set[str] = field(default_factory=set)  # alternatives and adapters that fail a test
    peers: int = 0
    shortfalls: list[str] = field(default_factory=list)

    @property
    def kill_rate(self) -> float | None:
        """The share of mutants that die, among those that the probe can tell from the reference; None if there are none."""
        distinct = self.killed + sum(survivor.differs for survivor in self.survivors)
        return self.killed / distinct if distinct else None


T = TypeVar("T")
Trial = tuple[Callable[[], Any], Callable[[Any], None]]  # what to run in a child, and what adds its result to a report


def verify(
    checkout: Checkout,
    names: list[str],
    *,
    jobs: int | None = None,
    with_mutants: bool = True,
    sample: int | None = None,
    peers: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    trial_timeout_s: float = TRIAL_TIMEOUT_S,
) -> list[ProofReport]:
    """Verifies the katas called `names`, or all of them if empty. Runs `jobs` trials at a time (None: one a core).

    `sample` limits the mistakes and mutants of each kata, `peers` restricts the proof to adapters over installed
    libraries. Calls `progress(done, total)` after each trial.
    """
    catalog = load_catalog(checkout)
    katas = [catalog[name] for name in names] or [k for k in catalog.katas if not peers or checkout.peers(k.name)]
    reports = [ProofReport(kata.name) for kata in katas]
    readable = list(reports)  # a kata whose files cannot be read gets one shortfall and no others
    planned: list[Trial] = []
    for report in reports:
        try:
            planned += _plan_peers(checkout, report) if peers else _plan(checkout, report, with_mutants, sample)
        except UserError as error:
            readable.remove(report)
            report.shortfalls.append(str(error))
        except OSError as error:
            readable.remove(report)
            report.shortfalls.append(
                f"{error.filename} cannot be read ({error.strerror}); CONTRIBUTING.md lists a kata's files"
            )
    require_fork()
    preload()
    with tempfile.TemporaryDirectory(prefix="kata-verify-") as scratch:
        before, tempfile.tempdir = tempfile.tempdir, scratch  # so that files of killed children are deleted as well
        try:
            tasks = [task for task, _ in planned]
            results = run_forked(tasks, jobs=jobs or os.cpu_count() or 1, seconds=trial_timeout_s)
            for done, (index, result) in enumerate(results, 1):
                _, add_to_report = planned[index]
                add_to_report(result)
                progress(done, len(planned))
        finally:
            tempfile.tempdir = before
    if not peers:
        for report in readable:
            _conclude(checkout, report, with_mutants, complete=sample is None)
    return reports


def _plan(checkout: Checkout, report: ProofReport, with_mutants: bool, sample: int | None) -> list[Trial]:
    name = report.kata
    reference = checkout.reference(name).read_text(encoding="utf-8")
    stub = render(reference, name)
    mistakes = load_mistakes(checkout.mistakes(name))
    wrong_sources = [mistake.apply(reference) for mistake in mistakes.named]
    half = None if sample is None else max(1, sample // 2)
    paths = _draw(checkout.alternatives(name), half, reference, key=lambda path: path.stem)
    alternatives = {checkout.shown(path): path.read_text(encoding="utf-8") for path in paths}
    report.alternatives = len(alternatives)

    def trial(run: Callable[..., Any], *inputs: Any, add: Callable[..., None], about: tuple[Any, ...] = ()) -> Trial:
        return partial(run, checkout, name, *inputs), partial(add, report, *about)

    # This one first: it fills the evidence cache, which each mistake's run would otherwise compute again.
    planned = [trial(trials.unseen_mistakes, 0, add=_add_unseen, about=([m.name for m in mistakes.named],))]
    planned.append(trial(trials.try_source, stub, 0, add=_add_stub))
    seeds = SEEDS if sample is None else SEEDS[-1:]  # the plain suite runs seed 0
    planned += [trial(trials.try_source, reference, seed, add=_add_reference, about=(seed,)) for seed in seeds]
    pairs = zip(mistakes.named, wrong_sources, strict=True)
    for mistake, source in _draw(pairs, sample, reference, key=lambda pair: pair[0].name):
        planned.append(trial(trials.try_mistake, mistake, source, 0, add=_add_mistake, about=(mistake,)))
    for seed, (shown, source) in zip(cycle(SEEDS), alternatives.items(), strict=False):
        planned.append(trial(trials.try_source, source, seed, add=_add_right, about=(shown, seed)))
    seed_pairs = list(zip(probe_checks.SEEDS[::2], probe_checks.SEEDS[1::2], strict=True))
    for seed_pair in seed_pairs if sample is None else seed_pairs[-1:]:
        planned.append(trial(probe_checks.faults, alternatives, seed_pair, add=_add_probe_faults))
    all_mutants = mutants(reference, name) if with_mutants else []
    for mutant in _draw(all_mutants, sample, reference, key=lambda mutant: mutant.change):
        planned.append(trial(trials.try_mutant, mutant.source, 0, add=_add_mutant, about=(mistakes, mutant.change)))
    return planned


def _draw(items: Iterable[T], sample: int | None, reference: str, key: Callable[[T], str]) -> list[T]:
    """Returns `sample` of the items, or all if None. The choice depends on their keys and the reference's text only."""
    if sample is None:
        return list(items)
    return sorted(items, key=lambda item: hashlib.sha256((key(item) + reference).encode()).digest())[:sample]


def _plan_peers(checkout: Checkout, report: ProofReport) -> list[Trial]:
    paths = checkout.peers(report.kata)
    report.peers = len(paths)
    return [
        (
            partial(trials.try_source, checkout, report.kata, path.read_text(encoding="utf-8"), 0),
            partial(_add_right, report, checkout.shown(path), 0),
        )
        for path in paths
    ]


def _add_stub(report: ProofReport, result: trials.TestTrial | TaskDied) -> None:
    if isinstance(result, TaskDied):
        report.shortfalls.append(f"the stub's run {result.why}")
        return
    report.tests = len(result.not_started) + len(result.passed) + len(result.wrong)
    report.shortfalls += [
        f"{test} passes on the stub; a test must fail until its code is written" for test in result.passed
    ]
    report.shortfalls += [f"on the stub a test should read 'not started', but {wrong}" for wrong in result.wrong]


def _add_reference(report: ProofReport, seed: int, result: trials.TestTrial | TaskDied) -> None:
    if isinstance(result, TaskDied):
        report.shortfalls.append(f"the reference's run at seed {seed} {result.why}")
        return
    report.seconds = max(report.seconds, result.seconds)
    report.shortfalls += [f"the reference fails at seed {seed}: {wrong}" for wrong in result.failures]


def _add_mistake(report: ProofReport, mistake: Mistake, result: trials.MistakeTrial | TaskDied) -> None:
    report.mistakes += 1
    if isinstance(result, TaskDied):
        report.shortfalls.append(f"mistake {mistake.name!r}: its run {result.why}")
        return
    report.caught += result.caught
    report.named += result.named
    if not result.caught:
        report.shortfalls.append(f"mistake {mistake.name!r} is not caught by {mistake.caught_by} ({result.first_line})")
    elif not result.named:
        report.unnamed.append(mistake.name)


def _add_unseen(report: ProofReport, names: list[str], result: list[int] | TaskDied) -> None:
    if isinstance(result, TaskDied):
        report.shortfalls.append(f"the probe's run on the mistakes {result.why}")
        return
    report.shortfalls += [f"the probe cannot tell mistake {names[i]!r} from the reference; add a case" for i in result]


def _add_probe_faults(report: ProofReport, result: list[str] | TaskDied) -> None:
    faults = [f"the probe's run on the alternatives {result.why}"] if isinstance(result, TaskDied) else result
    report.shortfalls += [fault for fault in faults if fault not in report.shortfalls]


def _add_right(report: ProofReport, path: str, seed: int, result: trials.TestTrial | TaskDied) -> None:
    faults = (
        [result.why]
        if isinstance(result, TaskDied)
        else [f"fails at seed {seed}: {wrong}" for wrong in result.failures]
    )
    report.shortfalls += [f"{path}, a right answer, {fault}" for fault in faults]
    if faults:
        report.rejected.add(path)


def _add_mutant(report: ProofReport, mistakes: Mistakes, change: str, result: trials.MutantTrial | TaskDied) -> None:
    report.mutants += 1
    if isinstance(result, TaskDied) or result.killed_by:  # a mutant that hangs or crashes is dead as well
        report.killed += 1
    else:
        report.survivors.append(Survivor(change, result.differs, mistakes.survivors.get(change, "")))


def _conclude(checkout: Checkout, report: ProofReport, with_mutants: bool, *, complete: bool) -> None:
    """Adds the shortfalls that only all trials together show. A sample is not `complete` and says nothing of rates."""
    mistakes = load_mistakes(checkout.mistakes(report.kata))
    if len(mistakes.named) < MIN_MISTAKES:
        report.shortfalls.append(f"{len(mistakes.named)} named mistakes; a kata has at least {MIN_MISTAKES}")
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
