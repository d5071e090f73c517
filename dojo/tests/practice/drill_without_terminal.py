"""A drill without a terminal, a warm process or a watched folder: keys, saves and verdicts are handed in.

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
from dojo.practice.drill import app as drill_app
from dojo.practice.drill.app import DrillApp
from dojo.practice.hunt.app import HuntApp
from dojo.practice.terminal import Terminal
from dojo.progress.sessions import Log, Session
from dojo.tests.progress.made_up_history import NOON

LETTERS = {"p": "passed", "f": "failed", "n": "not started", "s": "skipped", "e": "error"}


class FakeTerminal(Terminal):
    """80 columns, 24 lines, and nobody there."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.console = Console(width=columns, height=rows, file=io.StringIO(), highlight=False)
        self.keys, self.typed = Pipe(duplex=False)
        self.screen = ""

    def draw(self, lines):
        self.screen = "\n".join(lines)

    def redraw(self):
        pass

    @contextmanager
    def lent(self):
        yield


class FakeNursery:
    """Remembers the jobs."""

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
    """`room.save` sends the names."""

    def __init__(self, folder: Path) -> None:
        self.connection, self.sent = Pipe(duplex=False)

    def close(self):
        pass


def outcomes(*stages: str, message: str = "wrong") -> tuple[Outcome, ...]:
    """A word of letters for each stage: p(assed), f(ailed), n(ot started), s(kipped), e(rror)."""
    return tuple(
        Outcome(f"test_{stage}_{number}", "tiny", stage, LETTERS[letter], "" if letter == "p" else message)
        for stage, word in enumerate(stages, 1)
        for number, letter in enumerate(word)
    )


class Room:
    def __init__(self, checkout: Checkout, monkeypatch) -> None:
        self.checkout = checkout
        self.kata = load_catalog(checkout)["tiny"]
        self.log = Log(checkout)
        self.clock = checkout.root / "clock"
        self.set(NOON)
        monkeypatch.setenv("KATA_CLOCK", str(self.clock))
        monkeypatch.setattr(drill_app, "ForkServer", FakeNursery)
        monkeypatch.setattr(drill_app, "Saves", FakeSaves)

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
        session = session or self.log.begin(self.kata, minutes)
        kind = HuntApp if session.kind == "hunt" else DrillApp
        return kind(self.checkout, self.kata, session, self.log, FakeTerminal(*size))

    def resume(self, app: DrillApp) -> DrillApp:
        """What another process would do after this one has ended in whatever way."""
        if app.held:
            app.held.close()
        session = self.log.reload(app.session)
        return self.drill(session)

    def write(self, app: DrillApp, text: str) -> None:
        """A save, as the watched folder tells of it."""
        app.session.file.write_text(text)
        app.saves.sent.send({"tiny"})
        app.turn()

    def answer(self, app: DrillApp, *stages: str, named=(), message: str = "wrong") -> None:
        """The verdict on the job that was given last."""
        found = outcomes(*stages, message=message)
        number = app.forkserver.jobs[-1].number
        app.hear(Verdict(number, found, {"tiny": len(found)}, "digest", 0.1))
        if any(o.verdict == "failed" for o in found):
            app.hear(Diagnosed(number, tuple(named)))

    def broken(self, app: DrillApp, sentence: str) -> None:
        """The verdict on a file that cannot be imported."""
        found = (Outcome("test_tiny.py", "tiny", 0, "error", sentence),)
        app.hear(Verdict(app.forkserver.jobs[-1].number, found, {}, "digest", 0.1))

    def hang(self, app: DrillApp) -> None:
        app.hear(JobDied(app.forkserver.jobs[-1].number, "was still running after 20 s", "test_1_0"))

    def screen(self, app: DrillApp) -> str:
        app.draw()
        return app.terminal.screen

    def events(self, app: DrillApp) -> list[tuple[float, str, str]]:
        return [(event.elapsed, event.what, event.detail) for event in self.log.events(app.session)]


def press(app: DrillApp, *keys: str) -> None:
    for key in keys:
        app.press(key)
