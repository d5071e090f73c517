"""The screen of `kata watch`: every save of a kata runs its tests."""

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.files import digest
from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.core.stubs import handed_out
from dojo.engine.file_watcher import EMPTY_DIGEST
from dojo.engine.messages import Job, Message, Ready, Verdict
from dojo.practice import actions, screen
from dojo.practice.app import App
from dojo.practice.live_run import LiveRun
from dojo.practice.pages import Actions, ListPage, Page
from dojo.practice.terminal import Terminal
from dojo.practice.watch import one_test, solution, view
from dojo.progress import runs
from dojo.progress.database import tell_of_damage
from dojo.progress.runs import Progress
from dojo.progress.standing import progress_or_not_started, solved_in_this_try, standing_of

SETTLE_S = 0.15  # how long a file may be missing or empty while an editor replaces it
IDLE_S = 30.0


def first_kata(checkout: Checkout, catalog: Catalog) -> str:
    """The kata that was run last; if all of its tests passed then, the next one that is not solved."""
    try:
        last = runs.last_kata(checkout)
    except UserError:
        last = ""
    names = [kata.name for kata in catalog.katas]
    if last in names and not progress_or_not_started(checkout, last).passes:
        return last
    start = names.index(last) if last in names else 0
    for name in names[start:] + names[:start]:
        if progress_or_not_started(checkout, name).state != "solved":
            return name
    return last or names[0]


