"""Finds the named mistakes that some code behaves like.

The evidence that the kata's probe gathers from the code is compared with the evidence of each named mistake.
"""

import importlib
import io
import math
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import NamedTuple

from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.outcome import Diagnosis, Outcome, text_of
from dojo.core.paths import Checkout
from dojo.engine.hang import OutOfTime, time_limit
from dojo.engine.known import SEED, CaseEvidence, KnownEvidence, known_evidence
from dojo.testing import probes
from dojo.testing.probes import Case, Evidence, Raised

MAX_DIAGNOSES = 4
MIN_CASES, MIN_SHARE = 3, 0.5  # of a mistake's cases: in so many must code agree with it to be partly like it
PLACE = re.compile(r"0x[0-9a-fA-F]+| \((line \d+|after [\w.]+)\)$")  # addresses in memory, and see `probes.note_of`


class Naming(NamedTuple):
    """What the comparison with the named mistakes has given."""

    diagnoses: tuple[Diagnosis, ...] = ()
    error: str = ""  # why it failed
    in_time: bool = True


def diagnose_kata(
    checkout: Checkout,
    kata: str,
    outcomes: Sequence[Outcome] = (),
    *,
    limit_s: float | None = None,
    begins: Callable[[int], object] = lambda mistakes: None,
) -> Naming:
    """Compares the imported `katas.<kata>`, whose tests gave `outcomes`, with the named mistakes.

    `begins` is called with their number first. After `limit_s` seconds of computing no further mistake is looked at.
    """
    path = checkout.probe(kata)
    if not path.is_file():
        return Naming()
    deadline = math.inf if limit_s is None else time.process_time() + limit_s

    def in_time() -> bool:
        return time.process_time() < deadline

    try:
        begins(len(load_mistakes(checkout.mistakes(kata)).named))
        with (
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            warnings.catch_warnings(action="ignore"),
        ):
            with time_limit(limit_s):  # the learner's code may never end
                probe = probes.load_probe(path)
                evidence = probes.gather(probe, importlib.import_module(f"katas.{kata}"), SEED)
                known = known_evidence(checkout, kata, probe)
            diagnoses = diagnose(probes.cases(probe, SEED), evidence, known, outcomes, in_time)
            return Naming(tuple(diagnoses), in_time=in_time())
    except OutOfTime:
        return Naming(in_time=False)
    except BaseException as error:  # a diagnosis is an extra: without it the run is still valid
        return Naming(error=f"{type(error).__name__}: {text_of(error)}")


def diagnose(
    cases: Iterable[Case],
    evidence: Evidence,
    known: KnownEvidence,
    outcomes: Sequence[Outcome] = (),
    in_time: Callable[[], bool] = lambda: True,
) -> list[Diagnosis]:
    """The named mistakes that explain `evidence`, that of a wrong answer whose tests gave `outcomes`.

    Of the mistakes that fit (see `_explained`) those that explain most wrong cases are chosen, one for each case. A
    mistake is due if the test that catches it is of the first stage in which a test fails: that is where the learner
    is. It is told if it is due and no result of the function that holds it, or of functions before that one which
    mistakes share with it, is wrong for another reason, which could be the only one. An error that is not raised is no
    result: it waits until all wrong results are told, or its test is the first that fails. If no chosen mistake is
    due, one that explains every wrong result is told all the same. If none does, the one mistake that the code is
    partly like (see `_partly_alike`).

    When it is no longer `in_time`, the mistakes that were not looked at do not count.
    """
    functions = {case.name: case.of for case in cases}
    written = {name for name in functions if not probes.not_started(evidence[name])}
    wrong = {
        name
        for name in written
        if evidence[name] is not known.reference[name] and not probes.same(evidence[name], known.reference[name])
    }
    passed = _passed(outcomes)
    fits: dict[Mistake, set[str]] = {}
    # The likeliest first, and of these the cheapest.
    for mistake in sorted(known.shown, key=lambda m: (len(wrong - known.shown[m]), len(known.shown[m]))):
        if not in_time():
            break
        if mistake.caught_by not in passed:
            fits[mistake] = _explained(evidence, known, mistake, functions, written, wrong)
    fits = {mistake: fits[mistake] for mistake in known.shown if mistake in fits}  # of equals, the file's first is told
    left, chosen = set(wrong), []
    while best := max((m for m in fits if fits[m] & left), key=lambda m: len(fits[m] & left), default=None):
        chosen.append(best)
        left -= fits[best]
    results = {name for name in wrong if not _complaint(known.reference[name])}  # not an error that is missing
    order = list(functions)
    in_order = list(dict.fromkeys(functions.values()))  # what comes first does not use what comes later
    related = [{functions[name] for name in shown} for shown in known.shown.values()]

    def own(mistake: Mistake) -> set[str]:
        return {functions[name] for name in fits[mistake]}

    def unexplained(mistake: Mistake) -> set[str]:
        near = own(mistake).union(*(group for group in related if group & own(mistake)))
        holder = min(map(in_order.index, own(mistake)), default=0)
        return near & {functions[name] for name in results & left} & set(in_order[: holder + 1])

    due = [mistake for mistake in chosen if not unexplained(mistake) and _is_due(mistake, outcomes)]
    told_results = results & set().union(*(fits[mistake] for mistake in due))
    first = "" if told_results == results else _first_failure(outcomes)
    due = [mistake for mistake in due if fits[mistake] & results or first in ("", mistake.caught_by)]
    told = due or [mistake for mistake in chosen if results and results <= fits[mistake]]
    if not told:
        candidates = [m for m in fits if unexplained(m) <= own(m) and _is_due(m, outcomes)]
        return _partly_alike(evidence, known, candidates, results, in_time)
    whole = {mistake for mistake in told if (results or wrong) <= fits[mistake]}
    told.sort(key=lambda mistake: (mistake not in whole, min(map(order.index, fits[mistake]))))
    return [Diagnosis(mistake.name, mistake.says, mistake in whole) for mistake in told[:MAX_DIAGNOSES]]


