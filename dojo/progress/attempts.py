"""What someone did with a kata, grouped into attempts: everything between one fresh start and the next, or one session.

An attempt is worked out from what is recorded anyway (runs, hints, looks at the question, restored stubs, drills), so
nothing has to be remembered while people practise.

Its minutes are counted from sign of life to sign of life. A gap counts ten minutes at most, and nothing when it ends in
reading the question again (or in running the untouched stub): whoever does that has been away. `at_most` is the same
without the limit of ten minutes, and None when the first sign shows a file that was already written on: how long that
took, nobody knows.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from dojo.core.outcome import Diagnosis
from dojo.core.paths import Checkout
from dojo.progress.database import connect
from dojo.progress.session_state import DrillState

LONGEST = 10 * 60.0  # seconds that a gap counts at most
SITTING = 2 * 3600.0  # a look that long before anything else is not yet the beginning
LOOKS = ("reset", "show")
OWN = ("test", "watch")  # how katas/ itself is run, and not a session's copy


@dataclass(frozen=True)
class Run:
    """One run of a kata's tests. `stages` holds (passed, counted) for each stage; skipped tests do not count."""

    at: float
    how: str
    complete: bool
    stages: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    untouched: bool = False  # every test said "not started"
    diagnoses: tuple[Diagnosis, ...] = ()

    @property
    def passed(self) -> int:
        return sum(passed for passed, _ in self.stages.values())

    @property
    def total(self) -> int:
        return sum(counted for _, counted in self.stages.values())

    @property
    def solves(self) -> bool:
        return self.complete and 0 < self.passed == self.total


@dataclass(frozen=True)
class Attempt:
    """One attempt at one kata. Times are seconds since the epoch; `seconds` is the time worked (see above)."""

    kata: str
    kind: str  # "practice", or a session's: "drill", "hunt"
    started: float
    ended: float
    runs: tuple[Run, ...]
    hints: int  # before it was solved
    solved: float | None
    gave_up: float | None  # when the solution was looked at before that
    seconds: float | None
    at_most: float | None
    stages: Mapping[int, float]  # seconds worked until all tests of a stage first passed
    points: float | None = None

    @property
    def judged(self) -> float | None:
        """When it was decided how it went: solved, given up, or (a session) graded."""
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
        """One word: "watch" (even if `kata test` was used too), "test", or the session's kind."""
        if self.kind != "practice":
            return self.kind
        return "watch" if any(run.how == "watch" for run in self.runs) else "test"

    @property
    def best(self) -> Run | None:
        """The complete run that passed most; any run where none was complete."""
        runs = [run for run in self.runs if run.complete] or self.runs
        return max(runs, key=lambda run: run.passed, default=None)

    @property
    def diagnoses(self) -> tuple[Diagnosis, ...]:
        """The diagnoses of the runs, each mistake once, in the order in which they were first made."""
        return tuple({diagnosis.mistake: diagnosis for run in self.runs for diagnosis in run.diagnoses}.values())


def read_attempts(checkout: Checkout, kata: str | None = None) -> list[Attempt]:
    """All attempts (at one kata), newest first."""
    with connect(checkout) as db:
        return attempts_in(db, kata)


def attempts_in(db: sqlite3.Connection, kata: str | None = None) -> list[Attempt]:
    """The same, in a transaction that is already open."""
    only, known = ("WHERE kata = ?", (kata,)) if kata else ("", ())
    runs = _runs(db, kata)
    own = defaultdict(list)
    in_session = defaultdict(list)
    for number, name, session, run in runs:
        if session is not None:
            in_session[session].append(run)
        elif run.how in OWN:
            own[name].append((number, run))
    events = defaultdict(list)
    for number, name, at, what, detail in db.execute(
        f"SELECT id, kata, at, what, detail FROM event {only} ORDER BY id", known
    ):
        events[name].append((number, at, what, detail))
    found = []
    for name in own.keys() | events.keys():
        for signs, these in _between_resets(own[name], events[name]):
            attempt = _practice(name, signs, these)
            found += [attempt] if attempt else []
    for number, kind, name, *rest in db.execute(
        f"SELECT id, kind, kata, started, ended, elapsed, points, detail FROM session {only}", known
    ).fetchall():
        steps = db.execute("SELECT elapsed, what, detail FROM session_event WHERE session = ? ORDER BY id", (number,))
        found.append(_session(name, kind, *rest, runs=in_session[number], steps=steps.fetchall()))
    found = [attempt for attempt in found if attempt.kind != "mock"]  # its parts have rows of their own
    return sorted(found, key=lambda attempt: (attempt.started, attempt.ended), reverse=True)


