"""A learner's attempts at katas, computed from what is recorded anyway: runs, events (hints, readings) and sessions.

In practice an attempt goes from one restored stub (a "reset") to the next; each drill or hunt is an attempt of its own.
Nothing is stored for an attempt, so the rules here can change without a migration.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from dojo.core.outcome import Diagnosis
from dojo.core.paths import Checkout
from dojo.progress.database import connect
from dojo.progress.resets import Reset, standing_resets
from dojo.progress.runs import Event, Run, read_events, read_runs
from dojo.progress.session_state import DrillState
from dojo.progress.worktime import WorkEvent, measure_work


@dataclass(frozen=True)
class Attempt:
    """One attempt at one kata. Moments are seconds since the epoch; `seconds` is the time worked (dojo.progress.worktime)."""

    kata: str
    kind: str  # "practice", or a session's: "drill", "hunt"
    started: float
    ended: float
    runs: tuple[Run, ...]
    hints: int  # before it was solved
    solved: float | None
    gave_up: float | None  # when the solution was looked at, if before it was solved
    seconds: float | None
    seconds_uncapped: float | None  # the same with gaps of any length; None if it began with an edited file
    stages: Mapping[int, float]  # seconds worked until all tests of a stage first passed
    points: float | None = None

    @property
    def judged(self) -> float | None:
        """When it was solved, given up, or (a session) graded; None while it is undecided."""
        if self.kind != "practice":
            return self.ended if self.points is not None else None
        return self.gave_up if self.gave_up is not None else self.solved

    @property
    def state(self) -> str:
        if self.gave_up is not None:
            return "gave up"
        return "solved" if self.solved is not None else "unfinished"

    @property
    def how(self) -> str:
        """How its tests were run: "watch" (even if `kata test` was used too), "test", or the session's kind."""
        if self.kind != "practice":
            return self.kind
        return "watch" if any(run.how == "watch" for run in self.runs) else "test"

    @property
    def best(self) -> Run | None:
        """The complete run that passed most tests; of incomplete runs if there is no complete one."""
        runs = [run for run in self.runs if run.complete] or self.runs
        return max(runs, key=lambda run: run.passed, default=None)

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...]:
        """The diagnoses of the runs, each mistake once, in the order in which they were first made."""
        return tuple({diagnosis.mistake: diagnosis for run in self.runs for diagnosis in run.diagnoses}.values())


def read_attempts(checkout: Checkout, kata: str | None = None) -> list[Attempt]:
    """All attempts, or those at `kata`; newest first."""
    with connect(checkout) as db:
        return attempts_in(db, kata)


def attempts_in(db: sqlite3.Connection, kata: str | None = None) -> list[Attempt]:
    """The same as read_attempts, in a transaction that is already open."""
    practice_runs: dict[str, list[Run]] = defaultdict(list)
    session_runs: dict[int, list[Run]] = defaultdict(list)
    for run in read_runs(db, kata):
        if run.session is not None:
            session_runs[run.session].append(run)
        elif run.practice:
            practice_runs[run.kata].append(run)
    events: dict[str, list[Event]] = defaultdict(list)
    for event in read_events(db, kata):
        events[event.kata].append(event)

    attempts = []
    for name in practice_runs.keys() | events.keys():
        for work_events, runs in _between_resets(practice_runs[name], events[name]):
            if attempt := _practice(name, work_events, runs):
                attempts.append(attempt)
    where, values = ("kata = ?", (kata,)) if kata else ("1", ())
    for number, kind, name, *rest in db.execute(  # a mock interview has no attempt: its parts have rows of their own
        f"SELECT id, kind, kata, started, ended, elapsed, points, detail FROM session WHERE {where} AND kind != 'mock'",
        values,
    ).fetchall():
        steps = db.execute("SELECT elapsed, what, detail FROM session_event WHERE session = ? ORDER BY id", (number,))
        attempts.append(_session(name, kind, *rest, runs=session_runs[number], steps=steps.fetchall()))
    return sorted(attempts, key=lambda attempt: (attempt.started, attempt.ended), reverse=True)