class WatchApp(App):
    """All katas, one of them on the screen. A method `key_x` does what key x means."""

    def __init__(self, checkout: Checkout, catalog: Catalog, name: str, terminal: Terminal, edit: bool = False) -> None:
        super().__init__(checkout, terminal, catalog[name], checkout.answers)
        self.catalog = catalog
        self.edit_first = edit
        self.start_method = "fork"  # of the fork server's children
        self.kata_to_drill = ""
        self.notice = ""  # an error that stopped nothing, such as a full disk
        self.settles_at = 0.0  # when a missing or empty file is taken as it is; 0 if no file is
        self.hints_shown: dict[str, int] = {}  # by kata, for when the history cannot count them
        self.standing: dict[str, Progress] = {}
        self.open_kata(name)

    def run(self) -> str:
        """Returns the kata to drill if the learner asked for that, else an empty text."""
        self.run_until_done()
        return self.kata_to_drill

    def prepare(self) -> None:
        if self.edit_first:
            self.edit()

    def handle_events(self) -> None:
        self.wait_s = SETTLE_S if self.settles_at else IDLE_S
        super().handle_events()
        if self.settles_at and time.monotonic() >= self.settles_at:
            self.settles_at = 0.0
            self.handle_save({self.kata.name}, settled=True)

    @property
    def file(self) -> Path:
        return self.checkout.answer(self.kata.name)

    # -- runs

    def open_kata(self, name: str) -> None:
        """Shows another kata and runs it."""
        self.record()
        self.live_run = LiveRun(self.catalog[name])
        self.notice = ""
        self.standing = standing_of(self.checkout, self.catalog.katas, self.notify)
        self.live_run.solved_before = solved_in_this_try(self.checkout, name)
        self.notice = tell_of_damage() or self.notice
        self.run_saved_file()

    @property
    def names(self) -> list[str]:
        return [kata.name for kata in self.catalog.katas]

    def start_run(self) -> None:
        if self.file.is_file():
            super().start_run()
        else:
            self.record()

    def job(self, number: int) -> Job:
        return Job(number, self.kata.name, self.checkout.answers)

    def handle_save(self, names: set[str], *, settled: bool = False) -> None:
        """Runs the kata on the screen if it changed. If another kata alone changed, that one is opened."""
        changed = [name for name in self.contents.changed(names, settled=settled) if name in self.names]
        current = self.kata.name
        if current in changed:
            self.settles_at = 0.0
            self.run_saved_file()
        elif len(changed) == 1:
            self.open_kata(changed[0])
        elif current in names and not settled and digest(self.file) in ("", EMPTY_DIGEST):
            self.settles_at = time.monotonic() + SETTLE_S  # an editor is replacing it

    def handle_message(self, message: Message) -> None:
        if isinstance(message, Ready):
            self.start_method = message.kind
            self.live_run.started_at = time.monotonic()  # the first verdict has waited for torch
        else:
            super().handle_message(message)

    def handle_verdict(self, verdict: Verdict) -> None:
        self.draw()  # the screen does not wait for the history
        super().handle_verdict(verdict)

    def handle_diagnosis(self) -> None:
        self.draw()
        super().handle_diagnosis()

    def record_run(self, verdict: Verdict) -> None:
        self.notice = actions.record_verdict(self.checkout, self.live_run, verdict, self.submitted_at)
        self.standing[self.kata.name] = progress_or_not_started(self.checkout, self.kata.name)
        self.redo_page()

    # -- keys

    def do_key_action(self, key: str) -> None:
        if hasattr(self, f"key_{key}"):
            self.attempt(getattr(self, f"key_{key}"))

    def attempt(self, action: Callable[[], None]) -> None:
        """Does `action`, and shows the sentence of a UserError."""
        try:
            action()
        except UserError as error:
            self.message = str(error)

    def notify(self, sentence: str) -> None:
        self.notice = sentence

    def key_q(self) -> None:
        self.leave()

    def key_n(self) -> None:
        names = self.names
        here = names.index(self.kata.name)
        for name in names[here + 1 :] + names[:here]:
            if self.standing[name].state != "solved":
                self.open_kata(name)
                return
        self.message = say("Everything else is solved. Take one again from memory: kata again NAME")

    def key_h(self) -> None:
        name = self.kata.name
        number, text = actions.next_hint(self.checkout, self.kata, self.notify, after=self.hints_shown.get(name, 0))
        self.hints_shown[name] = number
        more = number < len(self.kata.hints)
        again: Actions = {"h": (say("the next one"), lambda: self.attempt(self.key_h))} if more else {}
        self.show_text(say("Hint {number} of {total}", number=number, total=len(self.kata.hints)), text, again)

    def key_s(self) -> None:
        if self.live_run.solved or self.live_run.solved_before:
            self.show_solution()
        else:
            sentence = say("Not solved yet. Show the solution all the same (it is recorded)?")
            self.ask(sentence, lambda: self.attempt(self.show_solution))

    def show_solution(self) -> None:
        text = actions.solution(self.checkout, self.kata, self.notify, give_up=True)
        page = Page(lambda: solution.reference(self.terminal, self.kata, text))
        page.actions = {"c": (say("compare with yours"), lambda: self.show_difference(text, page))}
        self.open_page(page)

    def show_difference(self, text: str, below: Page) -> None:
        self.open_page(Page(lambda: solution.difference(self.terminal, self.checkout, self.kata, text), below=below))

    def key_r(self) -> None:
        if self.file.is_file():
            sentence = say("Put the stub back? What you wrote is copied to .dojo/backups/ first.")
            self.ask(sentence, lambda: self.attempt(self.restore_stub))
        else:
            self.restore_stub()

    def restore_stub(self) -> None:
        copy = actions.reset(self.checkout, self.kata, self.notify)
        self.hints_shown.pop(self.kata.name, None)
        self.contents.changed({self.kata.name})
        self.start_run()
        copied = say("The stub is back. What you wrote is in {copy}.", copy=self.checkout.shown(copy)) if copy else ""
        self.message = copied or say("The stub is back.")

    def key_f(self) -> None:
        if self.live_run.next_failure():
            self.scroll = 0

    def key_t(self) -> None:
        page = ListPage(lambda: screen.tests(self.terminal, self.live_run))
        page.actions = {"enter": (say("the test"), lambda: self.show_test(page.chosen, page))}
        outcomes = self.live_run.in_order
        page.chosen = outcomes.index(self.live_run.failure) if self.live_run.failure in outcomes else 0
        self.open_page(page)

    def show_test(self, number: int, below: ListPage) -> None:
        if outcome := next(iter(self.live_run.in_order[number:]), None):
            self.open_page(Page(lambda: one_test.page(self.terminal, self.checkout, outcome), below=below))

    def key_l(self) -> None:
        page = ListPage(lambda: view.katas(self.terminal, self.catalog, self.standing))
        page.actions = {"enter": (say("open it"), lambda: self.open_kata(self.names[page.chosen]))}
        page.chosen = self.names.index(self.kata.name)
        self.open_page(page)

    def key_d(self) -> None:
        self.kata_to_drill, self.done = self.kata.name, True

    def key_e(self) -> None:
        self.edit()

    def run_editor(self, command: list[str]) -> None:
        subprocess.run(command, check=False)

    # -- the screen

    def header(self) -> list[str]:
        solved = sum(standing.state == "solved" for standing in self.standing.values())
        return view.header(self.terminal, self.checkout, self.live_run, solved, len(self.catalog.katas))

    def body(self) -> list[str]:
        missing = not self.settles_at and not self.file.is_file()
        lines = screen.verdict(self.terminal, self.checkout.shown(self.file), self.live_run, missing, step_key="f")
        if self.live_run.failure and not self.checkout.solutions.is_dir():
            lines += self.terminal.lines("", screen.paragraph(handed_out(), "dim", 3))
        return lines

    def footer(self) -> list[str]:
        return view.footer(self.terminal, self.live_run, self.sentences(), self.start_method)

    def sentences(self) -> list[str]:
        return [*([self.notice] if self.notice else []), *super().sentences()]
