"""A drill as it is remembered. Every step is committed as it happens, so a killed terminal loses two seconds at most."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from dojo.core import clock
from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.paths import Checkout
from dojo.core.stubs import stub
from dojo.progress.database import connect
from dojo.progress.runs import record_run

T = TypeVar("T")


@dataclass
class Session:
    """One drill. `id` is 0 when it cannot be recorded; it then runs all the same and cannot be resumed."""

    id: int
    kind: str  # drill; hunt and mock have rows of their own
    kata: str
    minutes: float
    folder: Path
    started: float
    ended: float | None = None
    elapsed: float = 0.0  # seconds, pauses left out
    points: float | None = None
    detail: dict[str, Any] = field(default_factory=dict)  # stage, phase, and what the end needs

    @property
    def file(self) -> Path:
        return self.folder / f"{self.kata}.py"

    @property
    def left(self) -> float:
        """Seconds until time is up."""
        return max(0.0, self.minutes * 60 - self.elapsed)


@dataclass(frozen=True)
class Event:
    """Something that happened in a drill, `elapsed` seconds into it."""

    elapsed: float
    what: str  # begin, stage, hint, pause, resume, sleep, time, grade, follow-up, end
    detail: str


class Log:
    """Writes to the history. Trouble with it is kept in `trouble` for the screen, and the drill goes on."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.trouble = ""
        self.kept: list[Event] = []  # of a session that cannot be recorded

    def _try(self, action: Callable[[], T], otherwise: T) -> T:
        try:
            return action()
        except UserError as problem:
            self.trouble = str(problem)
            return otherwise

    def begin(self, kata: Kata, minutes: float, kind: str = "drill", **detail: Any) -> Session:
        """A session with a fresh stub in a folder of its own."""
        folder = new_folder(self.checkout, f"{kind}s", kata.name)
        write(folder / f"{kata.name}.py", stub(self.checkout, kata.name))
        session = Session(0, kind, kata.name, minutes, folder, clock.now(), detail={"stage": 1, **detail})
        return self.add(session)

    def add(self, session: Session) -> Session:
        """Stores a new session, and that it has begun."""

        def insert() -> int:
            with connect(self.checkout) as db:
                row = (session.kind, session.kata, session.started, session.minutes, _stored(self.checkout, session))
                return int(
                    db.execute(
                        "INSERT INTO session(kind, kata, started, minutes, folder, detail) VALUES (?, ?, ?, ?, ?, ?)",
                        (*row, json.dumps(session.detail)),
                    ).lastrowid
                    or 0
                )

        session.id = self._try(insert, 0)
        self.note(session, "begin", session.kata)
        return session

    def save(self, session: Session) -> None:
        """The clock, the detail, and the end once it has come."""
        if not session.id:
            return

        def update() -> None:
            with connect(self.checkout) as db:
                db.execute(
                    "UPDATE session SET elapsed = ?, ended = ?, points = ?, detail = ? WHERE id = ?",
                    (session.elapsed, session.ended, session.points, json.dumps(session.detail), session.id),
                )

        self._try(update, None)

    def note(self, session: Session, what: str, detail: str = "") -> None:
        """One event, and with it where the clock stands."""
        if not session.id:
            self.kept.append(Event(session.elapsed, what, detail))
            return

        def insert() -> None:
            with connect(self.checkout) as db:
                db.execute(
                    "INSERT INTO session_event(session, at, elapsed, what, detail) VALUES (?, ?, ?, ?, ?)",
                    (session.id, clock.now(), session.elapsed, what, detail),
                )

        self._try(insert, None)
        self.save(session)

    def run(self, session: Session, verdict: Any, named: tuple[tuple[str, str], ...]) -> None:
        """One run of the session's file."""
        self._try(
            lambda: record_run(
                self.checkout,
                verdict.outcomes,
                verdict.expected,
                named={session.kata: named},
                source=verdict.source,
                how=session.kind,
                session=session.id or None,
            ),
            None,
        )

    def events(self, session: Session) -> list[Event]:
        if not session.id:
            return self.kept

        def read() -> list[Event]:
            with connect(self.checkout) as db:
                rows = db.execute(
                    "SELECT elapsed, what, detail FROM session_event WHERE session = ? ORDER BY id", (session.id,)
                )
                return [Event(*row) for row in rows]

        return self._try(read, [])

    def sessions(self) -> list[Session]:
        """All sessions, oldest first."""
        return self._select("1")

    def unfinished(self) -> list[Session]:
        """The sessions that have not ended, oldest first."""
        return self._select("ended IS NULL")

    def hunts(self) -> list[Session]:
        """All hunts, oldest first."""
        return self._select("kind = 'hunt'")

    def earlier_drills(self, session: Session) -> list[Session]:
        """The finished drills of the same kata that began before `session`, oldest first."""
        return self._select("kata = ? AND kind = 'drill' AND id < ? AND ended", session.kata, session.id)

    def reload(self, session: Session) -> Session:
        """The session as it is stored."""
        (stored,) = self._select("id = ?", session.id)
        return stored

    def _select(self, where: str, *values: Any) -> list[Session]:
        """The sessions that fit an SQL condition, oldest first."""

        def read() -> list[Session]:
            with connect(self.checkout) as db:
                rows = db.execute(
                    "SELECT id, kind, kata, minutes, folder, started, ended, elapsed, points, detail FROM session "
                    f"WHERE {where} ORDER BY id",
                    values,
                ).fetchall()
            return [
                Session(
                    id, kind, kata, minutes, self.checkout.root / folder, at, end, elapsed, points, json.loads(detail)
                )
                for id, kind, kata, minutes, folder, at, end, elapsed, points, detail in rows
            ]

        return self._try(read, [])

    def first_mistake(self, session: Session) -> str:
        """Name and sentence of the first mistake that a run of this session was named by; empty if none was."""

        def read() -> str:
            with connect(self.checkout) as db:
                row = db.execute(
                    "SELECT mistake, says FROM named JOIN run ON run = run.id WHERE session = ? ORDER BY run.id LIMIT 1",
                    (session.id,),
                ).fetchone()
            return f"{row[0]}. {row[1]}" if row else ""

        return self._try(read, "")

    def runs(self, session: Session) -> int:
        def read() -> int:
            with connect(self.checkout) as db:
                return int(db.execute("SELECT count(*) FROM run WHERE session = ?", (session.id,)).fetchone()[0])

        return self._try(read, 0)


def new_folder(checkout: Checkout, room: str, kata: str) -> Path:
    """`.dojo/<room>/<when>-<kata>`, made; never one that exists."""
    import time

    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(clock.now()))
    for number in range(1000):
        folder = checkout.state / room / f"{stamp}-{kata}{f'-{number}' if number else ''}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"{checkout.shown(folder)} cannot be made ({error.strerror}); make room and try again."
            ) from error
        return folder
    raise UserError(f"{checkout.shown(checkout.state / room)} is full of drills of this second; try again.")


def _stored(checkout: Checkout, session: Session) -> str:
    return session.folder.relative_to(checkout.root).as_posix()
