"""A room in a process of its own, as a person starts it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from itertools import count
from pathlib import Path

from dojo.core.paths import Checkout
from dojo.progress.attempts import Attempt, read_attempts
from dojo.progress.sessions import Session, SessionLog
from dojo.tests.checkouts import REPOSITORY, add_kata, make_checkout

START_S = 60
KATAS = [f"tiny{number:02}" for number in range(40)]
NUMBERS = count()  # of those that no test has taken yet


@dataclass(frozen=True)
class OneKata:
    """A kata that no other test touches."""

    checkout: Checkout
    name: str

    @property
    def path(self) -> str:
        return f"/kata/{self.name}"

    @property
    def file(self) -> Path:
        return self.checkout.answer(self.name)

    @property
    def reference(self) -> str:
        return self.checkout.reference(self.name).read_text()

    @property
    def session(self) -> Session:
        """The drill or hunt of this kata."""
        return next(s for s in reversed(SessionLog(self.checkout).sessions()) if s.kata == self.name)

    @property
    def attempts(self) -> list[Attempt]:
        return [attempt for attempt in read_attempts(self.checkout) if attempt.kata == self.name]

    @property
    def copies(self) -> list[str]:
        """What lies in .dojo/backups/."""
        folder = self.checkout.state / "backups"
        return [copy.read_bytes().decode("utf-8", "replace") for copy in sorted(folder.glob(f"{self.name}-*.py"))]


def any_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningRoom:
    """`kata room` in `checkout`; `address` is what it printed."""

    def __init__(self, checkout: Checkout, *arguments: str) -> None:
        self.checkout = checkout
        # Rooms that start at the same moment, in several processes of tests, would all find the usual port free.
        self.arguments = arguments if "--port" in arguments else (*arguments, "--port", str(any_free_port()))
        self.start()

    def start(self) -> None:
        self.log = self.checkout.work / "room.log"
        # NiceGUI behaves otherwise in a process that looks like a test.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        environment = {**inherited, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dojo.cli", "room", "--no-open", *self.arguments],
                cwd=self.checkout.work,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.address = self._wait_for(r"http://\S+")
        self.port = int(re.search(r":(\d+)/", self.address)[1])
        self.secret = self.address.partition("secret=")[2]
        self.base = f"http://127.0.0.1:{self.port}"
        self.cookie = f"kata_room_{self.port}={self.secret}"
        self._wait_until_it_answers()

    def _wait_for(self, pattern: str) -> str:
        end = time.monotonic() + START_S
        while time.monotonic() < end and self.process.poll() is None:
            if found := re.search(pattern, self.log.read_text()):
                return found[0]
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def _wait_until_it_answers(self) -> None:
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                self.get("/")
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError(self.log.read_text())

    def get(self, path: str, method: str = "GET", *, with_secret: bool = True, **headers: str) -> HTTPResponse:
        """The answer to one request; `headers` are written with _ for -."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        sent = {"Cookie": self.cookie} if with_secret else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers=sent)
        answer = connection.getresponse()
        answer.text = answer.read().decode("utf-8", "replace")
        connection.close()
        return answer

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ends the room; returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(30)


def room_of(folder: Path, *arguments: str, katas: Sequence[str] = ("tiny",)) -> RunningRoom:
    """A room in a new checkout with these katas, which are all alike."""
    checkout = make_checkout(folder)
    for name in katas:
        add_kata(checkout, name)
    return RunningRoom(checkout, *arguments)
