"""The loop that watch, drill and hunt share: keys, saves and messages of the fork server come in, one screen goes out."""

import os
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from pathlib import Path

from dojo.core.catalog import Kata
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout
from dojo.engine.file_watcher import FileWatcher, Fingerprints
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Diagnosed, Job, JobDied, Message, Running, Verdict
from dojo.practice import screen
from dojo.practice.keys import TypingGuard
from dojo.practice.live_run import JOB_NUMBERS, LiveRun
from dojo.practice.pages import LEAVE_KEYS, SCROLL_STEPS, Actions, Page
from dojo.practice.question import Question
from dojo.practice.terminal import CLOSED, RESIZED, Terminal

DRAW_INTERVAL_S = 0.04  # at least this long between two drawings that show no more than the progress of a run
TYPED_TEXT = to_say("That was typed text, and no key. One key does what it says below.")
NO_EDITOR = to_say("No editor is set: export EDITOR=vim (or 'code -w'). Or open {file} yourself.")
NO_PROGRAM = to_say("{editor} could not be started ({error}). Set EDITOR to a program that is there.")


class App(ABC):
    """One kata on the screen, and its tests run on every save of `folder`.

    A fork server that is passed in is not closed at the end: the parts of a mock interview share it.
    """

    wait_s = 30.0  # after which `handle_events` returns if nothing happens

    def __init__(
        self,
        checkout: Checkout,
        terminal: Terminal,
        kata: Kata,
        folder: Path,
        forkserver: ForkServer | None = None,
    ) -> None:
        self.checkout, self.terminal = checkout, terminal
        self.live_run = LiveRun(kata)
        self.forkserver = forkserver or ForkServer(checkout)
        self.owns_forkserver = forkserver is None
        self.watch_folder(folder)
        self.unrecorded: Verdict | None = None  # it waits for its diagnosis
        self.submitted_at = 0.0  # when the newest run began, by the calendar's clock
        self.message = ""  # the sentence above the keys, until the next key
        self.open_question: Question | None = None  # the next keys are its answer
        self.page: Page | None = None  # it covers the verdict
        self.scroll = 0  # the line of the page, or else of the verdict, at the top
        self.guard = TypingGuard()
        self.done = False
        self.only_progressed = False  # all that has happened since the last drawing is that tests have begun

    # -- the loop

    def run_until_done(self) -> None:
        """Draws and handles events until `done` is set or Ctrl-C is pressed, then closes everything."""
        try:
            self.prepare()
            while not self.done:
                self.draw()
                due = time.monotonic() + DRAW_INTERVAL_S
                self.handle_events()
                while self.only_progressed and wait(self.sources, timeout=max(0.0, due - time.monotonic())):
                    self.handle_events()
        except KeyboardInterrupt:
            self.leave()
        finally:
            self.close()

    def handle_events(self) -> None:
        """Waits until something happens, or for `wait_s` seconds, and handles it."""
        held_s = self.guard.seconds_left(time.monotonic())
        ready = wait(self.sources, timeout=self.wait_s if held_s is None else min(self.wait_s, held_s))
        self.only_progressed = ready == [self.forkserver.connection]
        self.tick()
        if self.saves.connection in ready:
            self.handle_save(self.saves.connection.recv())
        if self.forkserver.connection in ready:
            for message in self.forkserver.messages():
                self.only_progressed = self.only_progressed and isinstance(message, Running)
                self.handle_message(message)
        if key := self.guard.released(time.monotonic()):
            self.handle_key(key)
        if self.terminal.keys in ready:
            self.press(self.terminal.keys.recv())

    @property
    def sources(self) -> list[Connection]:
        """What to wait for: keys, saves, and messages of the fork server."""
        return [self.terminal.keys, self.saves.connection, self.forkserver.connection]

    def prepare(self) -> None:  # noqa: B027 (only watch needs it)
        """Called once, before the first drawing."""

    def tick(self) -> None:  # noqa: B027 (watch has no clock)
        """Moves the clock of a drill. Called before the events, so that a save after its end comes too late."""

    @abstractmethod
    def handle_save(self, names: set[str]) -> None:
        """Runs the tests if files of these names (without .py) have changed."""

    def leave(self) -> None:
        self.done = True

    def close(self) -> None:
        self.record()
        self.saves.close()
        if self.owns_forkserver:
            self.forkserver.close()

    # -- files

    @property
    def kata(self) -> Kata:
        return self.live_run.kata

    @property
    @abstractmethod
    def file(self) -> Path:
        """The file that the learner writes in."""

    def watch_folder(self, folder: Path) -> None:
        self.saves, self.contents = FileWatcher(folder), Fingerprints(folder)

    def edit(self) -> None:
        """Opens the file in $VISUAL or $EDITOR, which has the terminal meanwhile."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            self.message = say(NO_EDITOR, file=self.checkout.shown(self.file))
            return
        with self.terminal.suspended():
            try:
                self.run_editor([*shlex.split(editor), str(self.file)])
            except (OSError, ValueError) as error:
                self.message = say(NO_PROGRAM, editor=editor, error=error)

    @abstractmethod
    def run_editor(self, command: list[str]) -> None:
        """Runs the editor until it ends. Raises OSError or ValueError if it cannot be started."""

    # -- runs

    def run_saved_file(self) -> None:
        """Runs the tests on what was saved. The verdict takes the place of an open page, and of a question."""
        self.message, self.open_question = "", None
        self.close_pages()
        self.start_run()

    def start_run(self) -> None:
        """Runs the tests on the file as it is now."""
        self.record()
        self.submit(self.job(next(JOB_NUMBERS)))

    @abstractmethod
    def job(self, number: int) -> Job:
        """The job that a save starts."""

    def submit(self, job: Job) -> None:
        self.submitted_at = time.time()
        self.live_run.start(job.number, time.monotonic())
        self.forkserver.submit(job)

    def handle_message(self, message: Message) -> None:
        """Applies a message of the fork server to `live_run`, and acts on it unless it is about an older job."""
        if not self.live_run.apply(message, time.monotonic()):
            return
        if isinstance(message, Verdict):
            self.redo_page()
            self.handle_verdict(message)
        elif isinstance(message, Diagnosed):
            self.handle_diagnosis()
        elif isinstance(message, JobDied):
            self.handle_death(message)

    def handle_verdict(self, verdict: Verdict) -> None:
        """Keeps a verdict until its diagnosis arrives; records it at once if there will be none."""
        self.unrecorded = verdict
        if not any(o.verdict == "failed" for o in verdict.outcomes):
            self.record()

    def handle_diagnosis(self) -> None:
        self.record()

    def handle_death(self, message: JobDied) -> None:  # noqa: B027 (the screen shows it anyway)
        """Called when a run ends without a verdict, or (number 0) the fork server ends."""

    def record(self) -> None:
        """Stores the last verdict in the history, unless that was done already."""
        verdict, self.unrecorded = self.unrecorded, None
        if verdict:
            self.record_run(verdict)

    @abstractmethod
    def record_run(self, verdict: Verdict) -> None:
        """Stores `verdict` and the diagnosis in `live_run`."""

    # -- keys

    def press(self, key: str) -> None:
        if key == RESIZED:
            self.terminal.redraw()
            return
        if key == CLOSED:
            self.leave()
            return
        stopped = self.guard.stops(key, time.monotonic())
        self.message = say(TYPED_TEXT) if self.guard.typing else ""
        if not stopped:
            self.handle_key(key)

    def handle_key(self, key: str) -> None:
        """Does what `key` means to the open question, else to the open page, else to this app."""
        page = self.page
        if self.open_question:
            self.answer(self.open_question, key)
        elif page and key in page.actions:
            page.actions[key][1]()
        elif key in SCROLL_STEPS:
            self.scroll = page.move(SCROLL_STEPS[key], self.scroll) if page else self.scroll + SCROLL_STEPS[key]
        elif page and key in LEAVE_KEYS:
            self.leave_page(key)
        elif not page:
            self.do_key_action(key)

    def ask(self, sentence: str, action: Callable[[], None]) -> None:
        self.open_question = Question(sentence, action)

    def answer(self, question: Question, key: str) -> None:
        """Takes one key of the answer, and does what was asked if it was whole before Enter."""
        self.open_question = question.after(key)
        if key == "enter" and question.answered:
            question.action()

    @abstractmethod
    def do_key_action(self, key: str) -> None:
        """Does what `key` means in this app; nothing for a key without a meaning."""

    # -- the screen

    def open_page(self, page: Page) -> None:
        """Covers the verdict with `page`."""
        self.page, self.scroll = page, 0

    def show_text(self, title: str, text: str, actions: Actions | None = None) -> None:
        self.open_page(Page(lambda: screen.page(self.terminal, title, text), actions or {}))

    def show_tests(self) -> None:
        self.open_page(Page(lambda: screen.tests(self.terminal, self.live_run)))

    def redo_page(self) -> None:
        """Makes the open page anew, because what it shows has changed."""
        page = self.page
        while page:
            page.forget()
            page = page.below

    def leave_page(self, key: str) -> None:
        """Goes back to the page below, else to the verdict. After q, a command for the shell may come: it does nothing."""
        self.page, self.scroll = self.page.below if self.page else None, 0
        if key == "q":
            self.guard.begin()

    def close_pages(self) -> None:
        self.page, self.scroll = None, 0

    def draw(self) -> None:
        page = self.page
        bottom = screen.footer(self.terminal, page.keys, self.sentences()) if page else self.footer()
        top = self.header()[: max(1, self.terminal.size[1] - len(bottom) - 3)]  # in a small window the keys stay
        body = page.lines(self.terminal.size[0]) if page else self.body() + self.printed()
        room, last = screen.room_and_last_line(self.terminal, top, body, bottom)
        scroll = page.visible(self.scroll, room) if page else self.scroll
        self.scroll = max(0, min(scroll, last))
        self.terminal.draw(screen.frame(self.terminal, top, body, bottom, scroll=self.scroll))

    def printed(self) -> list[str]:
        """What the learner's code printed, below the verdict."""
        return screen.printed_lines(self.terminal, self.terminal.size[0], *self.live_run.printed)

    def sentences(self) -> list[str]:
        """What to heed, above the keys: the open question, else the message."""
        sentence = self.open_question.sentence if self.open_question else self.message
        return [sentence] if sentence else []

    @abstractmethod
    def header(self) -> list[str]: ...

    @abstractmethod
    def body(self) -> list[str]: ...

    @abstractmethod
    def footer(self) -> list[str]: ...
