"""Starts the room: its pages, on a port of this machine that nobody else can reach."""

import os
import secrets
import socket
from contextlib import suppress
from typing import Literal

from nicegui import app, ui

from dojo.core.errors import UserError
from dojo.core.language import language, say
from dojo.room import interview_page, kata_page, list_page, session_page, start_pages
from dojo.room.frame import SHARED_STYLE
from dojo.room.guard import PARAMETER, Guard
from dojo.room.state import Room

LOOPBACK, EVERYWHERE = "127.0.0.1", "0.0.0.0"
PORT = 8722
SHUTDOWN_S = 2
FAVICON = "🥋"
LANGUAGE_CODES: dict[str, Literal["zh-CN"]] = {"zh": "zh-CN"}  # as NiceGUI calls them


def free_port(wanted: int | None) -> int:
    """`wanted`; or else the usual one if it is free, or any. Raises UserError if the wanted one is taken."""
    for port in [wanted] if wanted else [PORT, 0]:
        with socket.socket() as probe:
            if os.name == "posix":  # the connections of a room that has just ended may linger
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UserError(say("Port {port} is taken, perhaps by another room. Any that is free: kata room", port=wanted))


def address(port: int, secret: str, kata: str = "") -> str:
    """What the browser opens."""
    return f"http://{LOOPBACK}:{port}{path(secret, kata)}"


def path(secret: str, kata: str) -> str:
    return f"/{f'kata/{kata}' if kata else ''}?{PARAMETER}={secret}"


def serve(room: Room, port: int, secret: str, kata: str, *, show: bool, everywhere: bool) -> None:
    """Serves until Ctrl-C. `everywhere` is for a container, whose own loopback nobody outside can reach."""
    ticket = secrets.token_urlsafe(32)  # a browser's command line can be read by every user of this machine
    app.add_middleware(Guard, secret=secret, port=port, ticket=ticket)
    for page in (list_page, kata_page, start_pages, session_page, interview_page):
        page.add(room)
    app.on_shutdown(room.close)
    ui.add_head_html(f"<style>{SHARED_STYLE.read_text(encoding='utf-8')}</style>", shared=True)
    with suppress(KeyboardInterrupt):  # which uvicorn raises again once it has shut everything down
        _run(port, path(ticket, kata) if show else False, EVERYWHERE if everywhere else LOOPBACK)


def _run(port: int, show: str | bool, host: str) -> None:
    ui.run(
        host=host,
        port=port,
        title="katas",
        language=LANGUAGE_CODES.get(language(), "en-US"),
        favicon=FAVICON,
        dark=None,
        reload=False,
        show=show,
        show_welcome_message=False,
        tailwind=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
