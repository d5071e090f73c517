"""What is remembered: every run of the learner's own katas, the hints taken, the solutions looked at (dojo.progress.database)."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dojo.core.files import digest
from dojo.core.outcome import Diagnosis, Outcome
from dojo.core.paths import Checkout
from dojo.progress.database import connect

OWN = "how IN ('test', 'watch')"  # runs of katas/, not of a drill's or a hunt's copy


@dataclass(frozen=True)
class Progress:
    """Where the learner stands with one kata, by the newest complete run of the file as it now is."""

    state: str  # "not started", "started", "solved"
    passed: int = 0
    total: int = 0
    stages: tuple[int, ...] = ()  # stages whose tests all pass
    changed: bool = False  # the file is no longer the one that was run


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
    """Stores one run per kata among `outcomes`.

    `expected` counts the tests of each kata whose tests were all to run; `diagnoses` holds those of each kata;
    `source` is the digest of the file that was run (None: of the file as it now is).
    """
    by_kata: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        by_kata.setdefault(outcome.kata, []).append(outcome)
    with connect(checkout) as db:
        for kata, found in by_kata.items():
            judged = any(o.verdict != "skipped" for o in found)  # --benchmark-only skips every test
            whole = judged and len(found) == expected.get(kata)
            run = db.execute(
                "INSERT INTO run(at, kata, source, complete, how, session) VALUES (?, ?, ?, ?, ?, ?)",
                (time.time(), kata, digest(checkout.stub(kata)) if source is None else source, whole, how, session),
            ).lastrowid
            rows = [(run, o.test, o.stage, o.verdict, o.message[:2000], o.seconds) for o in found]
            db.executemany("INSERT INTO outcome VALUES (?, ?, ?, ?, ?, ?)", rows)
            named = [(run, d.mistake, d.says, d.whole) for d in (diagnoses or {}).get(kata, ())]
            db.executemany("INSERT INTO named(run, mistake, says, whole) VALUES (?, ?, ?, ?)", named)


def record_event(checkout: Checkout, kata: str, what: str, detail: str = "") -> None:
    """Stores that the question was read ("show"), a hint taken ("hint", its rung), a solution seen ("solution"), a stub
    restored ("reset")."""
    with connect(checkout) as db:
        if what == "reset":  # runs up to this one were of what the learner has put aside
            detail = str(db.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()[0])
        db.execute("INSERT INTO event(at, kata, what, detail) VALUES (?, ?, ?, ?)", (time.time(), kata, what, detail))


def count_events(checkout: Checkout, kata: str, what: str) -> int:
    """How often `what` happened to this kata since its stub was last restored."""
    query = """SELECT count(*) FROM event WHERE kata = ? AND what = ? AND id > (
                   SELECT coalesce(max(id), 0) FROM event WHERE kata = ? AND what = 'reset')"""
    with connect(checkout) as db:
        return int(db.execute(query, (kata, what, kata)).fetchone()[0])


def ever_solved(checkout: Checkout, kata: str, *, since_reset: bool = False) -> bool:
    """Whether some complete run of this kata (since its stub was last restored) passed every test that was not skipped."""
    query = f"""SELECT 1 FROM run JOIN outcome ON run = run.id WHERE kata = ? AND complete AND {OWN} AND run.id > (
                   SELECT coalesce(max(CAST(detail AS INTEGER)), 0) FROM event WHERE kata = ? AND what = 'reset' AND ?)
               GROUP BY run.id HAVING sum(verdict NOT IN ('passed', 'skipped')) = 0 AND sum(verdict = 'passed') > 0 LIMIT 1"""
    with connect(checkout) as db:
        return db.execute(query, (kata, kata, since_reset)).fetchone() is not None


def last_kata(checkout: Checkout) -> str:
    """The kata whose own file was run last; empty when none ever was."""
    with connect(checkout) as db:
        row = db.execute(f"SELECT kata FROM run WHERE {OWN} ORDER BY id DESC LIMIT 1").fetchone()
    return str(row[0]) if row else ""


def progress(checkout: Checkout, kata: str) -> Progress:
    """Where the learner stands with this kata since its stub was last restored."""
    with connect(checkout) as db:
        run = db.execute(
            f"""SELECT id, source FROM run WHERE kata = ? AND complete AND {OWN} AND id > (
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
