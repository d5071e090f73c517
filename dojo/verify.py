"""`kata verify`: the proof that a kata's tests reject wrong answers and accept right ones.

For each kata: the stub is the rendered reference and starts no test; the reference passes at five seeds; every named
mistake is caught by the test that it names; automatic mutants die; every alternative passes; with `peers`, every
adapter over an installed library passes. Anything else is a shortfall, listed in a sentence.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dojo import trials
from dojo.catalog import Kata, load_catalog
from dojo.forks import Died, run_all, warm
from dojo.mistakes import Mistakes, load_mistakes
from dojo.mutate import mutants
from dojo.paths import Checkout
from dojo.problem import Problem
from dojo.render import render

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


Trial = tuple[Callable[[], Any], Callable[[Any], None]]  # run in a child; take its answer into the report


def verify(
    checkout: Checkout,
    names: list[str],
    *,
    jobs: int = 0,
    with_mutants: bool = True,
    with_peers: bool = False,
    only_peers: bool = False,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> list[Report]:
    """Verifies the katas called `names` (all of them if empty). Trials run `jobs` at a time (0: one a core)."""
    catalog = load_catalog(checkout)
    katas = [catalog[name] for name in names] or list(catalog.katas)
    reports: list[Report] = []
    planned: list[Trial] = []
    for kata in katas:
        report = Report(kata.name)
        reports.append(report)
        try:
            planned += _plan(checkout, kata, report, with_mutants, with_peers, only_peers)
        except Problem as problem:
            report.shortfalls.append(str(problem))
        except OSError as error:
            report.shortfalls.append(
                f"{error.filename} cannot be read ({error.strerror}); `kata new {kata.name}` shows which files a kata has"
            )
    warm()
    run = run_all([task for task, _ in planned], jobs=jobs or os.cpu_count() or 1, seconds=SECONDS)
    for done, (index, answer) in enumerate(run, 1):
        planned[index][1](answer)
        progress(f"{done} of {len(planned)} trials", done, len(planned))
    for report in reports:
        _conclude(checkout, report, with_mutants, only_peers)
    return reports


def _plan(
    checkout: Checkout, kata: Kata, report: Report, with_mutants: bool, with_peers: bool, only_peers: bool
) -> list[Trial]:
    name = kata.name
    reference = checkout.reference(name).read_text(encoding="utf-8")
    if with_peers or only_peers:
        peers = _plan_peers(checkout, name, report)
        if only_peers:
            return peers
    else:
        peers = []
    stub = checkout.stub(name).read_text(encoding="utf-8") if checkout.stub(name).is_file() else ""
    rendered = render(reference, name)
    if stub != rendered:
        report.shortfalls.append(
            f"katas/{name}.py is not what solutions/{name}.py renders to: run `kata render {name}`"
        )
    known = load_mistakes(checkout.mistakes(name))
    wrong = [mistake.apply(reference) for mistake in known.named]
    found: list[Trial] = []
    found.append((partial(trials.try_source, checkout, name, rendered, 0), partial(_take_stub, report)))
    for seed in SEEDS:
        found.append(
            (partial(trials.try_source, checkout, name, reference, seed), partial(_take_reference, report, seed))
        )
    for mistake, source in zip(known.named, wrong, strict=True):
        found.append(
            (partial(trials.try_mistake, checkout, name, mistake, source, 0), partial(_take_mistake, report, mistake))
        )
    take = partial(_take_indistinct, report, [mistake.name for mistake in known.named])
    found.append((partial(trials.indistinct, checkout, name, wrong, 0), take))
    others = [path.read_text(encoding="utf-8") for path in checkout.alternatives(name)]
    for path, source in zip(checkout.alternatives(name), others, strict=True):
        for seed in SEEDS[:2]:
            found.append(
                (
                    partial(trials.try_source, checkout, name, source, seed),
                    partial(_take_right, report, checkout.shown(path), seed),
                )
            )
    take = partial(_take_distinct, report, [checkout.shown(path) for path in checkout.alternatives(name)])
    found.append((partial(trials.indistinct, checkout, name, others, 0), take))
    report.alternatives = len(others)
    if with_mutants:
        for mutant in mutants(reference, name):
            found.append(
                (
                    partial(trials.try_mutant, checkout, name, mutant.source, 0),
                    partial(_take_mutant, report, known, mutant.change),
                )
            )
    return found + peers


def _plan_peers(checkout: Checkout, name: str, report: Report) -> list[Trial]:
    found: list[Trial] = []
    for path in checkout.peers(name):
        source = path.read_text(encoding="utf-8")
        report.peers += 1
        found.append(
            (
                partial(trials.try_source, checkout, name, source, 0),
                partial(_take_right, report, checkout.shown(path), 0),
            )
        )
    return found


def _take_stub(report: Report, answer: trials.TestTrial | Died) -> None:
    if isinstance(answer, Died):
        report.shortfalls.append(f"the stub's run {answer.why}")
        return
    report.tests = len(answer.not_started) + len(answer.passed) + len(answer.wrong)
    report.shortfalls += [
        f"{test} passes on the stub; a test must fail until its code is written" for test in answer.passed
    ]
    report.shortfalls += [f"on the stub a test should read 'not started', but {wrong}" for wrong in answer.wrong]


def _take_reference(report: Report, seed: int, answer: trials.TestTrial | Died) -> None:
    if isinstance(answer, Died):
        report.shortfalls.append(f"the reference's run at seed {seed} {answer.why}")
        return
    report.seconds = max(report.seconds, answer.seconds)
    report.shortfalls += [f"the reference fails at seed {seed}: {wrong}" for wrong in answer.wrong]


def _take_mistake(report: Report, mistake: Any, answer: trials.MistakeTrial | Died) -> None:
    report.mistakes += 1
    if isinstance(answer, Died):
        report.shortfalls.append(f"mistake {mistake.name!r}: its run {answer.why}")
        return
    report.caught += answer.caught
    report.named += answer.named
    if not answer.caught:
        report.shortfalls.append(f"mistake {mistake.name!r} is not caught by {mistake.caught_by} ({answer.first_line})")
    elif not answer.named:
        report.unnamed.append(mistake.name)


def _take_indistinct(report: Report, names: list[str], answer: list[int] | Died) -> None:
    if isinstance(answer, Died):
        report.shortfalls.append(f"the probe's run on the mistakes {answer.why}")
        return
    report.shortfalls += [f"the probe cannot tell mistake {names[i]!r} from the reference; add a case" for i in answer]


def _take_distinct(report: Report, names: list[str], answer: list[int] | Died) -> None:
    if isinstance(answer, Died):
        report.shortfalls.append(f"the probe's run on the alternatives {answer.why}")
        return
    report.shortfalls += [
        f"the probe tells {name} from the reference, so a right answer would lose marks; keep its cases clear of free conventions"
        for i, name in enumerate(names)
        if i not in answer
    ]


def _take_right(report: Report, path: str, seed: int, answer: trials.TestTrial | Died) -> None:
    problems = (
        [answer.why] if isinstance(answer, Died) else [f"fails at seed {seed}: {wrong}" for wrong in answer.wrong]
    )
    report.shortfalls += [f"{path}, a right answer, {problem}" for problem in problems]
    if problems:
        report.rejected.add(path)


def _take_mutant(report: Report, known: Mistakes, change: str, answer: trials.MutantTrial | Died) -> None:
    report.mutants += 1
    if isinstance(answer, Died) or answer.killed_by:  # a mutant that hangs or crashes is dead as well
        report.killed += 1
    else:
        report.survivors.append((change, answer.differs, known.survivors.get(change, "")))


def _conclude(checkout: Checkout, report: Report, with_mutants: bool, only_peers: bool) -> None:
    if only_peers:
        return
    if report.mistakes < MISTAKES:
        report.shortfalls.append(f"{report.mistakes} named mistakes; a kata has at least {MISTAKES}")
    if report.named < NAMED * report.mistakes:
        report.shortfalls.append(f"runs name {report.named} of {report.mistakes} mistakes; {NAMED:.0%} are asked for")
    if not with_mutants:
        return
    if report.kill_rate < KILL_RATE:
        report.shortfalls.append(
            f"{report.kill_rate:.1%} of the non-equivalent mutants die; {KILL_RATE:.0%} are asked for"
        )
    if unexplained := sum(not why for _, _, why in report.survivors):
        report.shortfalls.append(
            f"{unexplained} surviving mutants are not explained: add a test that kills them, or a [[survivor]] entry "
            f"(change, why) to solutions/mistakes/{report.kata}.toml"
        )
    changes = {change for change, _, _ in report.survivors}
    stale = [change for change in load_mistakes(checkout.mistakes(report.kata)).survivors if change not in changes]
    report.shortfalls += [f"a [[survivor]] entry explains no surviving mutant: {change}" for change in stale]
