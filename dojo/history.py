"""`.dojo/history.sqlite`: every run of the learner's own katas, the hints taken, the solutions looked at.

Losing the file loses no work. Any trouble with it becomes a Problem whose sentence the caller prints; practice goes on.
"""

import hashlib
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dojo.outcome import Outcome
from dojo.paths import Checkout
from dojo.problem import Problem

SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS run(
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kata TEXT NOT NULL, source TEXT NOT NULL,
    complete INTEGER NOT NULL  -- 1 when every test of the kata was part of the run
);
CREATE TABLE IF NOT EXISTS outcome(
    run INTEGER NOT NULL REFERENCES run(id), test TEXT NOT NULL, stage INTEGER NOT NULL, verdict TEXT NOT NULL,
    message TEXT NOT NULL, seconds REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS event(
    id INTEGER PRIMARY KEY, at REAL NOT NULL, kata TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS run_kata ON run(kata, at);
PRAGMA user_version = 1;
COMMIT;
"""


@dataclass(frozen=True)
class Progress:
    """Where the learner stands with one kata, by the newest complete run of the file as it now is."""

    state: str  # "not started", "started", "solved"
    passed: int = 0
    total: int = 0
    stages: tuple[int, ...] = ()  # stages whose tests all pass
    changed: bool = False  # the file is no longer the one that was run


def record_run(checkout: Checkout, outcomes: list[Outcome], expected: dict[str, int]) -> None:
    """Stores one run per kata among `outcomes`; `expected` counts the tests of each kata whose tests were all to run."""
    by_kata: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_kata.setdefault(outcome.kata, []).append(outcome)
    with _connect(checkout) as db:
        for kata, found in by_kata.items():
            judged = any(o.verdict != "skipped" for o in found)  # --benchmark-only skips every test
            whole = judged and len(found) == expected.get(kata)
            run = db.execute(
                "INSERT INTO run(at, kata, source, complete) VALUES (?, ?, ?, ?)",
                (time.time(), kata, digest(checkout.stub(kata)), whole),
            ).lastrowid
            rows = [(run, o.test, o.stage, o.verdict, o.message[:2000], o.seconds) for o in found]
            db.executemany("INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?)", rows)


def record_event(checkout: Checkout, kata: str, what: str, detail: str = "") -> None:
    """Stores that a hint was taken ("hint", its rung), a solution seen ("solution"), a stub restored ("reset")."""
    with _connect(checkout) as db:
        if what == "reset":  # runs up to this one were of what the learner has put aside
            detail = str(db.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()[0])
        db.execute("INSERT INTO event(at, kata, what, detail) VALUES (?, ?, ?, ?)", (time.time(), kata, what, detail))


def count_events(checkout: Checkout, kata: str, what: str) -> int:
    """How often `what` happened to this kata since its stub was last restored."""
    query = """SELECT count(*) FROM event WHERE kata = ? AND what = ? AND id > (
                   SELECT coalesce(max(id), 0) FROM event WHERE kata = ? AND what = 'reset')"""
    with _connect(checkout) as db:
        return int(db.execute(query, (kata, what, kata)).fetchone()[0])


def ever_solved(checkout: Checkout, kata: str) -> bool:
    """Whether some complete run of this kata passed every test that was not skipped."""
    query = """SELECT 1 FROM run JOIN outcome ON run = run.id WHERE kata = ? AND complete GROUP BY run.id
               HAVING sum(verdict NOT IN ('passed', 'skipped')) = 0 AND sum(verdict = 'passed') > 0 LIMIT 1"""
    with _connect(checkout) as db:
        return db.execute(query, (kata,)).fetchone() is not None


def progress(checkout: Checkout, kata: str) -> Progress:
    """Where the learner stands with this kata since its stub was last restored."""
    with _connect(checkout) as db:
        run = db.execute(
            """SELECT id, source FROM run WHERE kata = ? AND complete AND id > (
                   SELECT coalesce(max(CAST(detail AS INTEGER)), 0) FROM event WHERE kata = ? AND what = 'reset')
               ORDER BY id DESC LIMIT 1""",
            (kata, kata),
        ).fetchone()
        rows = db.execute("SELECT stage, verdict FROM outcome WHERE run = ?", (run[0],)).fetchall() if run else []
    counted = [(stage, verdict) for stage, verdict in rows if verdict != "skipped"]
    passed = sum(verdict == "passed" for _, verdict in counted)
    all_stages = sorted({stage for stage, _ in counted if stage})
    done = tuple(n for n in all_stages if all(verdict == "passed" for stage, verdict in counted if stage == n))
    changed = bool(run) and run[1] != digest(checkout.stub(kata))
    if counted and passed == len(counted):
        state = "solved"
    elif any(verdict != "not started" for _, verdict in counted):
        state = "started"
    else:
        state = "not started"
    return Progress(state, passed, len(counted), done, changed)


def digest(path: Path) -> str:
    """A short hash of one file; empty when it is not there."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    except OSError:
        return ""


@contextmanager
def _connect(checkout: Checkout) -> Iterator[sqlite3.Connection]:
    """One transaction. Waits for another kata process; sets a damaged file aside and begins a new one."""
    file = checkout.state / "history.sqlite"
    try:
        checkout.state.mkdir(exist_ok=True)
        try:
            db = _open(file)
        except sqlite3.OperationalError:  # locked, unwritable, full: not damage
            raise
        except sqlite3.DatabaseError:
            _set_aside(file)
            db = _open(file)
    except (OSError, sqlite3.Error) as error:
        raise Problem(
            f"{checkout.shown(file)} cannot be used ({error}); your work is safe, but progress is not recorded."
        ) from error
    try:
        with db:
            yield db
    except sqlite3.Error as error:
        db.close()
        if type(error) is sqlite3.DatabaseError:  # bad pages under a good header; the next use begins a new file
            _set_aside(file)
        raise Problem(
            f"{checkout.shown(file)} cannot be used ({error}); your work is safe, but progress is not recorded."
        ) from error
    finally:
        db.close()


def _set_aside(file: Path) -> None:
    aside = file.with_name(f"history.damaged-{time.time_ns()}.sqlite")
    for part in ("", "-wal", "-shm"):
        with suppress(OSError):
            file.with_name(file.name + part).rename(aside.with_name(aside.name + part))


def _open(file: Path) -> sqlite3.Connection:
    db = sqlite3.connect(file, timeout=10)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        if db.execute("PRAGMA user_version").fetchone()[0] == 0:
            db.executescript(SCHEMA)
    except BaseException:
        db.close()
        raise
    return db
