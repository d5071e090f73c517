"""Which resets of a stub still stand. A reset ends one try at a kata and begins the next.

It is undone when the text that it put aside is run again: somebody has brought an old answer back, and the try that it
belongs to goes on.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Reset:
    """One restoring of a kata's stub. It is stored as an event whose detail is "LAST_RUN PUT_ASIDE"."""

    id: int  # of the event
    at: float
    last_run: int  # the id of the last run that began before it
    put_aside: str  # the digest of the text that it replaced; "" if that was the stub, or in an older history

    @classmethod
    def from_event(cls, id: int, at: float, detail: str) -> "Reset":
        last_run, _, put_aside = detail.partition(" ")
        return cls(id, at, int(last_run or 0), put_aside)


def standing_resets(resets: Sequence[Reset], runs: Iterable[tuple[int, str]]) -> list[Reset]:
    """Those of `resets` that no run has undone. `runs` are (id, digest of the text); both have the oldest first.

    A run of a text that was put aside undoes that reset and those after it.
    """
    standing: list[Reset] = []
    later = list(resets)
    for run, text in runs:
        while later and later[0].last_run < run:
            standing.append(later.pop(0))
        undone = next((index for index, reset in enumerate(standing) if text and reset.put_aside == text), None)
        if undone is not None:
            del standing[undone:]
    return standing + later


def read_resets(db: sqlite3.Connection, kata: str) -> list[Reset]:
    """The resets of this kata that stand, oldest first."""
    events = db.execute("SELECT id, at, detail FROM event WHERE kata = ? AND what = 'reset' ORDER BY id", (kata,))
    resets = [Reset.from_event(*event) for event in events]
    if not any(reset.put_aside for reset in resets):
        return resets
    runs = db.execute("SELECT id, source FROM run_summary WHERE kata = ? AND practice ORDER BY id", (kata,))
    return standing_resets(resets, runs)


def add_run_before_resets(db: sqlite3.Connection, kata: str, run: int, began: float, ended: float) -> None:
    """Notes that `run`, which is stored now, began before the resets made while it went on: it belongs to the try before.

    A reset that seems to lie later than the end of the run was made by a clock that has been set back; it stays as it is.
    """
    query = "SELECT id, at, detail FROM event WHERE kata = ? AND what = 'reset' AND at > ? AND at <= ?"
    for event in db.execute(query, (kata, began, ended)).fetchall():
        reset = Reset.from_event(*event)
        db.execute("UPDATE event SET detail = ? WHERE id = ?", (f"{run} {reset.put_aside}".rstrip(), reset.id))
