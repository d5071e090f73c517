"""The loop of `kata watch`: keys, saves and verdicts come in, one screen goes out."""

import io
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from multiprocessing.connection import wait

from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.files import digest
from dojo.core.paths import Checkout
from dojo.engine.file_watcher import EMPTY, Contents, Saves
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Diagnosed, Job, Ready, Verdict
from dojo.practice import actions, screen
from dojo.practice.live_run import LiveRun
from dojo.practice.terminal import Terminal
from dojo.practice.watch import view
from dojo.progress import runs
from dojo.progress.runs import Progress
from dojo.progress.standing import progress_or_not_started

SETTLE = 0.15  # seconds that a file may be missing or empty while an editor replaces it


def first_kata(checkout: Checkout, catalog: Catalog) -> str:
    """Where someone left off: the kata run last, or the one after it when that one is solved."""
    try:
        last = runs.last_kata(checkout)
    except UserError:
        last = ""
    names = [kata.name for kata in catalog.katas]
    start = names.index(last) if last in names else 0
    for name in names[start:] + names[:start]:
        if progress_or_not_started(checkout, name).state != "solved":
            return name
    return last or names[0]


class App:
    """One sitting. `run` returns the name of the kata to drill when that was asked for, else an empty text."""

    def __init__(self, checkout: Checkout, catalog: Catalog, name: str, terminal: Terminal, edit: bool = False) -> None:
        self.checkout, self.catalog, self.terminal = checkout, catalog, terminal
        self.forkserver = ForkServer(checkout)
        self.saves = Saves(checkout.katas)
        self.contents = Contents(checkout.katas)
        self.kind = "fork"
        self.jobs = 0
        self.unrecorded: Verdict | None = None
        self.settling = 0.0
        self.leaving = ""
        self.done = False
        self.said = ""
        self.reading: Callable[[], list[str]] | None = None  # what covers the verdict, if anything
        self.asked: tuple[str, Callable[[], None]] | None = None  # a question that y answers
        self.choosing = False
        self.scroll = self.chosen = 0
        self.standing: dict[str, Progress] = {}
        self.edit_first = edit
        self.watch(name)

    def run(self) -> str:
        try:
            if self.edit_first:
                self.edit()
            while not self.done:
                self.draw()
                self.turn()
        except KeyboardInterrupt:
            pass
        finally:
            self.record()
            self.saves.close()
            self.forkserver.close()
        return self.leaving

    def turn(self) -> None:
        """Waits for something to happen and deals with it."""
        sources = [self.terminal.keys, self.saves.connection, self.forkserver.connection]
        ready = wait(sources, timeout=SETTLE if self.settling else 30)
        if self.saves.connection in ready:
            self.saved(self.saves.connection.recv())
        if self.forkserver.connection in ready:
            for message in self.forkserver.messages():
                self.hear(message)
        if self.terminal.keys in ready:
            self.press(self.terminal.keys.recv())
        if self.settling and time.monotonic() >= self.settling:
            self.settling = 0.0
            self.saved({self.watched.kata.name}, settled=True)

    # -- what comes in

    def watch(self, name: str) -> None:
        """Turns to another kata and runs it."""
        self.record()
        self.watched = LiveRun(self.catalog[name])
        self.standing = {kata.name: progress_or_not_started(self.checkout, kata.name) for kata in self.catalog.katas}
        self.watched.solved_before = self.standing[name].state == "solved"
        self.chosen = [kata.name for kata in self.catalog.katas].index(name)
        self.said, self.reading, self.asked, self.choosing, self.scroll = "", None, None, False, 0
        self.start()

    def start(self) -> None:
        self.record()
        if not self.checkout.stub(self.watched.kata.name).is_file():
            return
        self.jobs += 1
        self.watched.begin(self.jobs, time.monotonic())
        self.forkserver.submit(Job(self.jobs, self.watched.kata.name, self.checkout.katas))

    def saved(self, names: set[str], *, settled: bool = False) -> None:
        """Runs what changed. Who saves another kata alone has turned to it."""
        known = {kata.name for kata in self.catalog.katas}
        changed = [name for name in self.contents.changed(names, settled=settled) if name in known]
        own = self.watched.kata.name
        if own in changed:
            self.settling, self.said, self.reading, self.asked, self.choosing = 0.0, "", None, None, False
            self.scroll = 0
            self.start()
        elif len(changed) == 1:
            self.watch(changed[0])
        elif own in names and not settled and digest(self.checkout.stub(own)) in ("", EMPTY):
            self.settling = time.monotonic() + SETTLE  # an editor is replacing it: look again in a moment

    def hear(self, message: object) -> None:
        if isinstance(message, Ready):
            self.kind = message.kind
            self.watched.began = time.monotonic()  # the first verdict has waited for torch
            return
        if not self.watched.take(message, time.monotonic()):  # type: ignore[arg-type]
            return
        if isinstance(message, Verdict):
            self.unrecorded = message
            if not any(o.verdict == "failed" for o in message.outcomes):
                self.draw()
                self.record()
        elif isinstance(message, Diagnosed):
            self.draw()
            self.record()

    def record(self) -> None:
        """Once the names are known, or when they will not come any more."""
        told, self.unrecorded = self.unrecorded, None
        if told is None:
            return
        named = {self.watched.kata.name: self.watched.named}
        try:
            runs.record_run(self.checkout, told.outcomes, told.expected, named=named, source=told.source, how="watch")
            self.watched.notes = []
        except UserError as problem:
            self.watched.notes = [str(problem)]
        self.standing[self.watched.kata.name] = progress_or_not_started(self.checkout, self.watched.kata.name)

    # -- keys

    def press(self, key: str) -> None:
        if key == "resized":
            self.terminal.redraw()
            return
        self.said = ""
        if self.asked:
            _, action = self.asked
            self.asked = None
            if key in ("y", "Y"):
                self.attempt(action)
            return
        if self.choosing and key in ("up", "down", "page up", "page down", "j", "k", "enter"):
            self.choose(key)
        elif key in ("up", "down", "page up", "page down", "j", "k", "space"):
            step = {"up": -1, "k": -1, "down": 1, "j": 1, "space": 10, "page up": -10, "page down": 10}[key]
            self.scroll = max(0, self.scroll + step)
        elif key in ("escape", "enter") or (key == "q" and self.reading):
            self.close_page()
        elif hasattr(self, f"key_{key}"):
            self.attempt(getattr(self, f"key_{key}"))

    def attempt(self, action: Callable[[], None]) -> None:
        told = io.StringIO()  # trouble that stopped nothing; on the screen it would leave holes
        try:
            with redirect_stderr(told):
                action()
        except UserError as problem:
            self.said = str(problem)
        self.watched.notes = told.getvalue().splitlines() or self.watched.notes

    def close_page(self) -> None:
        self.reading, self.choosing, self.scroll = None, False, 0

    def show(self, title: str, text: str) -> None:
        self.choosing, self.scroll = False, 0
        self.reading = lambda: screen.page(self.terminal, title, text)

    def key_q(self) -> None:
        self.done = True

    def key_n(self) -> None:
        names = [kata.name for kata in self.catalog.katas]
        here = names.index(self.watched.kata.name)
        for name in names[here + 1 :] + names[:here]:
            if self.standing[name].state != "solved":
                self.watch(name)
                return
        self.said = "Everything else is solved. Take one again from memory: kata again NAME"

    def key_h(self) -> None:
        rung, text = actions.next_hint(self.checkout, self.watched.kata)
        self.show(f"Hint {rung} of {len(self.watched.kata.hints)}", f"{text}\n\nh for the next one, Enter to go back.")

    def key_s(self) -> None:
        def open_it() -> None:
            text = actions.solution(self.checkout, self.watched.kata, give_up=True)
            asked = "\n\n".join(f"{f.question}\n    {f.answer}" for f in self.watched.kata.follow_ups)
            self.show(f"solutions/{self.watched.kata.name}.py", f"{text}\n\nWhat an interviewer asks next\n\n{asked}")

        if self.watched.solved or self.watched.solved_before:
            open_it()
        else:
            self.asked = ("Not solved yet. Show the solution all the same (it is recorded)? y or n", open_it)

    def key_r(self) -> None:
        def restore() -> None:
            copy = actions.reset(self.checkout, self.watched.kata)
            self.contents.changed({self.watched.kata.name})
            self.start()
            self.said = "The stub is back." + (f" What you wrote is in {self.checkout.shown(copy)}." if copy else "")

        if self.checkout.stub(self.watched.kata.name).is_file():
            self.asked = ("Put the stub back? What you wrote is copied to .dojo/backups/ first. y or n", restore)
        else:
            restore()

    def key_t(self) -> None:
        self.choosing, self.scroll = False, 0
        self.reading = lambda: screen.tests(self.terminal, self.watched)

    def key_l(self) -> None:
        self.choosing, self.scroll = True, 0
        self.reading = lambda: view.katas(self.terminal, self.catalog, self.standing, self.chosen)
        self.choose("")

    def choose(self, key: str) -> None:
        last = len(self.catalog.katas) - 1
        step = {"up": -1, "k": -1, "down": 1, "j": 1, "page up": -10, "page down": 10}.get(key, 0)
        self.chosen = min(last, max(0, self.chosen + step))
        room = max(1, self.terminal.size[1] - 7)
        self.scroll = min(max(self.scroll, self.chosen - room + 2), self.chosen)
        if key == "enter":
            self.watch(self.catalog.katas[self.chosen].name)

    def key_d(self) -> None:
        self.leaving, self.done = self.watched.kata.name, True

    def key_e(self) -> None:
        self.edit()

    def edit(self) -> None:
        """Opens the file in $VISUAL or $EDITOR; one that needs the terminal gets it."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        file = self.checkout.stub(self.watched.kata.name)
        if not editor:
            self.said = (
                f"No editor is set: export EDITOR=vim (or 'code -w'). Or open {self.checkout.shown(file)} yourself."
            )
            return
        with self.terminal.lent():
            try:
                subprocess.run([*shlex.split(editor), str(file)], check=False)
            except (OSError, ValueError) as error:
                self.said = f"{editor} could not be started ({error}). Set EDITOR to a program that is there."

    # -- the screen

    def draw(self) -> None:
        solved = sum(p.state == "solved" for p in self.standing.values())
        top = view.header(self.terminal, self.checkout, self.watched, solved, len(self.catalog.katas))
        question = self.asked[0] if self.asked else self.said
        bottom = view.footer(self.terminal, self.watched, question, self.kind)
        if self.reading:
            body = self.reading()
        else:
            file = self.checkout.stub(self.watched.kata.name)
            missing = not self.settling and not file.is_file()
            body = screen.verdict(self.terminal, self.checkout.shown(file), self.watched, missing)
        self.scroll = max(0, min(self.scroll, len(body) - 1))
        self.terminal.draw(screen.frame(self.terminal, top, body, bottom, scroll=self.scroll))
