"""Drills and hunts in the browser: the app of the terminal in a thread, with a page for a screen and buttons for keys."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe

from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout
from dojo.practice.drill.app import DrillApp
from dojo.practice.drill.clock import clock_text
from dojo.practice.hunt import view as hunt_view
from dojo.practice.hunt.app import HuntApp
from dojo.practice.hunt.start import any_seed, begin_hunt, hunt_minutes, plant_bugs
from dojo.practice.interview import check_folder
from dojo.practice.pages import Actions
from dojo.progress.session_state import Phase
from dojo.progress.sessions import Session, SessionLog
from dojo.room.html import render, render_verdict
from dojo.room.last_pages import last_page_of
from dojo.room.spare import Spare

AWAY_S = 20.0  # after which a drill that no window shows is left
START_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class SessionView:
    """What the windows of a session show."""

    phase: Phase = "work"
    clock: str = ""
    seconds_left: float = 0.0
    asked: str = ""  # HTML: the question, or the follow-up question
    lights: str = ""  # HTML
    verdict: str = ""  # HTML: the verdict, or the last page
    text: str = ""  # HTML: a hint that was taken
    sentences: tuple[str, ...] = ()
    missing: bool = False  # the file that is written in is gone
    hints_left: int = 0
    hint_points: int = 0


class Buttons:
    """Stands where the apps expect a terminal: what comes through `keys` are names of commands."""

    def __init__(self) -> None:
        self.keys, self._sender = Pipe(duplex=False)

    def press(self, command: str) -> None:
        self._sender.send(command)


class RoomDrill(DrillApp):
    """A drill whose screen is a page, and whose keys are buttons."""

    view = SessionView()
    text = ""
    looked_at = 0.0  # when a window last showed it, by the monotonic clock

    def draw(self) -> None:
        """Makes the view anew: the windows look at it."""
        self.view = view_of(self)

    def show_text(self, title: str, text: str, actions: Actions | None = None) -> None:
        self.text = render("text", title=title, text=text)

    def close_pages(self) -> None:  # a hint stays beside the editor
        if self.phase != "work":
            self.text = ""

    def press(self, key: str) -> None:
        self.message = ""
        commands = self.commands()
        if key in commands:
            commands[key]()

    def commands(self) -> Mapping[str, Callable[[], object]]:
        """What can be done in this phase."""
        if self.phase == "work":
            return {
                "hint": self.hint,
                "explain": self.explain,
                "pause": self.pause,
                "finish": self.grade,
                "look again": self.look_again,
                "leave": self.leave,
            }
        if self.phase == "paused":
            return {"resume": self.resume, "leave": self.leave}
        if self.phase == "asking":
            return {"answer": lambda: self.enter("answered"), "leave": self.leave}
        if self.phase == "answered":
            ratings = {f"rate {number}": lambda key=str(number): self.do_key_action(key) for number in range(4)}
            return {**ratings, "leave": self.leave}
        return {"leave": self.leave}

    def look_again(self) -> None:
        """Watches the folder anew: it was deleted, and the file was put back."""
        self.saves.close()
        self.watch_folder(self.session.folder)
        self.start_run()

    def tick(self) -> None:
        if self.phase != "grading" and time.monotonic() - self.looked_at > AWAY_S:
            self.leave()  # the window was closed: `kata drill --resume` may go on with it
        super().tick()


class RoomHunt(RoomDrill, HuntApp):
    """The same of a hunt."""


def view_of(app: RoomDrill) -> SessionView:
    """All that a window needs, from the state of the app."""
    session, phase, kata = app.session, app.phase, app.kata
    live_run = app.book.shown(app.live_run)
    verdict, lights = render_verdict(app.checkout, live_run)
    hunt = app.hunt if isinstance(app, RoomHunt) else None
    if phase in ("asking", "answered"):
        number = len(app.state.ratings)
        asked = render(
            "follow_up",
            points=session.points,
            number=number + 1,
            of=len(app.follow_ups),
            item=app.follow_ups[number],
            answered=phase == "answered",
        )
    elif phase in ("work", "paused"):
        asked = render("stage", kata=kata, stage=app.state.stage, task=hunt_view.task(hunt) if hunt else "")
    else:
        asked = ""
    if phase == "done":
        verdict = last_page_of(app.checkout, kata, session, app.log)
    elif phase != "work":
        verdict = render("between", phase=phase)
    available = len(hunt.bugs) if hunt else len(kata.hints)
    return SessionView(
        phase=phase,
        clock=_clock(session),
        seconds_left=session.seconds_left,
        asked=asked,
        lights=lights if phase == "work" else "",
        verdict=verdict,
        text=app.text if phase == "work" else "",
        sentences=tuple(app.sentences()),
        missing=phase == "work" and not app.file.is_file(),
        hints_left=max(0, available - app.state.hints),
        hint_points=app.hint_points,
    )


def _clock(session: Session) -> str:
    phase, left = session.state.phase, session.seconds_left
    if phase in ("work", "paused"):
        time_left = clock_text(left)
        return say("{time} left, paused", time=time_left) if phase == "paused" else say("{time} left", time=time_left)
    return say("done in {time}", time=clock_text(session.elapsed)) if left else say("time is up")


class OpenSession:
    """A drill or hunt that this room runs, in a thread of its own until it is over or left."""

    def __init__(self, checkout: Checkout, kata: Kata, session: Session, log: SessionLog, spare: Spare) -> None:
        self.kata, self.session, self.spare = kata, session, spare
        self.buttons = Buttons()
        self.trouble = ""
        self.app: RoomDrill | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(checkout, kata, session, log), daemon=True)
        self._thread.start()
        self._begun.wait(START_TIMEOUT_S)
        if self.trouble:
            raise UserError(self.trouble)

    def _run(self, checkout: Checkout, kata: Kata, session: Session, log: SessionLog) -> None:
        make = RoomHunt if session.kind == "hunt" else RoomDrill
        forkserver = self.spare.take()
        try:
            app = make(checkout, kata, session, log, self.buttons, forkserver=forkserver)  # type: ignore[arg-type]  # no terminal
            app.looked_at = time.monotonic()
            app.draw()
            self.app = app
            self._begun.set()
            app.run_until_done()
        except UserError as error:
            self.trouble = str(error)
        except Exception as error:
            hunt = to_say("This hunt ended by a fault of the trainer ({error!r}); go on with it: reload the page.")
            drill = to_say("This drill ended by a fault of the trainer ({error!r}); go on with it: reload the page.")
            self.trouble = say(hunt if session.kind == "hunt" else drill, error=error)
            raise
        finally:
            self._begun.set()
            self.spare.give_back(forkserver)

    @property
    def view(self) -> SessionView:
        """What to show now; whoever asks is a window that shows it."""
        if self.app:
            self.app.looked_at = time.monotonic()
            return self.app.view
        return SessionView()

    @property
    def runs(self) -> bool:
        return self._thread.is_alive() and not self.trouble

    def press(self, command: str) -> None:
        with suppress(OSError, ValueError):  # it has just ended
            self.buttons.press(command)

    def leave(self) -> None:
        """Ends the thread; the clock stands."""
        self.press("leave")
        self._thread.join(START_TIMEOUT_S)


class Sessions:
    """The drills and hunts of this room, by their number in the history."""

    def __init__(self, checkout: Checkout, catalog: Catalog) -> None:
        self.checkout, self.catalog = checkout, catalog
        self.open: dict[int, OpenSession] = {}
        self.spare = Spare(checkout)
        self._lock = threading.Lock()
        self._unrecorded = 0

    def begin_drill(self, kata: Kata, minutes: float, round_id: int | None = None) -> int:
        log = SessionLog(self.checkout)
        return self._open(kata, log.begin_drill(kata, minutes, round_id), log)

    def begin_hunt(self, kata: Kata, bugs: int, minutes: float | None = None, round_id: int | None = None) -> int:
        """Plants the bugs, which takes some seconds, and begins."""
        log, seed = SessionLog(self.checkout), any_seed()
        forkserver = self.spare.take()
        try:
            planted = plant_bugs(self.checkout, kata, bugs, seed, forkserver)
        finally:
            self.spare.give_back(forkserver)
        hunt = begin_hunt(log, kata, planted, seed, minutes or hunt_minutes(bugs), round_id)
        return self._open(kata, hunt, log)

    def unfinished(self) -> list[Session]:
        """What can be gone on with; the newest first. The parts of a mock interview belong to it."""
        sessions = SessionLog(self.checkout).sessions()
        return [
            session
            for session in reversed(sessions)
            if session.ended is None
            and session.state.round_id is None
            and session.folder.is_dir()
            and (session.kind == "mock" or session.kata in {kata.name for kata in self.catalog.katas})
        ]

    def find(self, number: int) -> Session | None:
        return next((session for session in SessionLog(self.checkout).sessions() if session.id == number), None)

    def running(self, number: int) -> OpenSession | None:
        """The session, if this room runs it."""
        found = self.open.get(number)
        return found if found and (found.runs or found.view.phase == "done") else None

    def resume(self, session: Session) -> int:
        log = SessionLog(self.checkout)
        check_folder(log, session)
        return self._open(self.catalog[session.kata], session, log)

    def close(self) -> None:
        """Leaves them all: their clocks stand."""
        for session in self.open.values():
            session.leave()
        self.spare.close()

    def _open(self, kata: Kata, session: Session, log: SessionLog) -> int:
        with self._lock:
            if session.id and self.running(session.id):
                return session.id  # another window was faster
            self._unrecorded -= not session.id
            number = session.id or self._unrecorded
            self.open[number] = OpenSession(self.checkout, kata, session, log, self.spare)
            return number
