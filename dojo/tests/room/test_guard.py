"""Who may talk to the room: each way in that a stranger could try."""

import asyncio
import os
import socket
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner

from dojo.cli import main
from dojo.core.paths import Checkout
from dojo.room.guard import HEADERS, SECRET_FILE, Guard, read_secret
from dojo.tests.checkouts import REPOSITORY
from dojo.tests.room.rooms import room_of

pytest.importorskip("nicegui")
SOCKET = "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    room = room_of(tmp_path_factory.mktemp("guarded") / "checkout")
    yield room
    room.stop()


# The secret


@pytest.mark.parametrize("path", ["/", "/kata/tiny", "/session/1", "/_nicegui/anything.js", "/nowhere", SOCKET])
def test_without_the_secret_nothing_is_served(room, path):
    answer = room.get(path, with_secret=False)
    assert answer.status == 403
    assert "kata room" in answer.text
    assert "tiny" not in answer.text


@pytest.mark.parametrize(
    "cookie", ["", "x", "kata_room_{port}=", "kata_room_{port}=guess", "kata_room_1={secret}", "=;;="]
)
def test_another_cookie_is_no_secret(room, cookie):
    cookie = cookie.format(port=room.port, secret=room.secret)
    assert room.get("/", with_secret=False, Cookie=cookie).status == 403


@pytest.mark.parametrize("other", ['a={"b": "c, d"}', "a b=c", "=", "{cookie}x", "=;;="])
def test_the_cookies_of_other_servers_of_this_machine_do_no_harm(room, other):
    """Cookies do not know ports."""
    cookies = f"{other.replace('{cookie}', room.cookie)}; {room.cookie}"
    assert room.get("/", with_secret=False, Cookie=cookies).status == 200


def test_the_address_gives_a_cookie_and_leads_to_the_page_without_the_secret(room):
    """So that it is in no history entry, and in no Referer."""
    answer = room.get(f"/kata/tiny?secret={room.secret}", with_secret=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/kata/tiny")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith(f"kata_room_{room.port}={room.secret};")
    assert {"HttpOnly", "SameSite=Strict"} <= set(cookie.split("; "))
    assert room.get("/kata/tiny").status == 200
    answer = room.get(f"/hunt/tiny?bugs=2&secret={room.secret}", with_secret=False)
    assert answer.headers["Location"] == "/hunt/tiny?bugs=2"


def test_the_redirection_leads_to_no_other_site(room):
    answer = room.get(f"//elsewhere.example/?secret={room.secret}", with_secret=False)
    assert answer.headers["Location"] == "/elsewhere.example/"


def test_a_wrong_secret_in_the_address_is_refused(room):
    assert room.get("/?secret=guess", with_secret=False).status == 403
    assert room.get("/?secret=", with_secret=False).status == 403


def test_the_secret_is_its_owners_and_stays(tmp_path):
    """Open pages survive a restart; a file that others could read is replaced."""
    checkout = Checkout(tmp_path)
    secret = read_secret(checkout)
    file = checkout.state / SECRET_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(secret) >= 43
    assert read_secret(checkout) == secret
    file.chmod(0o644)
    assert read_secret(checkout) != secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_link_in_the_secrets_place_is_not_followed(tmp_path):
    checkout = Checkout(tmp_path)
    elsewhere = tmp_path / "known to others"
    elsewhere.write_text("x" * 43)
    elsewhere.chmod(0o600)
    file = checkout.state / SECRET_FILE
    file.parent.mkdir()
    file.symlink_to(elsewhere)
    assert read_secret(checkout) != "x" * 43
    assert not file.is_symlink()
    assert elsewhere.read_text() == "x" * 43


def test_what_the_browser_is_opened_with_works_once():
    """It stands in a command line, which the other users of the machine can read."""
    statuses = []

    async def app(scope, receive, send):
        raise AssertionError("it has no cookie")

    async def send(message):
        statuses.append(message.get("status"))

    guard = Guard(app, "the secret", 8722, ticket="a ticket")
    scope = {
        "type": "http",
        "headers": [(b"host", b"127.0.0.1:8722")],
        "query_string": b"secret=a+ticket",
        "raw_path": b"/",
    }
    asyncio.run(guard(scope, None, send))
    asyncio.run(guard(scope, None, send))
    asyncio.run(guard({**scope, "query_string": b"secret="}, None, send))
    assert [status for status in statuses if status] == [303, 403, 403]


# Other sites


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:{port}", ""]
)
def test_a_foreign_host_is_refused_even_with_the_secret(room, host):
    """DNS rebinding: a name of an attacker's that leads to 127.0.0.1 keeps its name in the Host header."""
    assert room.get("/", Host=host.format(port=room.port)).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}"])