def _between_resets(runs: Sequence[Run], events: Sequence[Event]) -> Iterable[tuple[list[WorkEvent], list[Run]]]:
    """The events and the runs of each practice attempt at one kata.

    Rows are compared by id, because the system's clock may be set back. A reset that was undone ends no attempt.
    """
    resets = [Reset.from_event(event.id, event.at, event.detail) for event in events if event.what == "reset"]
    standing = standing_resets(resets, [(run.id, run.source) for run in runs])
    bounds = [(0, None, 0), *((r.id, r.at, r.last_run) for r in standing), (float("inf"), None, float("inf"))]
    for (reset, reset_at, last_run_before), (next_reset, _, last_run) in pairwise(bounds):
        attempt_runs = [run for run in runs if last_run_before < run.id <= last_run]
        work_events = [WorkEvent(reset_at, "reset")] if reset_at is not None else []
        work_events += [
            WorkEvent(event.at, event.what)
            for event in events
            if reset < event.id < next_reset and event.what != "reset"
        ]
        work_events += [WorkEvent(run.at, "untouched run" if run.untouched else "run") for run in attempt_runs]
        yield sorted(work_events, key=lambda event: event.at), attempt_runs


def _practice(kata: str, events: list[WorkEvent], runs: list[Run]) -> Attempt | None:
    """The attempt that these events and runs make; None if nothing was written."""
    solved = next((run.at for run in runs if run.solves), None)
    work = measure_work(events, solved)
    if work is None:
        return None
    gave_up = next((e.at for e in events if e.what == "solution" and (solved is None or e.at < solved)), None)
    end_of_work = solved if solved is not None else work.ended
    return Attempt(
        kata,
        "practice",
        work.started,
        work.ended,
        tuple(runs),
        hints=sum(event.what == "hint" and event.at <= end_of_work for event in events),
        solved=solved,
        gave_up=gave_up,
        seconds=work.worked_s[end_of_work] or None,
        seconds_uncapped=work.seconds_uncapped,
        stages={stage: work.worked_s[at] for stage, at in _first_passed(runs).items() if at >= work.started},
    )


def _session(
    kata: str,
    kind: str,
    started: float,
    ended: float | None,
    elapsed: float,
    points: float | None,
    detail: str,
    *,
    runs: list[Run],
    steps: Sequence[tuple[float, str, str]],
) -> Attempt:
    """The attempt of one drill or hunt. It has its own clock and stages, and the grading at its end is its last run."""
    last = max([started, *(run.at for run in runs)]) if ended is None else ended
    runs = runs + _graded(kind, last, detail)
    noted = {int(stage): at for at, what, stage in reversed(steps) if what == "stage" and stage.isdigit()}
    return Attempt(
        kata,
        kind,
        started,
        last,
        tuple(runs),
        hints=sum(what == "hint" for _, what, _ in steps),
        solved=next((run.at for run in runs if run.solves), None),
        gave_up=None,
        seconds=elapsed or None,
        seconds_uncapped=elapsed or None,
        stages=noted,
        points=None if ended is None else points,
    )


def _graded(kind: str, at: float, detail: str) -> list[Run]:
    """The final grading of a session as a run; empty if it was never graded."""
    state = DrillState.from_json(detail)
    stages = {result.stage: (result.passed, result.tests) for result in state.results}
    return [Run(at, kind, not state.trouble, stages)] if stages else []


def _first_passed(runs: Sequence[Run]) -> dict[int, float]:
    """When all tests of each stage first passed. A run of a few chosen tests of a stage does not count."""
    tests: dict[int, int] = defaultdict(int)  # of each stage
    for run in runs:
        for stage, (_, counted) in run.stages.items():
            tests[stage] = max(tests[stage], counted)
    first: dict[int, float] = {}
    for run in runs:
        for stage, (passed, counted) in run.stages.items():
            if stage and passed == counted == tests[stage]:
                first.setdefault(stage, run.at)
    return first
