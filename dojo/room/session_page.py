"""A drill or a hunt: its clock, its question, an editor, the verdict, and at the end the follow-up questions and the last page."""

from functools import partial

from nicegui import run, ui

from dojo.core.errors import UserError
from dojo.core.language import say, to_say
from dojo.practice.interview import left_page
from dojo.progress.sessions import Session, SessionLog
from dojo.room.editor import Editor
from dojo.room.frame import button, confirmed, frame, html, labelled, link_button, sentences, trouble_page
from dojo.room.last_pages import last_page_of
from dojo.room.sessions import OpenSession, SessionView
from dojo.room.sheet import Sheet
from dojo.room.start_pages import show
from dojo.room.state import Room

TICK_S = 0.1
LOW_S = 60.0  # from here on the clock is red
RATINGS = (to_say("missed it"), to_say("a part"), to_say("most of it"), to_say("had it"))


def add(room: Room) -> None:
    """Registers the page."""

    @ui.page("/session/{number}")
    async def session_page(number: int) -> None:
        try:
            if found := room.sessions.running(number):
                Sheet(room.checkout, found.session.file).read()
                await SessionPage(room, number, found).begin()
                return
            session = room.sessions.find(number)
            if session is None or session.kind == "mock":
                raise UserError(say("There is no drill and no hunt with the number {number}.", number=number))
            if session.ended is None:
                _go_on(room, session)
            else:
                _over(room, session)
        except UserError as error:
            trouble_page(error)


def _go_on(room: Room, session: Session) -> None:
    room.sessions.spare.warm_up()
    show(left_page(room.catalog[session.kata], session), lambda: room.sessions.resume(session))


def _over(room: Room, session: Session) -> None:
    kata = room.catalog[session.kata]
    with frame(kata.title):
        html(last_page_of(room.checkout, kata, session, SessionLog(room.checkout)))
        ways_on(session)


def ways_on(session: Session) -> None:
    """Links behind the last page."""
    if session.state.round_id is not None:
        link_button(say("On with the interview"), f"/interview/{session.state.round_id}")
    link_button(say("To the kata"), f"/kata/{session.kata}")
    link_button(say("All katas"), "/")


class SessionPage:
    """One window on a session that runs."""

    def __init__(self, room: Room, number: int, running: OpenSession) -> None:
        self.room, self.number, self.running, self.kata = room, number, running, running.kata
        self.view = SessionView(phase="grading", seconds_left=LOW_S)
        self.left = self.missed = False
        with frame(self.kata.title, wide=True) as self.lights:
            with ui.element("section").classes("question").props(labelled(say("Question"))):
                self.clock = html("").props("role=timer").classes("clock")
                self.asked = html("").props("aria-live=polite")
                self.text = html("").props("aria-live=polite").classes("page")
            with ui.element("section").classes("answer").props(labelled(say("Your answer"))) as self.answer:
                self.editor = Editor(Sheet(room.checkout, running.session.file), self.saved)
            with ui.element("section").classes("verdict").props(labelled(say("Verdict"))):
                self.verdict = html("").props("role=status aria-live=polite")
                self.notes = html("").props("role=status")
                self.buttons = ui.element("div").classes("buttons")

    async def begin(self) -> None:
        await self.tick()
        await ui.context.client.connected(timeout=30)
        await self.editor.begin()
        ui.timer(TICK_S, self.tick)

    async def tick(self) -> None:
        """Shows what is new. Only what changed is sent, so that a screen reader is left in peace."""
        view, old = self.running.view, self.view
        if self.left:
            return
        if view.phase != "done" and not self.running.runs and not self.running.trouble:
            ui.navigate.to(f"/session/{self.number}")  # another window has left it
            return
        if view.phase == "work":
            await self.editor.tick()
            self.missed = self.missed or view.missing
        for element, now in (
            (self.clock, view.clock),
            (self.asked, view.asked),
            (self.text, view.text),
            (self.lights, view.lights),
            (self.verdict, view.verdict),
            (self.notes, sentences([*view.sentences, *filter(None, [self.running.trouble])], "because")),
        ):
            if element.content != now:
                element.content = now
        if (view.phase, view.hints_left > 0) != (old.phase, old.hints_left > 0):
            self.show_buttons(view)
        if view.phase != old.phase:
            self.editor.enable(view.phase == "work")
            self.answer.set_visibility(view.phase in ("work", "paused", "grading"))
        if (view.seconds_left < LOW_S) != (old.seconds_left < LOW_S):
            self.clock.classes(toggle="low")
        self.view = view

    def saved(self, again: bool) -> None:
        if self.missed:  # with its folder, perhaps, and then nobody watches that any more
            self.missed = False
            self.running.press("look again")

    def show_buttons(self, view: SessionView) -> None:
        self.buttons.clear()
        press = self.running.press
        with self.buttons:
            if view.phase == "work":
                hint = button(say("Hint (-{points})", points=view.hint_points), lambda: press("hint"))
                hint.set_visibility(view.hints_left > 0)
                button(say("Explain (-{points})", points=view.hint_points), lambda: press("explain"))
                button(say("Pause"), self.pause)
                button(say("Finish"), self.finish)
                button(say("Leave"), self.leave)
            elif view.phase == "paused":
                button(say("Go on"), lambda: press("resume"), "main")
                button(say("Leave"), self.leave)
            elif view.phase == "asking":
                button(say("The model answer"), lambda: press("answer"), "main")
            elif view.phase == "answered":
                for number, words in enumerate(RATINGS):
                    button(f"{number} {say(words)}", partial(press, f"rate {number}"))
            elif view.phase == "done":
                ways_on(self.running.session)

    def pause(self) -> None:
        self.editor.flush()
        self.running.press("pause")

    async def finish(self) -> None:
        self.editor.flush()
        if await confirmed(say("Finish now and be graded?"), say("Finish")):
            self.editor.flush()
            self.running.press("finish")

    async def leave(self) -> None:
        self.editor.flush()
        self.left = True
        await run.io_bound(self.running.leave)
        ui.navigate.to("/")