def test_the_names_of_this_machine_are_let_in(room, host):
    assert room.get("/", Host=host.format(port=room.port)).status == 200


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1:{port}", "http://localhost:{port}"],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_origin_is_refused_even_with_the_secret(room, origin, method):
    """A page of another site, or of another server of this machine, that sends a request or a form."""
    assert room.get("/", method, Origin=origin.format(port=room.port)).status == 403


def test_our_own_origin_is_let_in(room):
    assert room.get("/", Origin=room.base).status == 200


def test_no_other_site_may_read_or_frame_what_is_served(room):
    for path in ("/", "/kata/tiny", "/nowhere"):
        headers = room.get(path, Origin=room.base).headers
        assert not [name for name in headers if name.lower().startswith("access-control")]
        for name, value in HEADERS.items():
            assert headers[name] == value, (path, name)


# The websocket, over which everything is done


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_a_websocket_of_another_site_is_refused(room, origin):
    assert room.get(SOCKET, **UPGRADE, Origin=origin).status == 403


def test_a_websocket_without_the_secret_is_refused(room):
    assert room.get(SOCKET, with_secret=False, **UPGRADE, Origin=room.base).status == 403


def test_a_websocket_under_another_name_is_refused(room):
    assert room.get(SOCKET, **UPGRADE, Host=f"evil.example:{room.port}").status == 403


def test_the_rooms_own_websocket_opens(room):
    """Else the tests above would pass for any reason."""
    with socket.create_connection(("127.0.0.1", room.port), timeout=20) as connection:
        lines = [
            f"GET {SOCKET} HTTP/1.1",
            f"Host: 127.0.0.1:{room.port}",
            f"Origin: {room.base}",
            f"Cookie: {room.cookie}",
        ]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in UPGRADE.items()]
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 101")


# Nothing else is served, and to nobody else


@pytest.mark.parametrize(
    "path",
    [
        "/../conftest.py",
        "/%2e%2e/conftest.py",
        "/answers/tiny.py",
        "/katas/tiny.py",
        "/docs",
        "/openapi.json",
        "/_nicegui/../../conftest.py",
        "/kata/..%2f..%2fconftest",
    ],
)
def test_no_file_is_served(room, path):
    answer = room.get(path)
    assert "tiny.double: write me" not in answer.text
    assert "pytest_plugins" not in answer.text
    assert answer.status in (200, 404)  # an unknown kata has a page that says so
    assert answer.status == 404 or "'.." in answer.text or "conftest" in answer.text


def test_only_this_machine_can_reach_it(room):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing; tells the address that would be used
            own = probe.getsockname()[0]
        except OSError:
            pytest.skip("this machine has no address but its loopback")
    if own.startswith("127."):
        pytest.skip("this machine has no address but its loopback")
    with pytest.raises(OSError):
        socket.create_connection((own, room.port), timeout=2).close()


def test_outside_a_container_nobody_else_is_let_in(checkout, monkeypatch):
    monkeypatch.setattr("dojo.cli.room.CONTAINERS", (str(checkout.root / "nowhere"),))
    result = CliRunner().invoke(main.main, ["room", "--no-open", "--container"])
    assert result.exit_code == 2
    assert "no container" in result.stderr


def test_without_nicegui_it_says_how_to_get_it(checkout, monkeypatch):
    monkeypatch.setitem(sys.modules, "nicegui", None)  # as if it were not installed
    result = CliRunner().invoke(main.main, ["room"])
    assert (result.exit_code, result.stderr) == (2, "The room needs NiceGUI: pip install -e '.[room]'\n")


def test_a_taken_port_is_told(room):
    command = [sys.executable, "-m", "dojo.cli", "room", "--no-open", "--port", str(room.port)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    run = subprocess.run(command, capture_output=True, text=True, cwd=room.checkout.root, env=environment)
    assert run.returncode == 2
    assert f"Port {room.port} is taken" in run.stderr
