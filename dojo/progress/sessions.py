"""Drills, hunts and mock interviews in the history.

Every step is committed when it happens, so a killed terminal loses no more than the seconds since the last heartbeat.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from dojo.core import clock
from dojo.core.answers import learners_stub
from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.files import owner_advice, write
from dojo.core.language import say
from dojo.core.outcome import Diagnosis, Outcome
from dojo.core.paths import Checkout
from dojo.progress.database import connect, tell_of_damage
from dojo.progress.runs import record_run
from dojo.progress.session_state import DrillState

T = TypeVar("T")


@dataclass
class Session:
    """One drill, hunt or mock interview. `id` is 0 if it could not be recorded; it then runs and cannot be resumed."""

    id: int
    kind: str  # "drill", "hunt" or "mock"
    kata: str  # empty in a mock interview
    minutes: float
    folder: Path
    started: float
    ended: float | None = None
    elapsed: float = 0.0  # seconds worked, without pauses
    points: float | None = None
    state: DrillState = field(default_factory=DrillState)

    @property
    def file(self) -> Path:
        """The file to write in."""
        return self.folder / f"{self.kata}.py"

    @property
    def attempt(self) -> Path:
        """The copy of that file that is graded."""
        return self.folder / "attempt" / f"{self.kata}.py"

    @property
    def seconds_left(self) -> float:
        return max(0.0, self.minutes * 60 - self.elapsed)


@dataclass(frozen=True)
class Event:
    """Something that happened in a session, `elapsed` seconds into it."""

    elapsed: float
    kind: str  # begin, stage, hint, pause, resume, sleep, time, grade, follow-up, end
    detail: str


class SessionLog:
    """Reads and writes sessions. An error of the history is kept in `trouble` for the screen, and the session goes on."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.trouble = ""
        self._unrecorded: list[Event] = []  # of a session that could not be recorded

    def _try(self, action: Callable[[], T], otherwise: T) -> T:
        try:
            result = action()
        except UserError as error:
            self.trouble = str(error)
            return otherwise
        self.trouble = tell_of_damage() or self.trouble
        return result

    def begin_drill(self, kata: Kata, minutes: float, round_id: int | None = None) -> Session:
        """Records and returns a drill with a fresh stub in a folder of its own."""
        folder = new_folder(self.checkout, "drills", kata.name)
        write(folder / f"{kata.name}.py", learners_stub(self.checkout, kata.name))
        state = DrillState(round_id=round_id)
        return self.add(Session(0, "drill", kata.name, minutes, folder, clock.now(), state=state))

    def add(self, session: Session) -> Session:
        """Stores a new session and its first event. Returns it with its id."""

        def insert() -> int:
            folder = session.folder.relative_to(self.checkout.work).as_posix()
            row = (session.kind, session.kata, session.started, session.minutes, folder, session.state.to_json())
            with connect(self.checkout) as db:
                cursor = db.execute(
                    "INSERT INTO session(kind, kata, started, minutes, folder, detail) VALUES (?, ?, ?, ?, ?, ?)", row
                )
                return int(cursor.lastrowid or 0)

        session.id = self._try(insert, 0)
        self.add_event(session, "begin", session.kata)
        return session

    def save(self, session: Session) -> None:
        """Stores the clock, the points, the state, and the end once it has come."""
        if not session.id:
            return

        def update() -> None:
            with connect(self.checkout) as db:
                db.execute(
                    "UPDATE session SET elapsed = ?, ended = ?, points = ?, detail = ? WHERE id = ?",
                    (session.elapsed, session.ended, session.points, session.state.to_json(), session.id),
                )

        self._try(update, None)

    def add_event(self, session: Session, kind: str, detail: str = "") -> None:
        """Stores one event, and saves the session with it."""
        if not session.id:
            self._unrecorded.append(Event(session.elapsed, kind, detail))
            return

        def insert() -> None:
            with connect(self.checkout) as db:
                db.execute(
                    "INSERT INTO session_event(session, at, elapsed, what, detail) VALUES (?, ?, ?, ?, ?)",
                    (session.id, clock.now(), session.elapsed, kind, detail),
                )

        self._try(insert, None)
        self.save(session)

    def add_run(
        self,
        session: Session,
        outcomes: Sequence[Outcome],
        expected: Mapping[str, int],
        source: str,
        diagnoses: Sequence[Diagnosis],
    ) -> None:
        """Stores one run of the session's file, whose digest was `source`; the rest as in `record_run`."""
        self._try(
            lambda: record_run(
                self.checkout,
                outcomes,
                expected,
                sources={session.kata: source},
                began=time.time(),
                diagnoses={session.kata: diagnoses},
                how=session.kind,
                session=session.id or None,
            ),
            None,
        )

    def events(self, session: Session) -> list[Event]:
        if not session.id:
            return self._unrecorded

        def read() -> list[Event]:
            with connect(self.checkout) as db:
                rows = db.execute(
                    "SELECT elapsed, what, detail FROM session_event WHERE session = ? ORDER BY id", (session.id,)
                )
                return [Event(*row) for row in rows]

        return self._try(read, [])

    def sessions(self, only_kind: str = "") -> list[Session]:
        """All sessions (only those of one kind), oldest first."""

        def read() -> list[Session]:
            with connect(self.checkout) as db:
                rows = db.execute(
                    "SELECT id, kind, kata, minutes, folder, started, ended, elapsed, points, detail FROM session "
                    "WHERE ? IN ('', kind) ORDER BY id",
                    (only_kind,),
                ).fetchall()
            return [
                Session(
                    id=number,
                    kind=kind,
                    kata=kata,
                    minutes=minutes,
                    folder=self.checkout.work / folder,
                    started=started,
                    ended=ended,
                    elapsed=elapsed,
                    points=points,
                    state=DrillState.from_json(detail),
                )
                for number, kind, kata, minutes, folder, started, ended, elapsed, points, detail in rows
            ]

        return self._try(read, [])

    def earlier_drills(self, session: Session) -> list[Session]:
        """The finished drills of the same kata that began before this session."""
        drills = self.sessions("drill")
        return [drill for drill in drills if drill.kata == session.kata and drill.id < session.id and drill.ended]

    def mistakes(self, session: Session) -> dict[str, str]:
        """The mistakes diagnosed in this session, in the order in which they were first made: name -> sentence."""

        def read() -> dict[str, str]:
            with connect(self.checkout) as db:
                rows = db.execute(
                    "SELECT mistake, says, whole FROM named JOIN run ON run = run.id WHERE session = ? "
                    "ORDER BY run.id, named.rowid",
                    (session.id,),
                ).fetchall()
            sentences: dict[str, str] = {}
            for mistake, says, whole in rows:
                sentences.setdefault(mistake, Diagnosis(mistake, says, bool(whole)).sentence)
            return sentences

        return self._try(read, {})

    def count_runs(self, session: Session) -> int:
        def read() -> int:
            with connect(self.checkout) as db:
                return int(db.execute("SELECT count(*) FROM run WHERE session = ?", (session.id,)).fetchone()[0])

        return self._try(read, 0)


def new_folder(checkout: Checkout, parent: str, kata: str) -> Path:
    """Makes and returns `.dojo/<parent>/<time>-<kata>`, with a number behind it if that exists."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(clock.now()))
    for number in range(1000):
        folder = checkout.state / parent / f"{stamp}-{kata}{f'-{number}' if number else ''}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                say(
                    "{folder} cannot be made ({error}); make room and try again.",
                    folder=checkout.shown(folder),
                    error=error.strerror,
                )
                + owner_advice(folder.parent)
            ) from error
        return folder
    full = checkout.shown(checkout.state / parent)
    raise UserError(say("{folder} is full of drills of this second; try again.", folder=full))
