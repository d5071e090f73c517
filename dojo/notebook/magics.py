"""The magics `%%kata NAME` and `%kata COMMAND`."""

import atexit
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_cell_magic, magics_class
from IPython.display import display

from dojo.core import answers, humanize
from dojo.core.answers import learners_stub
from dojo.core.catalog import Catalog, Kata, load_catalog
from dojo.core.errors import UserError
from dojo.core.files import backup, digest, write
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout, find_checkout
from dojo.core.source import digest_of
from dojo.notebook.pages import CodePage, KataPage, ListPage, Sentences, VerdictPage
from dojo.practice import actions
from dojo.practice.headless import Headless
from dojo.practice.live_run import LiveRun
from dojo.practice.workspace import init
from dojo.progress.schedule import due_dates
from dojo.progress.standing import progress_or_not_started, standing_of

T = TypeVar("T")
HELP = {
    "%%kata NAME": to_say("at the head of a cell: the cell is your answer; it is saved and tested"),
    "%kata list": to_say("all katas, and how far you are"),
    "%kata show NAME": to_say("question, rules, stages"),
    "%kata start NAME": to_say("a new cell with the stub, or with what you have written so far"),
    "%kata test NAME": to_say("the verdict on the file, for those who edit it elsewhere"),
    "%kata hint NAME": to_say("the next hint; recorded"),
    "%kata solution NAME": to_say("the reference, once you have solved it (or --give-up)"),
    "%kata due": to_say("what to solve again"),
    "%kata init [DIR]": to_say("a folder of your own for answers, where there is no clone"),
}


def show(page: object) -> None:
    """Displays a page below the cell."""
    display(page)  # type: ignore[no-untyped-call]


