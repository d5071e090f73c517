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
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from typing import Any, NamedTuple, TypeVar

from dojo.authoring.verify import kept, probe_checks
from dojo.authoring.verify import report as results
from dojo.authoring.verify.mutants import mutants
from dojo.authoring.verify.report import ProofReport
from dojo.authoring.verify.slips import slips
from dojo.authoring.verify.together import MANY, Wrong, try_together
from dojo.authoring.verify.trials import Trials
from dojo.core.catalog import load_catalog
from dojo.core.cores import slowdown, usable_cores
from dojo.core.errors import UserError
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.core.stubs import render, require_solutions
from dojo.engine.pool import TaskDied, require_fork, run_forked
from dojo.engine.preload import collapse, freeze, preload
from dojo.engine.warm_pytest import WarmPytest, with_warm_pytest
from dojo.engine.warm_up import warm_up

SEEDS = (0, 1, 2, 3, 4)
TRIAL_TIMEOUT_S = 60.0
GROUP = 8  # katas that are proved together


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
    again: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
    trial_timeout_s: float = TRIAL_TIMEOUT_S,
) -> list[ProofReport]:
    """Verifies the katas called `names`, or all of them if empty. Runs `jobs` trials at a time (None: one a core).

    `sample` limits the mistakes and mutants of each kata, `peers` restricts the proof to adapters over installed
    libraries. What has not changed since this machine proved it is not proved `again`. Calls `progress(done, total)`
    after each trial.
    """
    require_solutions(checkout)
    catalog = load_catalog(checkout)
    katas = [catalog.find(name) for name in names] or [k for k in catalog.katas if not peers or checkout.peers(k.name)]
    settings = f"sample of {sample}, mutants: {with_mutants}, at least: {results.MIN_MISTAKES} {results.MIN_ALTERNATIVES} {SEEDS}"
    keys = {} if peers else {kata.name: kept.key(checkout, kata.name, settings) for kata in katas}
    reports = [(not again and kept.read(checkout, keys.get(k.name, ""))) or ProofReport(k.name) for k in katas]
    fresh = [report for report in reports if not report.proved_on]

    def prove(warm: WarmPytest) -> None:
        planned = [_planned(warm, checkout, report, with_mutants, sample, peers) for report in fresh]
        freeze()
        collapse()
        total = sum(len(plan.first) + len(list(_parts(plan.wrong))) + len(plan.survivors) for plan in planned)
        done = 0
        # A group after the other: what is proved is kept, also if the rest is interrupted.
        for begin in range(0, len(planned), GROUP):
            group = planned[begin : begin + GROUP]
            first = [trial for plan in group for trial in plan.first]
            alone = [trial for plan in group for trial in plan.survivors]
            known = len(alone)
            together = [_together(plan, many, alone) for plan in group for many in _parts(plan.wrong)]
            # What the first trials tell (which test reaches which line) orders the tests of the later ones.
            for trials in (first, together, alone):
                total += len(trials) - known if trials is alone else 0
                for index, result in run_forked(
                    [task for task, _ in trials], jobs=jobs or usable_cores(), seconds=trial_timeout_s * slowdown()
                ):
                    trials[index][1](result)
                    done += 1
                    progress(done, total)
            for report in fresh[begin : begin + GROUP]:
                conclude(report)

    def conclude(report: ProofReport) -> None:
        if not peers and report.readable:
            results.conclude(checkout, report, with_mutants, complete=sample is None)
        if not report.shortfalls and report.kata in keys:
            kept.write(checkout, keys[report.kata], report)

    if fresh:
        require_fork()
        preload()
        warm_up()  # here, so that no child has to
        with _scratch_folder():
            with_warm_pytest(checkout, prove)
    return reports


@contextmanager
def _scratch_folder() -> Iterator[None]:
    """Until the end, temporary files, also those of killed children, and compiled tests are in a folder that is then deleted."""
    before = tempfile.tempdir, sys.pycache_prefix, sys.dont_write_bytecode
    with tempfile.TemporaryDirectory(prefix="kata-verify-") as scratch:
        tempfile.tempdir, sys.pycache_prefix, sys.dont_write_bytecode = scratch, f"{scratch}/compiled", False
        try:
            yield
        finally:
            tempfile.tempdir, sys.pycache_prefix, sys.dont_write_bytecode = before


class _WrongTrial(NamedTuple):
    answer: Wrong  # to be tried with others in one child
    alone: Trial  # in a child of its own, if that leaves it open


class _Plan(NamedTuple):
    trials: Trials
    first: list[Trial]
    wrong: list[_WrongTrial]
    survivors: list[Trial]  # of mutants that are said to pass every test


