"""A drill without a terminal, a fork server or a watched folder: keys, saves and verdicts come from the test.

`room = Room(checkout, monkeypatch)`, then `app = room.drill()`, `app.press("h")`, `room.answer(app, "ppp", "pf")`,
`room.wait(60)`; `room.screen(app)` is what a person would see at 80x24.
"""

import io
import os
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path

from rich.console import Console

from dojo.core.catalog import load_catalog
from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.engine.messages import Diagnosed, JobDied, Verdict
from dojo.practice import app as practice_app
from dojo.practice.drill.app import DrillApp
from dojo.practice.hunt.app import HuntApp
from dojo.practice.terminal import Terminal
from dojo.progress.sessions import Session, SessionLog
from dojo.tests.progress.made_up_history import NOON

FINISH = ("escape", "f", "y", "e", "s", "enter")  # the keys that end a drill, from a page too
LETTERS = {"p": "passed", "f": "failed", "n": "not started", "s": "skipped", "e": "error"}


class FakeTerminal(Terminal):
    """Keeps the screen as text."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.console = Console(width=columns, height=rows, file=io.StringIO(), highlight=False)
        self.keys, self.typed = Pipe(duplex=False)
        self.screen = ""

    def draw(self, lines):
        self.screen = "\n".join(lines)

    def redraw(self):
        pass

    @contextmanager
    def suspended(self):
        yield


class FakeForkServer:
    """Keeps the jobs that were submitted, and runs none."""

    def __init__(self, checkout: Checkout) -> None:
        self.connection, self.answers = Pipe(duplex=False)
        self.jobs = []

    def submit(self, job):
        self.jobs.append(job)

    def messages(self, timeout: float = 0.0):
        return [self.connection.recv()] if self.connection.poll(timeout) else []

    def close(self):
        pass


class FakeSaves:
    """Sends the names that `Room.write` puts in."""

    def __init__(self, folder: Path) -> None:
        self.connection, self.sent = Pipe(duplex=False)

    def close(self):
        pass


def outcomes(*stages: str, message: str = "wrong") -> tuple[Outcome, ...]:
    """Outcomes from one word a stage, one letter a test: p(assed), f(ailed), n(ot started), s(kipped), e(rror)."""
    return tuple(
        Outcome(f"test_{stage}_{number}", "tiny", stage, LETTERS[letter], "" if letter == "p" else message)
        for stage, word in enumerate(stages, 1)
        for number, letter in enumerate(word)
    )


class Room:
    """Makes drills in a checkout, moves their clock, and sends them saves and verdicts."""

    def __init__(self, checkout: Checkout, monkeypatch) -> None:
        self.checkout = checkout
        self.kata = load_catalog(checkout)["tiny"]
        self.log = SessionLog(checkout)
        self.clock = checkout.root / "clock"
        self.set(NOON)
        monkeypatch.setenv("KATA_CLOCK", str(self.clock))
        monkeypatch.setattr(practice_app, "ForkServer", FakeForkServer)
        monkeypatch.setattr(practice_app, "FileWatcher", FakeSaves)

    def set(self, now: float) -> None:
        self.now = now
        beside = self.clock.with_name("clock.new")
        beside.write_text(str(now))
        os.replace(beside, self.clock)

    def wait(self, seconds: float, app: DrillApp | None = None) -> None:
        self.set(self.now + seconds)
        if app:
            app.tick()

    def drill(self, session: Session | None = None, minutes: float = 5, size=(80, 24)) -> DrillApp:
        session = session or self.log.begin_drill(self.kata, minutes)
        kind = HuntApp if session.kind == "hunt" else DrillApp
        return kind(self.checkout, self.kata, session, self.log, FakeTerminal(*size))

    def resume(self, app: DrillApp) -> DrillApp:
        """What another process does after this one has ended."""
        if app.lock_file:
            app.lock_file.close()
        (session,) = [session for session in self.log.sessions() if session.id == app.session.id]
        return self.drill(session)

    def write(self, app: DrillApp, text: str) -> None:
        """FileWatcher the file, and reports it as the file watcher would."""
        app.session.file.write_text(text)
        app.saves.sent.send({"tiny"})
        app.handle_events()

    def answer(self, app: DrillApp, *stages: str, diagnoses=(), message: str = "wrong") -> None:
        """Sends the verdict on the newest job."""
        results = outcomes(*stages, message=message)
        number = app.forkserver.jobs[-1].number
        app.handle_message(Verdict(number, results, {"tiny": len(results)}, "digest", 0.1))
        if any(o.verdict == "failed" for o in results):
            app.handle_message(Diagnosed(number, tuple(diagnoses)))

    def broken(self, app: DrillApp, sentence: str) -> None:
        """Sends the verdict on a file that cannot be imported."""
        results = (Outcome("test_tiny.py", "tiny", 0, "error", sentence),)
        app.handle_message(Verdict(app.forkserver.jobs[-1].number, results, {}, "digest", 0.1))

    def hang(self, app: DrillApp) -> None:
        app.handle_message(JobDied(app.forkserver.jobs[-1].number, "was still running after 20 s", "test_1_0"))

    def screen(self, app: DrillApp) -> str:
        app.draw()
        return app.terminal.screen

    def events(self, app: DrillApp) -> list[tuple[float, str, str]]:
        return [(event.elapsed, event.kind, event.detail) for event in self.log.events(app.session)]


def press(app: DrillApp, *keys: str) -> None:
    for key in keys:
        app.press(key)
