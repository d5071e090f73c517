"""Turns a submission's evidence into points. Runs in the grader's own process, which never imports a submission."""

import time
from dataclasses import dataclass, field
from typing import Any

from dojo.grading.results import CaseResult, KataResult, KataStatus
from dojo.grading.sandbox.sandbox import Sandbox
from dojo.grading.sandbox.session import Ended
from dojo.grading.scoring import feedback
from dojo.grading.scoring.answer_key import POINTS_PER_KATA, AnswerKey
from dojo.testing import probes
from dojo.testing.codec import Opaque
from dojo.testing.probes import Case, Counts, Draws, Pairs

# A crash fails its case, and the submission is started again, at most this often.
MAX_RESTARTS = 3
ENDED_TOO_OFTEN = f"not run: the submission had ended its process {1 + MAX_RESTARTS} times before"
OUT_OF_TIME = "not run: the time of this kata was used up"


def failed_everywhere(
    kata: str, cases: list[str], status: KataStatus, reason: str, sha256: str | None = None
) -> KataResult:
    """A result without points in which every case fails for one reason."""
    results = tuple(CaseResult(case, False, reason) for case in cases)
    return KataResult(kata, status, 0.0, POINTS_PER_KATA, results, sha256, reason)


def judge(
    sandbox: Sandbox, key: AnswerKey, source: str, sha256: str | None = None
) -> tuple[KataResult, dict[str, Any]]:
    """Runs one submission of one kata. Returns the result, and the evidence by case (to diagnose the mistake).

    Raises GraderFault.
    """
    collected = _collect(sandbox, key, source)
    reasons = collected.reasons
    for name, evidence in collected.evidence.items():
        reasons.setdefault(name, _explain(key.evidence[name], evidence))
    right = {name for name in collected.evidence if not reasons[name]}
    trusted = _functions_to_trust(key, right)
    results = []
    for case in key.cases:
        reason = reasons[case.name]
        if not reason and case.name in key.guessable and case.of not in trusted:
            reason = "right, but it could be guessed, and too little else is right for it to count"
        seconds = round(collected.seconds.get(case.name, 0.0), 4)
        results.append(CaseResult(case.name, not reason, reason, seconds))
    return _kata_result(key, tuple(results), collected.evidence, sha256), collected.evidence


def _functions_to_trust(key: AnswerKey, right: set[str]) -> set[str]:
    """The functions whose guessable cases count: those with most of their other cases right.

    More than half are needed, so that one lucky case does not bring in all guessable ones. A function that has only
    guessable cases is trusted if any other function is.
    """
    not_guessable: dict[str, set[str]] = {}  # function -> its other cases
    for case in key.cases:
        if case.name not in key.guessable:
            not_guessable.setdefault(case.of, set()).add(case.name)
    trusted = {function for function, names in not_guessable.items() if 2 * len(names & right) > len(names)}
    if trusted:
        trusted |= {case.of for case in key.cases} - set(not_guessable)
    return trusted


def _kata_result(
    key: AnswerKey, cases: tuple[CaseResult, ...], evidence: dict[str, Any], sha256: str | None
) -> KataResult:
    """Status, points and reason by how many cases pass."""
    passed = sum(case.passed for case in cases)
    max_points = POINTS_PER_KATA
    if passed == len(cases):
        return KataResult(key.kata, "pass", max_points, max_points, cases, sha256)
    if evidence and all(probes.not_started(of_case) for of_case in evidence.values()):
        return KataResult(key.kata, "not_attempted", 0.0, max_points, cases, sha256, "Nothing in it is written yet.")
    first = next(case for case in cases if not case.passed)
    reason = f"{len(cases) - passed} of {len(cases)} cases fail; the first is {first.id!r}: {first.reason}"
    points = min(round(max_points * passed / len(cases), 2), max_points - 0.01)  # rounding must not give full marks
    return KataResult(key.kata, "fail", points, max_points, cases, sha256, reason)


def _explain(expected: Any, evidence: Any) -> str:
    """The reason why a case fails; empty if it passes. Evidence that breaks the comparison fails."""
    try:
        return feedback.explain(expected, evidence)
    except Exception as error:
        return f"the evidence cannot be compared ({type(error).__name__})"


def summarise_like(expected: Any, evidence: Any) -> Any:
    """`evidence` with draws counted and pairs compared, but only where the reference's evidence has such, too.

    A submission may send little that is costly to summarise, for example empty draws from a million categories.
    """
    if isinstance(evidence, dict):
        inner = expected if isinstance(expected, dict) else {}
        return {key: summarise_like(inner.get(key), value) for key, value in evidence.items()}
    if isinstance(evidence, Draws):
        same_kind = isinstance(expected, Counts) and evidence.categories == len(expected.counts)
        return evidence.counted() if same_kind else Opaque("draws")
    if isinstance(evidence, Pairs):
        same_kind = isinstance(expected, list) and len(expected) > 0 and expected[0] == list(evidence.a.shape)
        return evidence.equal() if same_kind else Opaque("a pair of another shape")
    if isinstance(evidence, list):
        items = expected if isinstance(expected, list) else []
        return [summarise_like(items[i] if i < len(items) else None, value) for i, value in enumerate(evidence)]
    return evidence


@dataclass
class _Collected:
    """The evidence of one submission, by case. A case without evidence has a reason why there is none."""

    evidence: dict[str, Any] = field(default_factory=dict)  # summarised
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def fail(self, cases: list[Case], reason: str) -> "_Collected":
        self.reasons |= {case.name: reason for case in cases}
        return self


def _collect(sandbox: Sandbox, key: AnswerKey, source: str) -> _Collected:
    """Runs every case in the sandbox.

    After a hang or a crash a new process goes on. The other cases of the function that caused it are moved to the end,
    so that they cannot use up the time of other functions. Only time that the submission itself takes is counted.
    """
    collected = _Collected()
    waiting = list(key.cases)
    task = key.task(source)
    seconds_left = task.seconds
    for attempt in range(1 + MAX_RESTARTS):
        if not waiting or seconds_left <= 0:
            break
        start, is_loaded = time.monotonic(), False
        try:
            with sandbox.run(task) as session:
                start = time.monotonic()
                session.deadline = start + seconds_left
                error = session.load()
                is_loaded = True
                if error is not None:
                    return collected.fail(waiting, f"the file cannot be imported: {error.name}: {error.note}")
                seconds_left -= time.monotonic() - start
                while waiting:
                    case, start = waiting[0], time.monotonic()
                    evidence = session.observe(case, key.noise_seeds[case.name])
                    collected.seconds[case.name] = time.monotonic() - start
                    seconds_left -= collected.seconds[case.name]
                    try:
                        collected.evidence[case.name] = summarise_like(key.evidence[case.name], evidence)
                    except Exception as problem:  # not the grader's fault: the reference's evidence could be summarised
                        collected.reasons[case.name] = f"its evidence cannot be counted ({type(problem).__name__})"
                    waiting.pop(0)
        except Ended as ended:
            # The limit of one case bounds what is charged: the rest is the grader's own waiting.
            seconds_left -= min(time.monotonic() - start, task.case_seconds)
            if not is_loaded:
                when = (
                    "while it was imported it" if attempt == 0 else "not run: started again, while it was imported it"
                )
                return collected.fail(waiting, f"{when} {ended}")
            crashed = waiting.pop(0)
            collected.reasons[crashed.name] = f"it {ended}"
            waiting = [c for c in waiting if c.of != crashed.of] + [c for c in waiting if c.of == crashed.of]
    return collected.fail(waiting, OUT_OF_TIME if seconds_left <= 0 else ENDED_TOO_OFTEN)