def _planned(
    warm: WarmPytest, checkout: Checkout, report: ProofReport, with_mutants: bool, sample: int | None, peers: bool
) -> _Plan:
    """The trials of one kata; none, and a shortfall, if its files cannot be read."""
    try:
        if peers:
            return _plan_peers(warm, checkout, report)
        return _plan(warm, checkout, report, with_mutants, sample)
    except UserError as error:
        report.shortfalls.append(str(error))
    except OSError as error:
        report.shortfalls.append(
            f"{error.filename} cannot be read ({error.strerror}); CONTRIBUTING.md lists a kata's files"
        )
    report.readable = False  # one fault is one shortfall
    return _Plan(Trials(warm, checkout, report.kata, []), [], [], [])


def _plan(warm: WarmPytest, checkout: Checkout, report: ProofReport, with_mutants: bool, sample: int | None) -> _Plan:
    name = report.kata
    reference = checkout.reference(name).read_text(encoding="utf-8")
    stub = render(reference, name)
    mistakes = load_mistakes(checkout.mistakes(name))
    wrong_sources = [mistake.apply(reference) for mistake in mistakes.named]
    half = None if sample is None else max(1, sample // 2)
    paths = _draw(checkout.alternatives(name), half, reference, key=lambda path: path.stem)
    alternatives = {checkout.shown(path): path.read_text(encoding="utf-8") for path in paths}
    report.alternatives = len(alternatives)
    pairs = _draw(zip(mistakes.named, wrong_sources, strict=True), sample, reference, key=lambda pair: pair[0].name)
    trials = Trials(warm, checkout, name, mistakes.named, None if sample is None else [drawn for drawn, _ in pairs])
    warm.prepare(name)

    def trial(run: Callable[..., Any], *inputs: Any, add: Callable[..., None], about: tuple[Any, ...] = ()) -> Trial:
        return partial(run, *inputs), partial(add, report, *about)

    seeds = SEEDS if sample is None else SEEDS[-1:]  # the plain suite runs seed 0
    first = [
        trial(trials.try_right, reference, seed, seed == seeds[0], add=results.add_reference, about=(trials, seed))
        for seed in seeds
    ]
    first.append(trial(trials.gather_evidence, add=results.add_evidence, about=(trials,)))
    first.append(trial(trials.try_right, stub, 0, add=results.add_stub))
    for seed, (shown, source) in zip(cycle(SEEDS), alternatives.items(), strict=False):
        first.append(trial(trials.try_right, source, seed, add=results.add_right, about=(shown, seed)))
    seed_pairs = list(zip(probe_checks.SEEDS[::2], probe_checks.SEEDS[1::2], strict=True))
    for seed_pair in seed_pairs if sample is None else seed_pairs[-1:]:
        first.append(trial(probe_checks.faults, checkout, name, alternatives, seed_pair, add=results.add_probe_faults))
    wrong, survivors = [], []
    for mistake, source in pairs:
        alone = trial(trials.try_mistake, mistake, source, add=results.add_mistake, about=(trials, mistake))
        wrong.append(_WrongTrial((mistake, source), alone))
    for slip in _draw(slips(reference, name), sample, reference, key=lambda slip: slip.what):
        wrong.append(_WrongTrial((slip,), trial(trials.try_slip, slip, add=results.add_slip, about=(slip,))))
    all_mutants = mutants(reference, name) if with_mutants else []
    for mutant in _draw(all_mutants, sample, reference, key=lambda mutant: mutant.change):
        alone = trial(trials.try_mutant, mutant, add=results.add_mutant, about=(trials, mistakes, mutant))
        if mutant.change in mistakes.survivors:
            survivors.append(alone)
        else:
            wrong.append(_WrongTrial((mutant,), alone))
    return _Plan(trials, first, wrong, survivors)


def _parts(wrong: list[_WrongTrial]) -> Iterator[list[_WrongTrial]]:
    for begin in range(0, len(wrong), MANY):
        yield wrong[begin : begin + MANY]


def _together(plan: _Plan, wrong: list[_WrongTrial], alone: list[Trial]) -> Trial:
    """The trial of many wrong answers in one child; those that it leaves open are added to `alone`."""

    def add(found: list[Any] | TaskDied) -> None:
        for one, result in zip(wrong, [None] * len(wrong) if isinstance(found, TaskDied) else found, strict=True):
            if result is None:
                alone.append(one.alone)
            else:
                one.alone[1](result)

    return partial(try_together, plan.trials, [one.answer for one in wrong]), add


def _draw(items: Iterable[T], sample: int | None, reference: str, key: Callable[[T], str]) -> list[T]:
    """Returns `sample` of the items, or all if None. The choice depends on their keys and the reference's text only."""
    if sample is None:
        return list(items)
    return sorted(items, key=lambda item: hashlib.sha256((key(item) + reference).encode()).digest())[:sample]


def _plan_peers(warm: WarmPytest, checkout: Checkout, report: ProofReport) -> _Plan:
    paths = checkout.peers(report.kata)
    report.peers = len(paths)
    trials = Trials(warm, checkout, report.kata, [])
    adapters: list[Trial] = [
        (
            partial(trials.try_right, path.read_text(encoding="utf-8"), 0),
            partial(results.add_right, report, checkout.shown(path), 0),
        )
        for path in paths
    ]
    return _Plan(trials, adapters, [], [])
