"""Counts the work of plain Python, which no operator of torch shows: the lines of the kata's file that run."""

import sys
from collections.abc import Callable
from types import FrameType, ModuleType
from typing import Any, TypeVar

from dojo.testing.checks import Wrong

T = TypeVar("T")


class _TooMany(BaseException):
    """Ends the block at once: no `except Exception` of the kata may hold it, and quadratic work would take minutes."""


def expect_lines(run: Callable[[], T], kata: ModuleType, most: int, *, what: str, hint: str = "") -> T:
    """Returns what `run` returns, and fails if it executes more than `most` lines of the kata's file.

    The count is equal on every machine. Work within one line (a method of bytes, numpy) counts once, and so does a round
    of a comprehension.
    """
    lines = 0
    # It goes on to see everything: the proof asks by a trace which functions a case of a probe enters.
    before: Any = sys.gettrace()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        others = before(frame, event, argument) if before else None
        if frame.f_code.co_filename != kata.__file__:
            return others

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal lines, others
            others = others(frame, event, argument) if others else None
            lines += event == "line"
            if lines > most:
                raise _TooMany
            return step

        return step

    sys.settrace(enter)
    try:
        return run()
    except _TooMany:
        raise Wrong(f"{what} should execute at most {most} lines, but needs more", hint=hint) from None
    finally:
        sys.settrace(before)
