"""One kata: its question, an editor, and the verdict beside it."""

from collections.abc import Callable

from nicegui import ui

from dojo.core import answers
from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.practice import actions
from dojo.practice.reading import paragraphs
from dojo.room.editor import Editor
from dojo.room.frame import button, confirmed, frame, html, labelled, link_button, sentences, trouble_page
from dojo.room.html import render
from dojo.room.runner import Shown
from dojo.room.sheet import Sheet
from dojo.room.state import Room

TICK_S = 0.1


def add(room: Room) -> None:
    """Registers the page."""

    @ui.page("/kata/{name}")
    async def kata_page(name: str) -> None:
        try:
            answers.prepare(room.checkout)
            kata = room.catalog.find(name)
            rules = actions.rules(room.checkout, kata)
            Sheet(room.checkout, room.checkout.answer(kata.name)).read()
        except UserError as error:
            trouble_page(error)
            return
        await KataPage(room, kata, rules).begin()


class KataPage:
    """One window on a kata."""

    def __init__(self, room: Room, kata: Kata, rules: str) -> None:
        self.room, self.kata = room, kata
        self.shown = Shown(version=-1)
        self.hints = 0  # that this window has shown, for when the history cannot count them
        with frame(kata.title, wide=True) as self.lights:
            self.lights.props("role=status").props(labelled(say("Stages")))
            with ui.element("section").classes("question").props(labelled(say("Question"))):
                html(render("question", kata=kata, paragraphs=paragraphs(kata, rules)))
            with ui.element("section").classes("answer").props(labelled(say("Your answer"))):
                file = room.checkout.answer(kata.name)
                self.editor = Editor(Sheet(room.checkout, file), self.saved)
                html(render("editor_keys", file=room.checkout.shown(file)))
            with ui.element("section").classes("verdict").props(labelled(say("Verdict"))):
                self.verdict = html("").props("role=status aria-live=polite")
                with ui.element("div").classes("buttons"):
                    self.next_failure = button(say("Next failure"), lambda: room.runner.next_failure(kata))
                    button(say("Hint"), self.attempt(self.hint))
                    button(say("Follow-ups"), self.follow_ups)
                    button(say("Solution"), self.solution)
                    button(say("Start afresh"), self.reset)
                    link_button(say("Against the clock"), f"/drill/{kata.name}")
                    link_button(say("Bug hunt"), f"/hunt/{kata.name}")
                self.notes = html("").props("aria-live=polite").classes("notes")
                self.pages = ui.element("div").classes("pages").props("aria-live=polite")

    async def begin(self) -> None:
        """Starts the first run, and then shows what is new several times a second."""
        actions.record_reading(self.room.checkout, self.kata, self.note)
        self.room.runner.submit(self.kata)
        await self.tick()
        await ui.context.client.connected(timeout=30)
        await self.editor.begin()
        ui.timer(TICK_S, self.tick)

    async def tick(self) -> None:
        await self.editor.tick()
        shown = self.room.runner.shown.get(self.kata.name, Shown())
        if shown.version != self.shown.version:
            self.shown = shown
            self.verdict.content, self.lights.content = shown.verdict, shown.lights
            self.next_failure.set_visibility(shown.failures > 1)

    def saved(self, again: bool) -> None:
        self.room.runner.submit(self.kata, again=again)

    def note(self, sentence: str) -> None:
        self.notes.content = sentences([sentence])

    def attempt(self, action: Callable[[], None]) -> Callable[[], None]:
        """`action`, whose UserError becomes a note."""

        def attempted() -> None:
            self.notes.content = ""
            try:
                action()
            except UserError as error:
                self.note(str(error))

        return attempted

    def show(self, content: str) -> None:
        """Adds a page below the verdict, the newest first."""
        with self.pages:
            page = html(content).classes("page")
        page.move(target_index=0)
        ui.run_javascript(f"getHtmlElement({page.id})?.scrollIntoView({{block: 'nearest'}})")

    def hint(self) -> None:
        self.hints, text = actions.next_hint(self.room.checkout, self.kata, self.note, after=self.hints)
        title = say("Hint {number} of {total}", number=self.hints, total=len(self.kata.hints))
        self.show(render("text", title=title, text=text))

    def follow_ups(self) -> None:
        self.show(render("follow_ups", items=self.kata.follow_ups))

    async def solution(self) -> None:
        question = say("Not solved yet. Show the solution all the same? It is recorded.")
        if self.shown.solved or await confirmed(question, say("Show it")):
            self.attempt(self.show_solution)()

    def show_solution(self) -> None:
        text = actions.solution(self.room.checkout, self.kata, self.note, give_up=True)
        self.show(render("code", title=f"solutions/{self.kata.name}.py", text=text))

    async def reset(self) -> None:
        question = say("Put the stub back? What you wrote is copied to .dojo/backups/ first.")
        if await confirmed(question, say("Put it back")):
            self.attempt(self.put_stub_back)()

    def put_stub_back(self) -> None:
        self.editor.flush()
        copy = actions.reset(self.room.checkout, self.kata, self.note)
        self.hints = 0
        self.pages.clear()
        self.editor.load()
        if copy:
            self.note(say("The stub is back. What you wrote is in {copy}.", copy=self.room.checkout.shown(copy)))