def _explained(
    evidence: Evidence,
    known: KnownEvidence,
    mistake: Mistake,
    functions: Mapping[str, str],
    written: set[str],
    wrong: set[str],
) -> set[str]:
    """The cases in which the code behaves like `mistake`; none if it does not fit.

    The function that the mistake shows in first is the one that holds it, so there the code has to be written, and
    like it in every case. In those that use it the code may be wrong in yet another way, but not right.
    """
    # Asking for a mistake's evidence may run a case, so what the code gets right excludes mistakes before that.
    if not known.shown[mistake].isdisjoint(written - wrong):
        return set()
    theirs = known.mistakes[mistake]
    shown = [name for name in functions if name in known.shown[mistake]]
    first = [name for name in shown if functions[name] == functions[shown[0]]]
    if not wrong.issuperset(first):
        return set()
    if not all(_alike(evidence[name], theirs[name]) for name in first):
        return set()
    # Exceptions alone are weak evidence: they count if the code raises them in no other case.
    if all(_complaint(theirs[name]) for name in shown):
        elsewhere = {_complaint(evidence[name]) for name in written - set(shown)}
        if any(_complaint(theirs[name]) in elsewhere for name in shown):
            return set()
    return {name for name in shown if name in first or (name in written and _alike(evidence[name], theirs[name]))}


def _partly_alike(
    evidence: Evidence,
    known: KnownEvidence,
    candidates: Iterable[Mistake],
    wrong: set[str],
    in_time: Callable[[], bool],
) -> list[Diagnosis]:
    """The candidate that the code agrees with in most of its `wrong` results; none if it is not clear which.

    Of two mistakes that meet in one function neither has its evidence in every case of it, and somebody else's way to write
    a mistake may differ from the named one in some. So half of a mistake's cases are enough, if the code is wrong in all.
    """
    alike: dict[Mistake, int] = {}  # in how many cases
    for mistake in candidates:
        theirs = known.mistakes[mistake]
        shown = {name for name in known.shown[mistake] if not _complaint(known.reference[name])}
        enough = max(MIN_CASES, MIN_SHARE * len(shown))
        if not in_time() or not shown <= wrong:
            continue
        left, agreeing = len(shown), 0
        for name in sorted(shown):  # asking for a mistake's evidence may run the case
            if agreeing + left < enough:
                break
            left -= 1
            agreeing += _alike(evidence[name], theirs[name]) and not _complaint(theirs[name])
        if agreeing >= enough:
            alike[mistake] = agreeing
    best = [mistake for mistake in alike if alike[mistake] == max(alike.values())]
    if len({mistake.says for mistake in best}) != 1:
        return []
    return [Diagnosis(best[0].name, best[0].says, False)]


def _alike(evidence: CaseEvidence, theirs: CaseEvidence) -> bool:
    """Whether two pieces of evidence agree; exceptions only if their messages do."""
    return probes.same(evidence, theirs) and _complaint(evidence) == _complaint(theirs)


def _complaint(evidence: CaseEvidence) -> tuple[str, str] | None:
    """The class and the message of the exception that is the evidence, without its place; None for a value."""
    raised = evidence.get("raised")
    return (raised.name, PLACE.sub("", raised.note)) if isinstance(raised, Raised) else None


def _is_due(mistake: Mistake, outcomes: Sequence[Outcome]) -> bool:
    """Whether the test that catches `mistake` is of the first stage in which a test fails."""
    failing = [o.stage for o in outcomes if o.verdict == "failed"]
    return not failing or min(failing) in {o.stage for o in outcomes if _function(o.test) == mistake.caught_by}


def _first_failure(outcomes: Sequence[Outcome]) -> str:
    """The test function that fails first, which is what the learner sees; empty if none does."""
    failing = [outcome for outcome in outcomes if outcome.verdict == "failed"]
    return _function(min(failing, key=lambda outcome: outcome.stage).test) if failing else ""


def _passed(outcomes: Sequence[Outcome]) -> set[str]:
    """The test functions that ran and passed, with every parameter."""
    return {_function(o.test) for o in outcomes} - {_function(o.test) for o in outcomes if o.verdict != "passed"}


def _function(test: str) -> str:
    return test.partition("[")[0]
