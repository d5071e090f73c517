"""`kata verify`: the proof that a kata's tests reject wrong answers and accept right ones.

For each kata: no test passes on the stub (as rendered: what a learner has in katas/ is theirs); the reference passes at five seeds; every named
mistake is caught by the test that it names; automatic mutants die; every alternative passes, the grader's probe among
the judges; with `peers`, every
adapter over an installed library passes. Anything else is a shortfall, listed in a sentence. A `sample` tries only so
many mistakes and mutants of each kata, and half as many alternatives: the same ones until the reference changes.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from typing import Any, TypeVar

from dojo.authoring.verify import probe_checks, trials
from dojo.authoring.verify.mutants import mutants
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.mistakes import Mistakes, load_mistakes
from dojo.core.paths import Checkout
from dojo.core.stubs import render
from dojo.engine.pool import TaskDied, require_fork, run_forked
from dojo.engine.preload import preload

SEEDS = (0, 1, 2, 3, 4)
KILL_RATE = 0.95
MISTAKES = 12
NAMED = 0.9
SECONDS = 60.0  # for one trial; a mutant that loops for ever costs no more


@dataclass
class Report:
    """What was found about one kata."""

    kata: str
    tests: int = 0
    seconds: float = 0.0
    mistakes: int = 0
    caught: int = 0
    named: int = 0
    mutants: int = 0
    killed: int = 0
    survivors: list[tuple[str, bool, str]] = field(default_factory=list)  # change, seen by the probe, why
    unnamed: list[str] = field(default_factory=list)
    alternatives: int = 0
    rejected: set[str] = field(default_factory=set)  # alternatives and adapters that fail a test
    peers: int = 0
    shortfalls: list[str] = field(default_factory=list)

    @property
    def kill_rate(self) -> float:
        """Killed among the mutants that are not equivalent as far as the probe can see."""
        judged = self.killed + sum(seen for _, seen, _ in self.survivors)
        return self.killed / judged if judged else 0.0


T = TypeVar("T")
Trial = tuple[Callable[[], Any], Callable[[Any], None]]  # run in a child; take its answer into the report


def verify(
    checkout: Checkout,
    names: list[str],
    *,
    jobs: int = 0,
    with_mutants: bool = True,
    sample: int | None = None,
    peers: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Report]:
    """Verifies the katas called `names` (all of them if empty), with `jobs` trials at a time (0: one a core).

    `sample` tries that many mistakes and mutants of each kata, `peers` only the adapters over installed libraries. `progress` is told how many trials are done, of how many.
    """
    catalog = load_catalog(checkout)
    katas = [catalog[name] for name in names] or [k for k in catalog.katas if not peers or checkout.peers(k.name)]
    reports = [Report(kata.name) for kata in katas]
    whole = list(reports)  # without those whose files cannot even be read: one sentence says it all
    planned: list[Trial] = []
    for report in reports:
        try:
            planned += _plan_peers(checkout, report) if peers else _plan(checkout, report, with_mutants, sample)
        except UserError as problem:
            whole.remove(report)
            report.shortfalls.append(str(problem))
        except OSError as error:
            whole.remove(report)
            report.shortfalls.append(
                f"{error.filename} cannot be read ({error.strerror}); CONTRIBUTING.md lists a kata's files"
            )
    require_fork()
    preload()
    with tempfile.TemporaryDirectory(prefix="kata-verify-") as scratch:
        before, tempfile.tempdir = tempfile.tempdir, scratch  # what killed children leave behind goes with it
        try:
            run = run_forked([task for task, _ in planned], jobs=jobs or os.cpu_count() or 1, seconds=SECONDS)
            for done, (index, answer) in enumerate(run, 1):
                planned[index][1](answer)
                progress(done, len(planned))
        finally:
            tempfile.tempdir = before
    if not peers:
        for report in whole:
            _conclude(checkout, report, with_mutants, whole_proof=sample is None)
    return reports


def _plan(checkout: Checkout, report: Report, with_mutants: bool, sample: int | None) -> list[Trial]:
    name = report.kata
    reference = checkout.reference(name).read_text(encoding="utf-8")
    rendered = render(reference, name)
    known = load_mistakes(checkout.mistakes(name))
    wrong = [mistake.apply(reference) for mistake in known.named]
    few = None if sample is None else max(1, sample // 2)
    chosen_others = _draw(checkout.alternatives(name), few, reference, key=lambda path: path.stem)
    others = {checkout.shown(path): path.read_text(encoding="utf-8") for path in chosen_others}
    report.alternatives = len(others)

    def trial(run: Callable[..., Any], *inputs: Any, take: Callable[..., None], about: tuple = ()) -> Trial:
        return partial(run, checkout, name, *inputs), partial(take, report, *about)

    # First what the runs of the mistakes need to name them: otherwise each would gather it for itself.
    found = [trial(trials.unseen_mistakes, 0, take=_take_indistinct, about=([m.name for m in known.named],))]
    found.append(trial(trials.try_source, rendered, 0, take=_take_stub))
    seeds = SEEDS if sample is None else SEEDS[-1:]  # the plain suite runs seed 0
    found += [trial(trials.try_source, reference, seed, take=_take_reference, about=(seed,)) for seed in seeds]
    chosen = _draw(zip(known.named, wrong, strict=True), sample, reference, key=lambda pair: pair[0].name)
    for mistake, source in chosen:
        found.append(trial(trials.try_mistake, mistake, source, 0, take=_take_mistake, about=(mistake,)))
    for seed, (path, source) in zip(cycle(SEEDS), others.items(), strict=False):
        found.append(trial(trials.try_source, source, seed, take=_take_right, about=(path, seed)))
    pairs = list(zip(probe_checks.SEEDS[::2], probe_checks.SEEDS[1::2], strict=True))
    for pair in pairs if sample is None else pairs[-1:]:
        found.append(trial(probe_checks.faults, others, pair, take=_take_gradable))
    changed = mutants(reference, name) if with_mutants else []
    for mutant in _draw(changed, sample, reference, key=lambda mutant: mutant.change):
        found.append(trial(trials.try_mutant, mutant.source, 0, take=_take_mutant, about=(known, mutant.change)))
    return found


def _draw(items: Iterable[T], sample: int | None, reference: str, key: Callable[[T], str]) -> list[T]:
    """`sample` of the items, all if None: in an order that only the reference's text decides."""
    found = list(items)
    if sample is None:
        return found
    return sorted(found, key=lambda item: hashlib.sha256((key(item) + reference).encode()).digest())[:sample]