def _runs(db: sqlite3.Connection, kata: str | None) -> list[tuple[int, str, int | None, Run]]:
    only, known = ("WHERE kata = ?", (kata,)) if kata else ("", ())
    diagnoses = defaultdict(list)
    for number, mistake, says, whole in db.execute("SELECT run, mistake, says, whole FROM named"):
        diagnoses[number].append(Diagnosis(mistake, says, bool(whole)))
    rows = db.execute(
        f"""SELECT run.id, run.kata, session, at, how, complete, stage, sum(verdict = 'passed'),
                   sum(verdict != 'skipped'), sum(verdict NOT IN ('skipped', 'not started'))
            FROM run LEFT JOIN outcome ON outcome.run = run.id {only} GROUP BY run.id, stage ORDER BY run.id""",
        known,
    )
    found: dict[int, tuple[str, int | None, float, str, bool]] = {}
    stages: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    touched: dict[int, int] = defaultdict(int)
    for number, name, session, at, how, complete, stage, passed, counted, begun in rows:
        found[number] = (name, session, at, how, bool(complete))
        if counted:
            stages[number][stage] = (passed, counted)
            touched[number] += begun
    return [
        (n, name, session, Run(at, how, complete, stages[n], not touched[n], tuple(diagnoses[n])))
        for n, (name, session, at, how, complete) in found.items()
        if stages[n]  # a run of skipped tests says nothing
    ]


Sign = tuple[float, str]  # when, and what: run, untouched, hint, solution, show, reset


def _between_resets(
    runs: Sequence[tuple[int, Run]], events: Sequence[tuple[int, float, str, str]]
) -> Iterable[tuple[list[Sign], list[Run]]]:
    """The signs of life and the runs of each attempt. A reset's detail is the last run before it."""
    resets = [(number, at, int(detail or 0)) for number, at, what, detail in events if what == "reset"]
    bounds = [(0, None, 0), *resets, (float("inf"), None, float("inf"))]
    for (first, fresh, before), (last, _, until) in pairwise(bounds):
        these = [run for number, run in runs if before < number <= until]
        signs: list[Sign] = [(fresh, "reset")] if fresh is not None else []
        signs += [(at, what) for number, at, what, _ in events if first < number < last]
        signs += [(run.at, "untouched" if run.untouched else "run") for run in these]
        yield sorted(signs, key=lambda sign: sign[0]), these


def _practice(kata: str, signs: list[Sign], runs: list[Run]) -> Attempt | None:
    def looks(sign: Sign) -> bool:
        return sign[1] in (*LOOKS, "untouched")

    if all(looks(sign) for sign in signs):
        return None  # nothing was written
    while looks(signs[0]) and signs[1][0] - signs[0][0] > (LONGEST if looks(signs[1]) else SITTING):
        signs = signs[1:]
    started = signs[0][0]
    worked, at_most, clock = 0.0, 0.0, [(started, 0.0)]
    solved = next((run.at for run in runs if run.solves), None)
    for earlier, sign in pairwise(signs):
        gap = max(0.0, sign[0] - earlier[0])
        away = gap > LONGEST and looks(sign)
        worked += 0 if away else min(gap, LONGEST)
        if solved is None or sign[0] <= solved:
            at_most += 0 if away else gap
        clock.append((sign[0], worked))
    gave_up = next((at for at, what in signs if what == "solution" and (solved is None or at < solved)), None)
    until = solved if solved is not None else signs[-1][0]
    times = dict(clock)
    return Attempt(
        kata,
        "practice",
        started,
        signs[-1][0],
        tuple(runs),
        hints=sum(what == "hint" and at <= until for at, what in signs),
        solved=solved,
        gave_up=gave_up,
        seconds=times[until] or None,
        at_most=at_most if looks(signs[0]) else None,
        stages={stage: times[at] for stage, at in _first_passed(runs).items() if at >= started},
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
    """A session keeps a clock of its own, notes its stages, and is graded at its end by a run that counts as the last."""
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
        at_most=elapsed or None,
        stages=noted,
        points=None if ended is None else points,
    )


def _graded(kind: str, at: float, detail: str) -> list[Run]:
    """The final grading of a session as a run; empty if it was never graded."""
    results = DrillState.from_json(detail).results
    stages = {result.stage: (result.passed, result.tests) for result in results}
    return [Run(at, kind, True, stages)] if stages else []


def _first_passed(runs: Sequence[Run]) -> dict[int, float]:
    """When all tests of each stage first passed. A run of a few chosen tests proves no stage."""
    most: dict[int, int] = defaultdict(int)
    for run in runs:
        for stage, (_, counted) in run.stages.items():
            most[stage] = max(most[stage], counted)
    found: dict[int, float] = {}
    for run in runs:
        for stage, (passed, counted) in run.stages.items():
            if stage and passed == counted == most[stage]:
                found.setdefault(stage, run.at)
    return found
