"""Who may talk to the room: the browser of the person who started it, and nobody else.

The room runs code, so each request needs a secret. The address that `kata room` prints holds it; it is exchanged for a cookie
that the browser sends with requests of the room's own pages only (SameSite=Strict). A page of another site that points at
this port, by its own name (DNS rebinding) or by ours, is refused by its Host or its Origin before anything else is looked at.
"""

import os
import secrets
import stat
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.language import say, to_say
from dojo.core.paths import Checkout

# Of the ASGI specification.
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SECRET_FILE = "room.secret"
PARAMETER = "secret"  # of the address
NAMES = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "Cache-Control": "no-store",
    # NiceGUI's pages are made by scripts of their own, over a websocket.
    "Content-Security-Policy": "frame-ancestors 'none'; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; connect-src 'self' ws://127.0.0.1:* ws://localhost:*",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
FOREIGN = to_say(
    "This page belongs to the person who started it, and the request comes from elsewhere. Nothing was done.\n"
)
NO_SECRET = to_say("Open the address that `kata room` printed: it holds the secret of this page.\n")


def read_secret(checkout: Checkout) -> str:
    """The secret of this workspace, which only its owner can read. It stays, so that open pages survive a restart."""
    file = checkout.state / SECRET_FILE
    try:
        known = file.read_text(encoding="ascii").strip()
        if len(known) >= 32 and _is_ours_alone(file):
            return known
    except (OSError, UnicodeDecodeError):
        pass
    secret = secrets.token_urlsafe(32)
    try:
        file.unlink(missing_ok=True)  # `write` gives a file the mode of the one that it replaces
        write(file, "")
        file.chmod(0o600)
        write(file, secret)
    except (OSError, UserError):  # the pages of a room that is started again have to be opened again
        pass
    return secret


def _is_ours_alone(file: Path) -> bool:
    """Whether nobody else can read or could have written it: a link, or a file of somebody else's, is none of ours."""
    status = file.lstat()
    ours = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return stat.S_ISREG(status.st_mode) and ours and not status.st_mode & 0o077


class Guard:
    """ASGI middleware around everything that the room serves, its websocket included."""

    def __init__(self, app: App, secret: str, port: int, ticket: str = "") -> None:
        self.app, self.secret, self.port = app, secret, port
        self.ticket = ticket  # opens the room once
        self.hosts = {f"{name}:{port}" for name in NAMES}
        self.cookie = f"kata_room_{port}"  # cookies do not know ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if refusal := self.refusal(headers):
            await _refuse(scope, receive, send, refusal)
        elif any(map(self._is_secret, self._cookies(headers))):
            await self.app(scope, receive, _with_headers(send))
        elif scope["type"] == "http" and self._opens(_parameter(scope)):
            await self._exchange(scope, send)
        else:
            await _refuse(scope, receive, send, NO_SECRET)

    def refusal(self, headers: Mapping[str, str]) -> str:
        """Why a request with these headers is refused, whoever sends it; empty if it is not."""
        if headers.get("host") not in self.hosts:
            return FOREIGN
        if "origin" in headers and headers["origin"] != f"http://{headers['host']}":
            return FOREIGN
        return ""

    def _opens(self, parameter: str) -> bool:
        """Whether this parameter of an address is the secret, or the ticket, which is then used up."""
        if self.ticket and secrets.compare_digest(parameter.encode(), self.ticket.encode()):
            self.ticket = ""
            return True
        return self._is_secret(parameter)

    def _is_secret(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.secret.encode())

    def _cookies(self, headers: Mapping[str, str]) -> list[str]:
        """The values of our cookie. Others, of other servers of this machine, may be written as they like."""
        pairs = (part.strip().partition("=") for part in headers.get("cookie", "").split(";"))
        return [value for name, _, value in pairs if name == self.cookie]

    async def _exchange(self, scope: Scope, send: Send) -> None:
        """Gives the cookie for the secret in the address, and leads to the same page without it."""
        path = scope.get("raw_path", b"/").decode("latin-1")
        path = "/" + path.lstrip("/")  # `//elsewhere` would lead to another site
        rest = [(name, value) for name, value in _query(scope) if name != PARAMETER]
        path += f"?{urlencode(rest)}" if rest else ""
        cookie = f"{self.cookie}={self.secret}; HttpOnly; SameSite=Strict; Path=/"
        headers = {**HEADERS, "Location": path, "Set-Cookie": cookie, "Content-Length": "0"}
        await send({"type": "http.response.start", "status": 303, "headers": _encoded(headers)})
        await send({"type": "http.response.body", "body": b""})


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)


def _parameter(scope: Scope) -> str:
    return dict(_query(scope)).get(PARAMETER, "")


async def _refuse(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why.strip()})
        return
    body = say(why).encode()
    headers = {**HEADERS, "Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
    await send({"type": "http.response.start", "status": 403, "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(h for h in _encoded(HEADERS) if h[0].lower() not in known)]
        await send(message)

    return sending


def _encoded(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
