"""Draws one screen, reads single keys, and restores the terminal on every exit.

`Terminal.keys` is the reading end of a pipe with a word for each key ("q", "enter", "up"), so that one can wait for it
together with other pipes. On Windows keys come from msvcrt, elsewhere from the terminal in cbreak mode.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Pipe
from typing import Any

from rich.console import Console, RenderableType

from dojo.core.errors import UserError
from dojo.practice.keys import KEY_NAMES, KeyReader

RESIZED = "resized"  # comes through `keys` when the window has another size
CLOSED = "closed"  # when the terminal is gone
# Alternate screen without a cursor; the terminal marks what is pasted.
ENTER_SCREEN, LEAVE_SCREEN = "\x1b[?1049h\x1b[?25l\x1b[?2004h", "\x1b[?2004l\x1b[?25h\x1b[?1049l"


def is_interactive() -> bool:
    """Whether keys can be read and a screen drawn."""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


class Terminal:
    """`with Terminal() as terminal:` takes over the screen and the keys until the block ends."""

    def __init__(self, command: str = "this command") -> None:
        if not is_interactive():
            raise UserError(f"{command} needs a terminal with keys and a screen. Without one: kata test NAME")
        environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        self.console = Console(highlight=False, _environ=environment)  # follows the window's size
        self.keys, self._key_sender = Pipe(duplex=False)
        self._drawn: list[str] = []
        self._wake_reader, self._wake_writer = os.pipe()
        self._suspended = threading.Event()  # the reader thread must leave the keys alone
        self._reader_idle = threading.Event()  # the reader thread leaves the keys alone
        self._mode: Any = None  # of the terminal before; None on Windows

    def __enter__(self) -> "Terminal":
        self._enter_screen()
        if hasattr(signal, "SIGWINCH"):
            signal.signal(signal.SIGWINCH, lambda *_: self._key_sender.send(RESIZED))
            signal.signal(signal.SIGTSTP, self._stop_process)
        for name in ("SIGTERM", "SIGHUP", "SIGQUIT"):  # SIGQUIT is Ctrl-\
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), _exit)  # an exception, so that `__exit__` restores the screen
        threading.Thread(target=self._read_keys, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._suspended.set()
        os.write(self._wake_writer, b".")
        self._restore()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        return self.console.size

    def lines(self, *parts: RenderableType, width: int | None = None) -> list[str]:
        """The lines that `parts` take on the screen, with colours."""
        console, width = self.console, width or self.size[0]
        with console.capture() as capture:
            for part in parts:
                console.print(part, width=width, overflow="fold")
        return capture.get().rstrip("\n").split("\n")

    def draw(self, lines: list[str]) -> None:
        """Replaces the screen by `lines`. Writes nothing if nothing has changed, so that nothing flickers."""
        lines = lines[: self.size[1]]
        if lines == self._drawn:
            return
        self._drawn = list(lines)
        text = "\x1b[H" + "\r\n".join(f"\x1b[K{line}\x1b[0m" for line in lines) + "\x1b[J"
        with suppress(BlockingIOError):
            sys.stdout.write(text)
            sys.stdout.flush()

    def redraw(self) -> None:
        """Makes the next `draw` write everything, because the window has another size or something else wrote on it."""
        self._drawn = []

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Leaves keys and screen to another program, an editor for example, until the block ends."""
        self._suspended.set()
        os.write(self._wake_writer, b".")
        self._reader_idle.wait(1)
        self._restore()
        # Ctrl-C and Ctrl-\ are for the other program, which still gets them; Ctrl-Z stops both.
        handlers: dict[str, Any] = {"SIGINT": _ignore, "SIGQUIT": _ignore, "SIGTSTP": signal.SIG_DFL}
        numbers = {getattr(signal, name): handler for name, handler in handlers.items() if hasattr(signal, name)}
        before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._enter_screen()
            self._reader_idle.clear()
            self._suspended.clear()
            self.redraw()

    def _enter_screen(self) -> None:
        if os.name != "nt":
            import termios
            import tty

            self._mode = termios.tcgetattr(sys.stdin.fileno())
            tty.setcbreak(sys.stdin.fileno())
        sys.stdout.write(ENTER_SCREEN)
        sys.stdout.flush()

    def _restore(self) -> None:
        with suppress(OSError, ValueError):  # the terminal may be closed
            sys.stdout.write(LEAVE_SCREEN)
            sys.stdout.flush()
        if self._mode is not None:
            import termios

            with suppress(termios.error):
                termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, self._mode)

    def _stop_process(self, *_: object) -> None:
        """Ctrl-Z: restores the shell's screen and stops; after `fg` the screen is drawn again."""
        self._restore()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._stop_process)
        self._enter_screen()
        self.redraw()
        self._key_sender.send(RESIZED)

    def _read_keys(self) -> None:
        if os.name == "nt":
            self._read_windows()
            return
        import select

        source = sys.stdin.fileno()
        reader = KeyReader()
        while True:
            ready, _, _ = select.select([source, self._wake_reader], [], [])
            if self._wake_reader in ready:
                os.read(self._wake_reader, 1)
            if self._suspended.is_set():
                self._reader_idle.set()
                while self._suspended.is_set():
                    threading.Event().wait(0.05)
                continue
            if source in ready:
                try:
                    text = os.read(source, 4096).decode("utf-8", "replace")
                except OSError:
                    text = ""
                if not text:  # the terminal was closed
                    self._key_sender.send(CLOSED)
                    return
                for key in reader.keys(text, time.monotonic()):
                    self._key_sender.send(key)

    def _read_windows(self) -> None:
        import msvcrt

        arrows = {"H": "up", "P": "down", "I": "page up", "Q": "page down", "G": "home", "O": "end"}
        while True:
            key = msvcrt.getwch()  # type: ignore[attr-defined]
            key = arrows.get(msvcrt.getwch(), "") if key in "\x00\xe0" else KEY_NAMES.get(key, key)  # type: ignore[attr-defined]
            if key:
                self._key_sender.send(key)


def _ignore(*_: object) -> None:
    """A handler, unlike SIG_IGN, is not inherited by the other program."""


def _exit(*_: object) -> None:
    raise SystemExit(1)
