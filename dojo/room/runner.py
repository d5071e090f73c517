"""The runs of the room: one thread with one fork server, whatever number of windows is open."""

import threading
from dataclasses import dataclass

from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.files import digest
from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.practice.headless import Headless
from dojo.practice.live_run import LiveRun
from dojo.progress.standing import solved_in_this_try
from dojo.room.html import render_verdict


@dataclass(frozen=True)
class Shown:
    """What the windows of one kata show of its verdict; `version` grows with every change."""

    version: int = 0
    verdict: str = ""  # HTML
    lights: str = ""  # HTML
    failures: int = 0
    solved: bool = False


class Runner:
    """Runs the tests of the katas that it is told of, one after another; the newest save of a kata ends its older run."""

    def __init__(self, checkout: Checkout, catalog: Catalog) -> None:
        self.checkout = checkout
        self.headless = Headless(checkout, catalog)
        self.shown: dict[str, Shown] = {}
        self._live_runs: dict[str, LiveRun] = {}
        self._asked: dict[str, str] = {}  # kata -> the digest of its file when a run was asked for last
        self._waiting: dict[str, Kata] = {}
        self._condition = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, kata: Kata, *, again: bool = False) -> None:
        """Asks for a run of the learner's file, unless one of this very content was asked for (or `again`)."""
        now = digest(self.checkout.answer(kata.name))
        with self._condition:
            if now and (again or self._asked.get(kata.name) != now):
                self._asked[kata.name] = now
                self._waiting[kata.name] = kata
                self._condition.notify()

    def next_failure(self, kata: Kata) -> None:
        """Shows the next failure of the last verdict."""
        live_run = self._live_runs.get(kata.name)
        if live_run and live_run.next_failure():
            self._show(live_run)

    def close(self) -> None:
        with self._condition:
            self._closed = True
            self._condition.notify()
        self._thread.join()

    def _work(self) -> None:
        try:
            self.headless.warm_up()
            while kata := self._next():
                self._run(kata)
        finally:
            self.headless.close()

    def _next(self) -> Kata | None:
        with self._condition:
            self._condition.wait_for(lambda: self._closed or self._waiting)
            return None if self._closed else self._waiting.pop(next(iter(self._waiting)))

    def _run(self, kata: Kata) -> None:
        live_run = self._live_runs.setdefault(kata.name, LiveRun(kata))
        try:
            live_run.solved_before = solved_in_this_try(self.checkout, kata.name)
            self.headless.run(kata, self._show, live_run, lambda: self._closed or kata.name in self._waiting)
        except UserError as error:
            live_run.notices = [str(error)]
        except Exception as error:  # the next save gets a new fork server
            live_run.notices = [
                say("The run ended by a fault of the trainer ({error!r}). The next save runs again.", error=error)
            ]
            live_run.waiting = False
            self.headless.close()
        self._show(live_run)

    def _show(self, live_run: LiveRun) -> None:
        name = live_run.kata.name
        verdict, lights = render_verdict(self.checkout, live_run)
        before = self.shown.get(name, Shown())
        solved = live_run.solved or live_run.solved_before
        self.shown[name] = Shown(before.version + 1, verdict, lights, len(live_run.failures), solved)
