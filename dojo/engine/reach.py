"""Which lines of one file run, and whether more is done with it, for the proof to choose the tests that can see a change."""

import sys
import threading
from types import FrameType
from typing import Any

STARTS_PROCESS = {"os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec", "os.system", "subprocess.Popen"}


class ElsewhereTrace:
    """Counts how often this process, until it ends, starts another one or reads `filename`: a LineTrace misses these uses."""

    def __init__(self, filename: str) -> None:
        self.filename, self.count = filename, 0
        sys.addaudithook(self._note)  # Python has no way to remove it

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in STARTS_PROCESS or (event == "open" and str(arguments[0]) == self.filename):
            self.count += 1


class LineTrace:
    """A context manager that adds to `lines` the number of every line of `filename` that this process runs meanwhile."""

    def __init__(self, filename: str) -> None:
        self.filename = filename
        self.lines: set[int] = set()
        self._before = sys.gettrace()

    def __enter__(self) -> "LineTrace":
        threading.settrace(self._enter_function)
        sys.settrace(self._enter_function)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)
        threading.settrace(None)

    def _enter_function(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._run_line if frame.f_code.co_filename == self.filename else None

    def _run_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.lines.add(frame.f_lineno)
        return self._run_line
