"""The history file `.dojo/history.sqlite`: its tables and views, and how it is opened, migrated, or set aside if damaged.

Statements stand in the module of their table: runs (run, outcome, named, event), sessions (session, session_event),
schedule (review, card), plan. attempts reads several tables.

Any trouble with the file becomes a UserError. Its sentence is printed and practice goes on, because no work is lost.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.files import owner_advice
from dojo.core.language import say
from dojo.core.outcome import is_solved
from dojo.core.paths import Checkout

LOCK_TIMEOUT_S = 10  # another kata process may be writing
_set_aside_now: list[Path] = []  # the damaged files that this process has set aside and not told of

MIGRATIONS = (
    """
    CREATE TABLE run(
        id INTEGER PRIMARY KEY, at REAL NOT NULL, kata TEXT NOT NULL, source TEXT NOT NULL,
        complete INTEGER NOT NULL  -- 1 when every test of the kata was part of the run
    );
    CREATE TABLE outcome(
        run INTEGER NOT NULL REFERENCES run(id), test TEXT NOT NULL, stage INTEGER NOT NULL, verdict TEXT NOT NULL,
        message TEXT NOT NULL, seconds REAL NOT NULL
    );
    CREATE TABLE event(
        id INTEGER PRIMARY KEY, at REAL NOT NULL, kata TEXT NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL
    );
    CREATE INDEX run_kata ON run(kata, at);
    """,
    """
    ALTER TABLE run ADD COLUMN how TEXT NOT NULL DEFAULT 'test';  -- test, watch, drill, hunt
    ALTER TABLE run ADD COLUMN session INTEGER REFERENCES session(id);  -- of a drill or a hunt
    CREATE INDEX outcome_run ON outcome(run);
    CREATE TABLE named(run INTEGER NOT NULL REFERENCES run(id), mistake TEXT NOT NULL, says TEXT NOT NULL);
    CREATE INDEX named_run ON named(run);
    CREATE TABLE session(
        id INTEGER PRIMARY KEY, kind TEXT NOT NULL,  -- drill, mock, hunt
        kata TEXT NOT NULL, started REAL NOT NULL, ended REAL, minutes REAL NOT NULL, folder TEXT NOT NULL,
        elapsed REAL NOT NULL DEFAULT 0,  -- seconds on its own clock, pauses left out
        points REAL, detail TEXT NOT NULL DEFAULT '{}'  -- JSON: what the kind needs beyond this
    );
    CREATE TABLE session_event(
        id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session(id), at REAL NOT NULL,
        elapsed REAL NOT NULL,  -- seconds on the session's own clock, pauses left out
        what TEXT NOT NULL, detail TEXT NOT NULL
    );
    CREATE INDEX session_event_session ON session_event(session);
    CREATE TABLE card(kata TEXT PRIMARY KEY, card TEXT NOT NULL, due REAL NOT NULL);  -- spaced repetition
    CREATE TABLE review(
        id INTEGER PRIMARY KEY, at REAL NOT NULL, kata TEXT NOT NULL, rating INTEGER NOT NULL, seconds REAL,
        hints INTEGER NOT NULL, source TEXT NOT NULL  -- what was judged: practice, drill
    );
    """,
    # `says` was the whole sentence that a run had printed; now it is the mistake's clause, and `whole` tells which sentence.
    """
    ALTER TABLE named ADD COLUMN whole INTEGER NOT NULL DEFAULT 1;  -- 0: only part of the result is the mistake's
    UPDATE named SET whole = 0, says = substr(says, length('Part of your result is exactly what you get when ') + 1)
        WHERE says LIKE 'Part of your result is exactly what you get when %';
    UPDATE named SET says = substr(says, length('Your result is exactly what you get when ') + 1)
        WHERE says LIKE 'Your result is exactly what you get when %';
    """,
    """
    CREATE TABLE plan(
        id INTEGER PRIMARY KEY, role TEXT NOT NULL, first TEXT NOT NULL,  -- the first day, as 2026-03-09
        days INTEGER NOT NULL, minutes INTEGER NOT NULL
    );
    """,
)

# `practice` marks runs of answers/ itself; drills and hunts run copies. A temporary view belongs to the connection and is
# not stored, so it needs no migration.
RUN_SUMMARY = """
    CREATE TEMP VIEW run_summary AS SELECT *, is_solved(passed, counted, complete) AS solved FROM (
        SELECT run.*, how IN ('test', 'watch') AS practice,
            (SELECT count(*) FROM outcome WHERE outcome.run = run.id AND verdict = 'passed') AS passed,
            (SELECT count(*) FROM outcome WHERE outcome.run = run.id AND verdict != 'skipped') AS counted
        FROM run
    )