def _plan_peers(checkout: Checkout, report: Report) -> list[Trial]:
    paths = checkout.peers(report.kata)
    report.peers = len(paths)
    return [
        (
            partial(trials.try_source, checkout, report.kata, path.read_text(encoding="utf-8"), 0),
            partial(_take_right, report, checkout.shown(path), 0),
        )
        for path in paths
    ]


def _take_stub(report: Report, answer: trials.TestTrial | TaskDied) -> None:
    if isinstance(answer, TaskDied):
        report.shortfalls.append(f"the stub's run {answer.why}")
        return
    report.tests = len(answer.not_started) + len(answer.passed) + len(answer.wrong)
    report.shortfalls += [
        f"{test} passes on the stub; a test must fail until its code is written" for test in answer.passed
    ]
    report.shortfalls += [f"on the stub a test should read 'not started', but {wrong}" for wrong in answer.wrong]


def _take_reference(report: Report, seed: int, answer: trials.TestTrial | TaskDied) -> None:
    if isinstance(answer, TaskDied):
        report.shortfalls.append(f"the reference's run at seed {seed} {answer.why}")
        return
    report.seconds = max(report.seconds, answer.seconds)
    report.shortfalls += [f"the reference fails at seed {seed}: {wrong}" for wrong in answer.failures]


def _take_mistake(report: Report, mistake: Any, answer: trials.MistakeTrial | TaskDied) -> None:
    report.mistakes += 1
    if isinstance(answer, TaskDied):
        report.shortfalls.append(f"mistake {mistake.name!r}: its run {answer.why}")
        return
    report.caught += answer.caught
    report.named += answer.named
    if not answer.caught:
        report.shortfalls.append(f"mistake {mistake.name!r} is not caught by {mistake.caught_by} ({answer.first_line})")
    elif not answer.named:
        report.unnamed.append(mistake.name)


def _take_indistinct(report: Report, names: list[str], answer: list[int] | TaskDied) -> None:
    if isinstance(answer, TaskDied):
        report.shortfalls.append(f"the probe's run on the mistakes {answer.why}")
        return
    report.shortfalls += [f"the probe cannot tell mistake {names[i]!r} from the reference; add a case" for i in answer]


def _take_gradable(report: Report, answer: list[str] | TaskDied) -> None:
    found = [f"the probe's run on the alternatives {answer.why}"] if isinstance(answer, TaskDied) else answer
    report.shortfalls += [fault for fault in found if fault not in report.shortfalls]


def _take_right(report: Report, path: str, seed: int, answer: trials.TestTrial | TaskDied) -> None:
    problems = (
        [answer.why]
        if isinstance(answer, TaskDied)
        else [f"fails at seed {seed}: {wrong}" for wrong in answer.failures]
    )
    report.shortfalls += [f"{path}, a right answer, {problem}" for problem in problems]
    if problems:
        report.rejected.add(path)


def _take_mutant(report: Report, known: Mistakes, change: str, answer: trials.MutantTrial | TaskDied) -> None:
    report.mutants += 1
    if isinstance(answer, TaskDied) or answer.killed_by:  # a mutant that hangs or crashes is dead as well
        report.killed += 1
    else:
        report.survivors.append((change, answer.differs, known.survivors.get(change, "")))


def _conclude(checkout: Checkout, report: Report, with_mutants: bool, whole_proof: bool) -> None:
    known = load_mistakes(checkout.mistakes(report.kata))
    if len(known.named) < MISTAKES:
        report.shortfalls.append(f"{len(known.named)} named mistakes; a kata has at least {MISTAKES}")
    if whole_proof and report.named < NAMED * report.mistakes:
        report.shortfalls.append(f"runs name {report.named} of {report.mistakes} mistakes; {NAMED:.0%} are asked for")
    if not with_mutants:
        return
    if whole_proof and report.kill_rate < KILL_RATE:
        report.shortfalls.append(
            f"{report.kill_rate:.1%} of the non-equivalent mutants die; {KILL_RATE:.0%} are asked for"
        )
    if unexplained := sum(not why for _, _, why in report.survivors):
        report.shortfalls.append(
            f"{unexplained} surviving mutants are not explained: add a test that kills them, or a [[survivor]] entry "
            f"(change, why) to solutions/mistakes/{report.kata}.toml"
        )
    changes = {change for change, _, _ in report.survivors}
    stale = [change for change in known.survivors if change not in changes] if whole_proof else []
    report.shortfalls += [f"a [[survivor]] entry explains no surviving mutant: {change}" for change in stale]