@magics_class
class KataMagics(Magics):
    """One for each notebook that has loaded the extension."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell)
        self.notebook = shell
        self.folder: Path | None = None  # of `%kata init`
        self.headless: Headless | None = None
        self.name = ""  # of the kata that was named last
        self.seen: dict[Path, str] = {}  # the digest of each answer as this notebook knows it
        atexit.register(self.close)

    def close(self) -> None:
        """Ends the process that runs the tests."""
        if self.headless:
            self.headless.close()
            self.headless = None

    @line_cell_magic
    def kata(self, line: str, cell: str | None = None) -> None:
        """`%%kata NAME` tests the cell; `%kata` says what else there is."""
        try:
            if cell is not None:
                self._test_cell(line.strip(), cell)
            else:
                self._command(line)
        except UserError as error:
            show(Sentences([str(error)], "error"))

    # -- cells

    def _test_cell(self, name: str, cell: str) -> None:
        checkout, catalog = self._practice()
        kata = self._find(catalog, name)
        file = checkout.answer(kata.name)
        content = f"{cell.rstrip()}\n".encode("utf-8", "backslashreplace")
        there, new = digest(file), digest_of(content)
        if there not in ("", new, self.seen.get(file), digest_of(learners_stub(checkout, kata.name).encode())):
            replaced = say(
                "{file} held something else, which is now in {copy}; this cell took its place.",
                file=checkout.shown(file),
                copy=checkout.shown(backup(checkout, file)),
            )
            show(Sentences([replaced]))
        if there != new:
            write(file.resolve(), content)  # a link stays one
        self.seen[file] = new
        if self._run(checkout, catalog, kata).solved:
            self.notebook.ex(cell)  # type: ignore[no-untyped-call]  # what is right can be used in further cells

    def _run(self, checkout: Checkout, catalog: Catalog, kata: Kata) -> LiveRun:
        if not self.headless or self.headless.checkout != checkout:
            self.close()
            self.headless = Headless(checkout, catalog)
        page = VerdictPage(checkout, LiveRun(kata, waiting=True))
        handle = display(page, display_id=True)  # type: ignore[no-untyped-call]
        shown = page.live_run.failures, 0

        def update(live_run: LiveRun) -> None:
            """Shows the first failure, and that it is being compared, before the verdict is complete."""
            nonlocal shown
            page.live_run = live_run
            if (now := (live_run.failures[:1], live_run.comparing)) != shown:
                shown = now
                handle.update(page)

        page.live_run = self.headless.run(kata, update)
        handle.update(page)
        return page.live_run

    # -- commands

    def _command(self, line: str) -> None:
        try:
            words = shlex.split(line)
        except ValueError as error:
            sentence = say("%kata {line} cannot be read: {error}. What there is: %kata", line=line, error=error)
            raise UserError(sentence) from error
        commands: dict[str, Callable[[list[str]], None]] = {
            "list": self._list,
            "show": self._show,
            "start": self._start,
            "test": self._test,
            "hint": self._hint,
            "solution": self._solution,
            "due": self._due,
            "init": self._init,
        }
        if not words:
            lines = [f"{command:<22}{say(does)}" for command, does in HELP.items()]
            show(CodePage(say("What there is"), "\n".join(lines)))
        elif words[0] not in commands:
            raise UserError(say("There is no %kata {word}. What there is: %kata", word=words[0]))
        else:
            commands[words[0]](words[1:])

    def _list(self, words: list[str]) -> None:
        checkout, catalog = self._practice()
        notices: list[str] = []
        standing = standing_of(checkout, catalog.katas, notices.append)
        show(ListPage(catalog, standing))
        if notices:
            show(Sentences(notices))

    def _show(self, words: list[str]) -> None:
        checkout, kata = self._named(words)
        progress = progress_or_not_started(checkout, kata.name)
        show(KataPage(checkout, kata, actions.rules(checkout, kata), progress))
        self._notify(lambda notify: actions.record_reading(checkout, kata, notify))

    def _start(self, words: list[str]) -> None:
        checkout, kata = self._named(words)
        file = checkout.answer(kata.name)
        text = file.read_text(encoding="utf-8") if file.is_file() else learners_stub(checkout, kata.name)
        self.seen[file] = digest(file)
        self._notify(lambda notify: actions.record_reading(checkout, kata, notify))
        self.notebook.set_next_input(f"%%kata {kata.name}\n{text.rstrip()}", replace=False)

    def _test(self, words: list[str]) -> None:
        checkout, kata = self._named(words)
        self._run(checkout, load_catalog(checkout), kata)

    def _hint(self, words: list[str]) -> None:
        checkout, kata = self._named(words)
        number, text = self._notify(lambda notify: actions.next_hint(checkout, kata, notify))
        show(Sentences([text], "hint", say("Hint {number} of {total}", number=number, total=len(kata.hints))))

    def _solution(self, words: list[str]) -> None:
        give_up = "--give-up" in words
        checkout, kata = self._named([word for word in words if word != "--give-up"])
        text = self._notify(lambda notify: actions.solution(checkout, kata, notify, give_up=give_up))
        show(CodePage(f"solutions/{kata.name}.py", text, kata.follow_ups))

    def _due(self, words: list[str]) -> None:
        checkout, catalog = self._practice()
        now = time.time()
        dues = [(due.kata.name, humanize.when_due(due.at, now)) for due in due_dates(checkout, catalog)]
        lines = [say("{name}: {when}", name=name, when=when) for name, when in dues]
        show(Sentences(lines or [say("Nothing to repeat yet: a kata is scheduled once you have solved it.")]))

    def _init(self, words: list[str]) -> None:
        checkout, _ = init(Path(words[0] if words else ".").expanduser())
        self.folder = checkout.work
        here = Path.cwd().resolve()
        folder = checkout.answers.relative_to(here) if checkout.answers.is_relative_to(here) else checkout.answers
        show(Sentences([say("Your answers are in {folder}/. Next: %kata list", folder=folder)]))

    # -- what they share

    def _practice(self) -> tuple[Checkout, Catalog]:
        checkout = find_checkout(self.folder)
        for sentence in answers.prepare(checkout):
            show(Sentences([sentence]))
        return checkout, load_catalog(checkout)

    def _named(self, words: list[str]) -> tuple[Checkout, Kata]:
        checkout, catalog = self._practice()
        return checkout, self._find(catalog, " ".join(words))

    def _find(self, catalog: Catalog, name: str) -> Kata:
        """The kata that is named, or that was named last."""
        if not name and not self.name:
            raise UserError(say("Which kata? Name it: %%kata temperature_sampling, say. All of them: %kata list"))
        kata = catalog.find(name or self.name)
        self.name = kata.name
        return kata

    def _notify(self, action: "Callable[[Callable[[str], object]], T]") -> T:
        """The result of `action`; what it tells is shown."""
        notices: list[str] = []
        result = action(notices.append)
        if notices:
            show(Sentences(notices))
        return result
