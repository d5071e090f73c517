"""The pages before a clock starts: of a drill, and of a hunt."""

from collections.abc import Callable

from nicegui import run, ui

from dojo.core.catalog import Kata
from dojo.core.errors import UserError
from dojo.core.language import say, say_number, to_say
from dojo.practice.hunt.start import hunt_minutes, start_page
from dojo.practice.interview import drill_page
from dojo.practice.start_page import LEAVE, LEAVE_CLOCK, LEAVE_ROUND, StartPage
from dojo.room.frame import button, frame, html, labelled, sentences, trouble_page
from dojo.room.state import Room

BUGS = (1, 2, 3, 4)
PLANTING = to_say("Planting, and making sure that tests find it ...")
STARTING = to_say("Starting ...")
BACK = {  # what leaving is called here
    LEAVE: to_say("Go back; nothing is recorded"),
    LEAVE_ROUND: to_say("Go back; the round waits"),
    LEAVE_CLOCK: to_say("Go back; the clock stands"),
}
MINUTES = (1.0, 180.0)  # the least and the most of a drill


def add(room: Room) -> None:
    """Registers both pages."""

    @ui.page("/drill/{name}")
    def drill(name: str, minutes: float = 0.0) -> None:
        try:
            kata = room.catalog.find(name)
        except UserError as error:
            trouble_page(error)
            return
        minutes = min(max(minutes, MINUTES[0]), MINUTES[1]) if minutes > 0 else kata.minutes  # NaN is not
        room.sessions.spare.warm_up()
        show(drill_page(kata, minutes), lambda: room.sessions.begin_drill(kata, minutes))

    @ui.page("/hunt/{name}")
    def hunt(name: str, bugs: int = 1) -> None:
        try:
            kata = room.catalog.find(name)
        except UserError as error:
            trouble_page(error)
            return
        bugs = min(max(bugs, BUGS[0]), BUGS[-1])
        page = start_page(room.checkout, kata, bugs, hunt_minutes(bugs), "")
        room.sessions.spare.warm_up()
        show(page, lambda: room.sessions.begin_hunt(kata, bugs), say(PLANTING), lambda: choose_bugs(kata, bugs))


def show(
    page: StartPage,
    begin: Callable[[], int],
    meanwhile: str = "",
    choose: Callable[[], object] = lambda: None,
    leads_to: str = "/session/{}",
) -> None:
    """The page, and a button that begins and leads to the session."""

    async def start() -> None:
        start_button.props("disabled")
        trouble.content = sentences([meanwhile or say(STARTING)])
        try:
            number = await run.io_bound(begin)
        except Exception as error:
            known = isinstance(error, UserError)
            fault = say("A fault of the trainer: {error!r}", error=error)
            trouble.content = sentences([str(error) if known else fault], "bad")
            start_button.props(remove="disabled")
            if known:
                return
            raise
        ui.navigate.to(leads_to.format(number))

    with frame(page.title):
        html(sentences(page.sentences, ""))
        if page.warning:
            html(sentences([page.warning], "because"))
        choose()
        with ui.element("div").classes("buttons"):
            start_button = button(say("Start the clock"), start, "main")
            ui.link(say(BACK[page.leaving]), "/")
        trouble = html("").props("role=status")


def choose_bugs(kata: Kata, bugs: int) -> None:
    with ui.element("nav").props(labelled(say("How many bugs"))), ui.element("ul").classes("roles"):
        for number in BUGS:
            with ui.element("li"):
                text = say_number("{number} bug", "{number} bugs", number)
                link = ui.link(text, f"/hunt/{kata.name}?bugs={number}")
                if number == bugs:
                    link.props("aria-current=page")
