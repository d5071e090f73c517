"""Records runs and events (hints, solutions, resets), and reads how far the learner is with each kata."""

import sqlite3
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dojo.core.files import digest
from dojo.core.outcome import Diagnosis, Outcome, is_solved
from dojo.core.paths import Checkout
from dojo.progress.database import connect
from dojo.progress.resets import add_run_before_resets, read_resets
from dojo.progress.session_state import DrillState


@dataclass(frozen=True)
class Run:
    """One run of a kata's tests. `stages` maps each stage to (tests passed, tests counted); skipped tests do not count."""

    at: float
    how: str
    complete: bool
    stages: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    untouched: bool = False  # the verdict on every test is "not started"
    diagnoses: tuple[Diagnosis, ...] = ()
    id: int = 0  # 0: not stored as a run (the grading of a session)
    kata: str = ""
    session: int | None = None
    practice: bool = False  # a run of answers/ itself
    source: str = ""  # the digest of the text that was run

    @property
    def passed(self) -> int:
        return sum(passed for passed, _ in self.stages.values())

    @property
    def total(self) -> int:
        return sum(counted for _, counted in self.stages.values())

    @property
    def solves(self) -> bool:
        return is_solved(self.passed, self.total, self.complete)


@dataclass(frozen=True)
class Event:
    """Something that a learner did to a kata beside running it (see record_event)."""

    id: int
    kata: str
    at: float
    what: str
    detail: str


@dataclass(frozen=True)
class Progress:
    """How far the learner is with one kata.

    What was solved once, in practice or in a drill, stays solved. The figures are those of the file as it is: of the
    newest complete run of its text, or, if there is none, of the newest since the stub was last restored.
    """

    state: str  # "not started", "started", "solved"
    passed: int = 0
    total: int = 0
    stages: tuple[int, ...] = ()  # stages whose tests all pass
    changed: bool = False  # the file has changed since that run

    @property
    def passes(self) -> bool:
        """Whether every test passed in that run."""
        return is_solved(self.passed, self.total, complete=True)


def record_run(
    checkout: Checkout,
    outcomes: Sequence[Outcome],
    expected: Mapping[str, int],
    *,
    sources: Mapping[str, str],
    began: float,
    diagnoses: Mapping[str, Sequence[Diagnosis]] | None = None,
    how: str = "test",
    session: int | None = None,
) -> None:
    """Stores one run for each kata among `outcomes`.

    `expected` holds the number of tests of each kata whose tests were all selected; `diagnoses` holds those of
    each kata; `sources` holds the digest of each file when the run `began`: it may have been saved again since.
    """
    by_kata: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_kata.setdefault(outcome.kata, []).append(outcome)
    now = time.time()
    with connect(checkout) as db:
        for kata, kata_outcomes in by_kata.items():
            counts = any(o.verdict != "skipped" for o in kata_outcomes)  # --benchmark-only skips every test
            complete = counts and len(kata_outcomes) == expected.get(kata)
            run = db.execute(
                "INSERT INTO run(at, kata, source, complete, how, session) VALUES (?, ?, ?, ?, ?, ?)",
                (now, kata, sources.get(kata, ""), complete, how, session),
            ).lastrowid
            if session is None:
                add_run_before_resets(db, kata, int(run or 0), began, now)
            rows = [(run, o.test, o.stage, o.verdict, o.message[:2000], o.seconds) for o in kata_outcomes]
            db.executemany("INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?)", rows)
            named = [(run, d.mistake, d.says, d.whole) for d in (diagnoses or {}).get(kata, ())]
            db.executemany("INSERT INTO named(run, mistake, says, whole) VALUES (?, ?, ?, ?)", named)


def record_event(checkout: Checkout, kata: str, what: str, detail: str = "") -> None:
    """Stores an event of a kata.

    `what` is "show" (the question was read), "hint" (`detail`: its number), "solution" (it was looked at) or "reset" (the
    stub was restored; `detail`: the digest of the text that was put aside, stored behind the id of the last run).
    """
    with connect(checkout) as db:
        if what == "reset":
            last_run = db.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()[0]
            detail = f"{last_run} {detail}".rstrip()
        db.execute("INSERT INTO event(at, kata, what, detail) VALUES (?, ?, ?, ?)", (time.time(), kata, what, detail))


def count_events(checkout: Checkout, kata: str, what: str) -> int:
    """How often `what` happened to this kata since its stub was last restored."""
    with connect(checkout) as db:
        after = max((reset.id for reset in read_resets(db, kata)), default=0)
        query = "SELECT count(*) FROM event WHERE kata = ? AND what = ? AND id > ?"
        return int(db.execute(query, (kata, what, after)).fetchone()[0])


