"""The first page: all katas by track, what was left, what is next, and what is due."""

import time

from nicegui import ui

from dojo.core import answers, humanize
from dojo.core.errors import UserError
from dojo.core.language import say
from dojo.practice.drill.clock import clock_text
from dojo.practice.reading import by_track
from dojo.practice.rounds import ROLES
from dojo.progress.schedule import due_now
from dojo.progress.sessions import Session
from dojo.progress.standing import MARKS, describe_progress, standing_of
from dojo.room.frame import frame, html, trouble_page
from dojo.room.html import render
from dojo.room.state import Room


def add(room: Room) -> None:
    """Registers the page."""

    @ui.page("/", title="katas")
    def list_page(role: str = "") -> None:
        try:
            content = _content(room, role)
        except UserError as error:
            trouble_page(error)
            return
        with frame(""):
            html(content)


def _left(session: Session) -> str:
    left = clock_text(session.seconds_left)
    return say("{left} of {minutes:g} minutes are left", left=left, minutes=session.minutes)


def _content(room: Room, role: str) -> str:
    now = time.time()
    notices = answers.prepare(room.checkout)
    listed = room.catalog.only(role=role or None)
    standing = standing_of(room.checkout, listed.katas, notices.append)
    begun = [kata for kata in listed.katas if standing[kata.name].state == "started"]
    new = [kata for kata in listed.katas if standing[kata.name].state == "not started"]
    due = []
    try:
        due = [
            (d.kata.name, d.kata.title, humanize.when_due(d.at, now)) for d in due_now(room.checkout, room.catalog, now)
        ]
    except UserError as error:
        notices.append(str(error))
    unfinished = room.sessions.unfinished()
    return render(
        "list",
        katas=listed.katas,
        tracks=by_track(listed),
        standing=standing,
        described={kata.name: describe_progress(kata, standing[kata.name]) for kata in begun},
        marks=MARKS,
        solved=sum(progress.state == "solved" for progress in standing.values()),
        role=role,
        roles=list(room.catalog.roles),
        rounds=[name for name in ROLES if room.has_katas_of(name)],
        unfinished=unfinished,
        clocks={s.id: _left(s) for s in unfinished},
        next=next(iter([*begun, *new]), None),
        due=due,
        notices=notices,
    )
