"""Which lines of one file run, for the proof to choose the tests that can see a change."""

import sys
import threading
from types import FrameType
from typing import Any


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