"""


@contextmanager
def connect(checkout: Checkout) -> Iterator[sqlite3.Connection]:
    """Opens the history for one transaction. Waits for other kata processes; replaces a damaged file by a new one."""
    file = checkout.state / "history.sqlite"
    try:
        checkout.state.mkdir(exist_ok=True)
        try:
            db = _open(file)
        except sqlite3.OperationalError:  # locked, not writable, or the disk is full: the file is not damaged
            raise
        except sqlite3.DatabaseError:
            _set_aside(file)
            db = _open(file)
    except (OSError, sqlite3.Error) as error:
        raise _unusable(checkout, file, error) from error
    try:
        with db:
            yield db
    except sqlite3.Error as error:
        db.close()
        if type(error) is sqlite3.DatabaseError:  # damaged pages after an intact header; the next use makes a new file
            _set_aside(file)
        raise _unusable(checkout, file, error) from error
    finally:
        db.close()


def _unusable(checkout: Checkout, file: Path, error: Exception) -> UserError:
    parts = [file.with_name(file.name + part) for part in ("", "-wal", "-shm")]
    return UserError(
        say(
            "{file} cannot be used ({error}); your work is safe, but progress is not recorded.",
            file=checkout.shown(file),
            error=error,
        )
        + owner_advice(checkout.state, *parts)
    )


def tell_of_damage() -> str:
    """A sentence about the damaged files that this process has set aside since the last call; empty if there is none."""
    names = say(" and ").join(f".dojo/{file.name}" for file in _set_aside_now)
    _set_aside_now.clear()
    if not names:
        return ""
    return say(
        "The history was damaged and is set aside as {names}; a new one is begun. Your code is safe, but what you had "
        "solved counts again only after a run.",
        names=names,
    )


def _set_aside(file: Path) -> None:
    """Renames the damaged file and the two files that SQLite keeps beside it."""
    aside = file.with_name(f"history.damaged-{time.time_ns()}.sqlite")
    for part in ("", "-wal", "-shm"):
        with suppress(OSError):
            file.with_name(file.name + part).rename(aside.with_name(aside.name + part))
    if aside.is_file():
        _set_aside_now.append(aside)


def _open(file: Path) -> sqlite3.Connection:
    """A connection to the file, migrated to the newest schema."""
    db = sqlite3.connect(file, timeout=LOCK_TIMEOUT_S)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        if _version(db) < len(MIGRATIONS):
            db.execute("BEGIN IMMEDIATE")  # another process may be migrating it too
            for number in range(_version(db), len(MIGRATIONS)):
                for statement in _statements(MIGRATIONS[number]):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number + 1}")
            db.commit()
        if _version(db) > len(MIGRATIONS):
            raise sqlite3.OperationalError("a newer version of this repository wrote it; update with `git pull`")
        db.create_function("is_solved", 3, is_solved, deterministic=True)
        db.execute("PRAGMA temp_store = MEMORY")  # the view must not need room on a full disk
        db.execute(RUN_SUMMARY)
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """The statements of `script`, one at a time. (`executescript` would commit the open transaction.)"""
    part = ""
    for line in script.splitlines():
        part += line + "\n"
        if sqlite3.complete_statement(part):
            yield part
            part = ""
