"""A mock interview: the page before it, and the page between its parts, which are sessions as any others."""

from nicegui import ui

from dojo.core.errors import UserError
from dojo.core.language import say, to_say
from dojo.practice.hunt.start import start_page
from dojo.practice.interview import drill_page
from dojo.practice.rounds import (
    ROLES,
    ROUND,
    begin_round,
    end_round,
    parts_of,
    plan_round,
    round_intro,
    round_page,
)
from dojo.practice.start_page import StartPage
from dojo.progress.session_state import RoundPart
from dojo.progress.sessions import Session, SessionLog
from dojo.room.frame import frame, html, link_button, sentences, trouble_page
from dojo.room.html import render
from dojo.room.start_pages import PLANTING, show
from dojo.room.state import Room

KINDS = {"drill": to_say("drill"), "hunt": to_say("hunt")}  # of parts


def add(room: Room) -> None:
    """Registers both pages."""

    @ui.page("/interview")
    def interview(role: str = "") -> None:
        room.sessions.spare.warm_up()
        try:
            _before(room, role)
        except UserError as error:
            trouble_page(error)

    @ui.page("/interview/{number}")
    def between_parts(number: int) -> None:
        session = room.sessions.find(number)
        try:
            if session is None or session.kind != "mock":
                raise UserError(say("There is no mock interview with the number {number}.", number=number))
            _between(room, session)
        except UserError as error:
            trouble_page(error)


def _before(room: Room, role: str) -> None:
    log = SessionLog(room.checkout)
    if role and not (role in ROLES and room.has_katas_of(role)):
        raise UserError(say("There is no mock interview for the role {role}; there is one without a role.", role=role))
    parts = plan_round(log, room.catalog, None, ROLES[role] if role else ROUND)
    show(round_intro(room.checkout, room.catalog, parts), lambda: begin_round(log, parts).id, leads_to="/interview/{}")


def _between(room: Room, session: Session) -> None:
    """What is done, and the next part; after the last one the points."""
    log = SessionLog(room.checkout)
    begun = parts_of(log, session)
    finished = [part for part in begun if part.ended is not None]
    parts = session.state.parts
    if len(finished) == len(parts):
        if session.ended is None:
            end_round(log, session, finished)
        with frame(say("A mock interview")):
            html(sentences(round_page(room.catalog, session, finished), ""))
            link_button(say("All katas"), "/")
        return
    overview = render("interview", parts=[_described(room, part, begun, n) for n, part in enumerate(parts)])
    if len(begun) > len(finished):
        with frame(say("A mock interview")):
            html(overview)
            link_button(say("On with the part that is open"), f"/session/{begun[-1].id}")
        return
    title = say("{number} of {total}: ", number=len(finished) + 1, total=len(parts))
    _offer(room, session, parts[len(finished)], title, overview)


def _described(room: Room, part: RoundPart, begun: list[Session], number: int) -> dict[str, object]:
    stands = say("to come")
    if number < len(begun):
        points = say("{points:g} points", points=begun[number].points or 0)
        stands = say("open") if begun[number].ended is None else points
    title = room.catalog[part.kata].title
    return {"title": title, "kind": say(KINDS[part.kind]), "minutes": part.minutes, "stands": stands}


def _offer(room: Room, session: Session, part: RoundPart, title: str, overview: str) -> None:
    """The page before a part, whose clock begins with its button."""
    kata = room.catalog[part.kata]
    if part.kind == "hunt":
        page: StartPage = start_page(room.checkout, kata, part.bugs, part.minutes, title)
        show(
            page,
            lambda: room.sessions.begin_hunt(kata, part.bugs, part.minutes, session.id),
            say(PLANTING),
            lambda: html(overview),
        )
    else:
        page = drill_page(kata, part.minutes, title)
        show(
            page,
            lambda: room.sessions.begin_drill(kata, part.minutes, session.id),
            choose=lambda: html(overview),
        )
