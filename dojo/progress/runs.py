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
    practice: bool = False  # a run of katas/ itself

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
    """How far the learner is with one kata, by its newest complete run since the stub was last restored."""

    state: str  # "not started", "started", "solved"
    passed: int = 0
    total: int = 0
    stages: tuple[int, ...] = ()  # stages whose tests all pass
    changed: bool = False  # the file has changed since that run


def record_run(
    checkout: Checkout,
    outcomes: Sequence[Outcome],
    expected: Mapping[str, int],
    *,
    diagnoses: Mapping[str, Sequence[Diagnosis]] | None = None,
    source: str | None = None,
    how: str = "test",
    session: int | None = None,
) -> None:
    """Stores one run for each kata among `outcomes`.

    `expected` holds the number of tests of each kata whose tests were all selected; `diagnoses` holds those of
    each kata; `source` is the digest of the file that was run (None: compute it now).
    """
    by_kata: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_kata.setdefault(outcome.kata, []).append(outcome)
    with connect(checkout) as db:
        for kata, kata_outcomes in by_kata.items():
            counts = any(o.verdict != "skipped" for o in kata_outcomes)  # --benchmark-only skips every test
            complete = counts and len(kata_outcomes) == expected.get(kata)
            run = db.execute(
                "INSERT INTO run(at, kata, source, complete, how, session) VALUES (?, ?, ?, ?, ?, ?)",
                (time.time(), kata, digest(checkout.stub(kata)) if source is None else source, complete, how, session),
            ).lastrowid
            rows = [(run, o.test, o.stage, o.verdict, o.message[:2000], o.seconds) for o in kata_outcomes]
            db.executemany("INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?)", rows)
            named = [(run, d.mistake, d.says, d.whole) for d in (diagnoses or {}).get(kata, ())]
            db.executemany("INSERT INTO named(run, mistake, says, whole) VALUES (?, ?, ?, ?)", named)


def record_event(checkout: Checkout, kata: str, what: str, detail: str = "") -> None:
    """Stores an event of a kata.

    `what` is "show" (the question was read), "hint" (`detail`: its number), "solution" (it was looked at) or "reset" (the
    stub was restored; the detail that is stored is the id of the last run, because that one ends the attempt before).
    """
    with connect(checkout) as db:
        if what == "reset":
            detail = str(db.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()[0])
        db.execute("INSERT INTO event(at, kata, what, detail) VALUES (?, ?, ?, ?)", (time.time(), kata, what, detail))


def count_events(checkout: Checkout, kata: str, what: str) -> int:
    """How often `what` happened to this kata since its stub was last restored."""
    query = """SELECT count(*) FROM event WHERE kata = ? AND what = ? AND id > (
                   SELECT coalesce(max(id), 0) FROM event WHERE kata = ? AND what = 'reset')"""
    with connect(checkout) as db:
        return int(db.execute(query, (kata, what, kata)).fetchone()[0])


def ever_solved(checkout: Checkout, kata: str, *, since_reset: bool = False) -> bool:
    """Whether some run of katas/ solved this kata (since its stub was last restored)."""
    with connect(checkout) as db:
        after = _last_run_before_reset(db, kata) if since_reset else 0
        query = "SELECT 1 FROM run_summary WHERE kata = ? AND practice AND solved AND id > ? LIMIT 1"
        return db.execute(query, (kata, after)).fetchone() is not None


def last_kata(checkout: Checkout) -> str:
    """The kata whose file in katas/ was run last; "" if none was."""
    with connect(checkout) as db:
        row = db.execute("SELECT kata FROM run_summary WHERE practice ORDER BY id DESC LIMIT 1").fetchone()
    return str(row[0]) if row else ""


def progress(checkout: Checkout, kata: str) -> Progress:
    """How far the learner is with this kata since its stub was last restored."""
    with connect(checkout) as db:
        run = db.execute(
            """SELECT id, source FROM run_summary WHERE kata = ? AND practice AND complete AND id > ?
               ORDER BY id DESC LIMIT 1""",
            (kata, _last_run_before_reset(db, kata)),
        ).fetchone()
        rows = db.execute("SELECT stage, verdict FROM outcome WHERE run = ?", (run[0],)).fetchall() if run else []
    counted = [(stage, verdict) for stage, verdict in rows if verdict != "skipped"]
    passed = sum(verdict == "passed" for _, verdict in counted)
    stages = sorted({stage for stage, _ in counted if stage})
    passed_stages = tuple(n for n in stages if all(verdict == "passed" for stage, verdict in counted if stage == n))
    changed = bool(run) and run[1] != digest(checkout.stub(kata))
    if is_solved(passed, len(counted), complete=True):
        state = "solved"
    elif any(verdict != "not started" for _, verdict in counted):
        state = "started"
    else:
        state = "not started"
    return Progress(state, passed, len(counted), passed_stages, changed)


def _last_run_before_reset(db: sqlite3.Connection, kata: str) -> int:
    """The id of the last run before the kata's stub was last restored; 0 if it never was."""
    query = "SELECT coalesce(max(CAST(detail AS INTEGER)), 0) FROM event WHERE kata = ? AND what = 'reset'"
    return int(db.execute(query, (kata,)).fetchone()[0])


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
        f"SELECT id, kata, session, practice, at, how, complete FROM run_summary WHERE {where} ORDER BY id", values
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
        )
        for number, name, session, practice, at, how, complete in rows
        if number in stages
    ]


def read_events(db: sqlite3.Connection, kata: str | None = None) -> list[Event]:
    """All events (of `kata`), oldest first."""
    where, values = ("kata = ?", (kata,)) if kata else ("1", ())
    return [
        Event(*row)
        for row in db.execute(f"SELECT id, kata, at, what, detail FROM event WHERE {where} ORDER BY id", values)
    ]