def ever_solved(checkout: Checkout, kata: str, *, since_reset: bool = False) -> bool:
    """Whether some run of answers/, or some drill, solved this kata (since its stub was last restored)."""
    with connect(checkout) as db:
        solved_at = _last_solving_run(db, kata)
        after = _last_run_before_reset(db, kata) if since_reset else -1
        return solved_at is not None and solved_at > after


def _last_solving_run(db: sqlite3.Connection, kata: str) -> int | None:
    """The id of the newest run that solved this kata, in practice or in a drill; None if it was never solved.

    A drill may be solved by its grading alone, which is no run: then it is the last run of the drill.
    """
    run = db.execute(
        "SELECT id FROM run_summary WHERE kata = ? AND complete AND how != 'hunt' AND solved ORDER BY id DESC LIMIT 1",
        (kata,),
    ).fetchone()
    drills = db.execute(
        """SELECT detail, (SELECT coalesce(max(run.id), 0) FROM run WHERE run.kata = session.kata AND session = session.id)
           FROM session WHERE kind = 'drill' AND kata = ?""",
        (kata,),
    ).fetchall()
    graded = [last_run for detail, last_run in drills if DrillState.from_json(detail).solved]
    return max([*(run or ()), *graded], default=None)


def last_kata(checkout: Checkout) -> str:
    """The kata whose file in answers/ was run last; "" if none was."""
    with connect(checkout) as db:
        row = db.execute("SELECT kata FROM run_summary WHERE practice ORDER BY id DESC LIMIT 1").fetchone()
    return str(row[0]) if row else ""


def progress(checkout: Checkout, kata: str) -> Progress:
    """How far the learner is with this kata."""
    text = digest(checkout.answer(kata))
    with connect(checkout) as db:
        ever_solved = _last_solving_run(db, kata) is not None
        run = db.execute(
            """SELECT id, source FROM run_summary WHERE kata = ? AND practice AND complete AND (source = ? OR id > ?)
               ORDER BY source = ? DESC, id DESC LIMIT 1""",
            (kata, text, _last_run_before_reset(db, kata), text),
        ).fetchone()
        rows = db.execute("SELECT stage, verdict FROM outcome WHERE run = ?", (run[0],)).fetchall() if run else []
    counted = [(stage, verdict) for stage, verdict in rows if verdict != "skipped"]
    passed = sum(verdict == "passed" for _, verdict in counted)
    stages = sorted({stage for stage, _ in counted if stage})
    passed_stages = tuple(n for n in stages if all(verdict == "passed" for stage, verdict in counted if stage == n))
    changed = bool(run) and run[1] != text
    if ever_solved:
        state = "solved"
    elif any(verdict != "not started" for _, verdict in counted):
        state = "started"
    else:
        state = "not started"
    return Progress(state, passed, len(counted), passed_stages, changed)


def _last_run_before_reset(db: sqlite3.Connection, kata: str) -> int:
    """The id of the last run before the kata's stub was last restored; -1 if it never was."""
    return max((reset.last_run for reset in read_resets(db, kata)), default=-1)


def read_runs(db: sqlite3.Connection, kata: str | None = None) -> list[Run]:
    """All runs (of `kata`) in which some test was not skipped, oldest first."""
    where, values = ("kata = ?", (kata,)) if kata else ("1", ())
    diagnoses: dict[int, list[Diagnosis]] = defaultdict(list)
    for number, mistake, says, whole in db.execute("SELECT run, mistake, says, whole FROM named"):
        diagnoses[number].append(Diagnosis(mistake, says, bool(whole)))
    stages: dict[int, dict[int, tuple[int, int]]] = defaultdict(dict)
    started: set[int] = set()  # runs in which some test got beyond an unwritten stub
    for number, stage, passed, counted, tests_started in db.execute(
        f"""SELECT run, stage, sum(verdict = 'passed'), count(*), sum(verdict != 'not started')
            FROM outcome JOIN run ON run.id = run WHERE {where} AND verdict != 'skipped'
            GROUP BY run, stage""",
        values,
    ):
        stages[number][stage] = (passed, counted)
        if tests_started:
            started.add(number)
    rows = db.execute(
        f"SELECT id, kata, session, practice, at, how, complete, source FROM run_summary WHERE {where} ORDER BY id",
        values,
    )
    return [
        Run(
            at,
            how,
            bool(complete),
            stages[number],
            untouched=number not in started,
            diagnoses=tuple(diagnoses[number]),
            id=number,
            kata=name,
            session=session,
            practice=bool(practice),
            source=source,
        )
        for number, name, session, practice, at, how, complete, source in rows
        if number in stages
    ]


def read_events(db: sqlite3.Connection, kata: str | None = None) -> list[Event]:
    """All events (of `kata`), oldest first."""
    where, values = ("kata = ?", (kata,)) if kata else ("1", ())
    return [
        Event(*row)
        for row in db.execute(f"SELECT id, kata, at, what, detail FROM event WHERE {where} ORDER BY id", values)
    ]
