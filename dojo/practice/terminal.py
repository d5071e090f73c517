"""A terminal that shows one screen and reads single keys, and is always given back as it was.

`Terminal.keys` is a pipe's end with a word for each key ("q", "enter", "up"), so it can be waited for together with
other pipes. On Windows keys come from msvcrt, elsewhere from the terminal in cbreak mode.
"""

import os
import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from typing import Any

from rich.console import Console, RenderableType

from dojo.core.errors import UserError

NAMES = {
    "\r": "enter",
    "\n": "enter",
    " ": "space",
    "\x1b": "escape",
    "\x04": "q",
    "\x1b[A": "up",
    "\x1b[B": "down",
    "\x1b[5~": "page up",
    "\x1b[6~": "page down",
    "\x1bOA": "up",
    "\x1bOB": "down",
}
KEY = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1bO.|\x1b[^\x1b]|.", re.DOTALL
)  # arrows, F1, Alt with a key; one character
RESIZED = "resized"
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # another screen, no cursor; and back


def is_interactive() -> bool:
    """Whether a person sits here: keys can be read and a screen drawn."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


class Terminal:
    """`with Terminal() as terminal:` takes the screen and the keys, and gives both back whatever happens."""

    def __init__(self, command: str = "this command") -> None:
        if not is_interactive():
            raise UserError(f"{command} needs a terminal with keys and a screen. Without one: kata test NAME")
        kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.console = Console(highlight=False, _environ=kept)  # as wide as the window is, also after a resize
        self.keys, self._sent = Pipe(duplex=False)
        self._shown: list[str] = []
        self._wake_reader, self._wake = os.pipe()
        self._paused = threading.Event()
        self._resting = threading.Event()
        self._mode: Any = None

    def __enter__(self) -> "Terminal":
        self._take()
        if hasattr(signal, "SIGWINCH"):
            signal.signal(signal.SIGWINCH, lambda *_: self._sent.send(RESIZED))
            signal.signal(signal.SIGTSTP, self._stop)
        for ending in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            signal.signal(ending, _leave)  # the screen is given back on the way out
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._paused.set()
        os.write(self._wake, b".")
        self._give_back()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return self.console.size

    def lines(self, *parts: RenderableType, width: int | None = None) -> list[str]:
        """What `parts` look like, one string for each line."""
        console, width = self.console, width or self.size[0]
        with console.capture() as capture:
            for part in parts:
                console.print(part, width=width, overflow="fold")
        return capture.get().rstrip("\n").split("\n")

    def draw(self, lines: list[str]) -> None:
        """Replaces the screen by `lines`; nothing is written when nothing has changed, so nothing flickers."""
        lines = lines[: self.size[1]]
        if lines == self._shown:
            return
        self._shown = list(lines)
        text = "\x1b[H" + "\r\n".join(f"\x1b[K{line}\x1b[0m" for line in lines) + "\x1b[J"
        with suppress(BlockingIOError):
            sys.stdout.write(text)
            sys.stdout.flush()

    def redraw(self) -> None:
        """The next `draw` writes everything: the window has another size, or something else wrote on it."""
        self._shown = []

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Gives keys and screen to another program, an editor for example, and takes them back."""
        self._paused.set()
        os.write(self._wake, b".")
        self._resting.wait(1)
        self._give_back()
        before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the other program's, which still gets it
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self._take()
            self._resting.clear()
            self._paused.clear()
            self.redraw()

    def _take(self) -> None:
        if os.name != "nt":
            import termios
            import tty

            self._mode = termios.tcgetattr(sys.stdin.fileno())
            tty.setcbreak(sys.stdin.fileno())
        sys.stdout.write(ENTER)
        sys.stdout.flush()

    def _give_back(self) -> None:
        with suppress(OSError, ValueError):  # a terminal that was closed takes nothing
            sys.stdout.write(LEAVE)
            sys.stdout.flush()
        if self._mode is not None:
            import termios

            with suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._mode)

    def _stop(self, *_: object) -> None:
        """Ctrl-Z: the shell gets its own screen, and `fg` brings this one back."""
        self._give_back()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stop)
        self._take()
        self.redraw()
        self._sent.send(RESIZED)

    def _read(self) -> None:
        if os.name == "nt":
            self._read_windows()
            return
        import select

        source = sys.stdin.fileno()
        while True:
            ready, _, _ = select.select([source, self._wake_reader], [], [])
            if self._wake_reader in ready:
                os.read(self._wake_reader, 1)
            if self._paused.is_set():
                self._resting.set()
                while self._paused.is_set():
                    threading.Event().wait(0.05)
                continue
            if source in ready:
                try:
                    text = os.read(source, 64).decode("utf-8", "replace")
                except OSError:
                    text = ""
                if not text:  # the terminal is gone
                    self._sent.send("q")
                    return
                for key in keys_in(text):
                    self._sent.send(key)

    def _read_windows(self) -> None:
        import msvcrt

        arrows = {"H": "up", "P": "down", "I": "page up", "Q": "page down"}
        while True:
            key = msvcrt.getwch()  # type: ignore[attr-defined]
            key = arrows.get(msvcrt.getwch(), "") if key in "\x00\xe0" else NAMES.get(key, key)  # type: ignore[attr-defined]
            if key:
                self._sent.send(key)


def keys_in(text: str) -> list[str]:
    """The keys that `text`, as a terminal sends it, stands for; several may arrive at once. Keys unknown here are none."""
    return [NAMES.get(part, part) for part in KEY.findall(text) if part in NAMES or len(part) == 1]


def _leave(*_: object) -> None:
    raise SystemExit(1)
