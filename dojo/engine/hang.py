"""Ends what computes without end: a test, in a line of the learner's file that the failure can name, or a comparison."""

import signal
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

from dojo.core.language import say

BUSY = 5  # so many seconds may pass for one of computing
REPEAT_S = 0.5  # between two attempts to end the same test: the learner's code may catch the first


class StillRunning(BaseException):
    """A test has used too much computing time. No Exception, so that `except Exception` does not swallow it."""


class OutOfTime(BaseException):
    """The block under a `time_limit` has taken too long. No Exception, like StillRunning."""


@contextmanager
def time_limit(limit_s: float | None) -> Iterator[None]:
    """Raises OutOfTime in the block after `limit_s` seconds of computing, or BUSY times as many of waiting.

    It has no limit for None, and on Windows, which lacks the timers.
    """
    if limit_s is None or not hasattr(signal, "setitimer"):
        yield
        return
    if limit_s <= 0:
        raise OutOfTime

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    timers = {signal.ITIMER_PROF: (signal.SIGPROF, limit_s), signal.ITIMER_REAL: (signal.SIGALRM, BUSY * limit_s)}
    before = {number: signal.signal(number, stop) for number, _ in timers.values()}
    for timer, (_, seconds) in timers.items():
        signal.setitimer(timer, seconds, REPEAT_S)
    try:
        yield
    finally:
        for timer in timers:
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


class HangGuard:
    """The plugin that gives each test `limit_s` seconds of the processor; a busy machine takes nothing away.

    The other tests of the kata are then skipped: they would most likely hang as well, each for as long.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.hung = ""  # the first test that did not end

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, None, None]:
        hung_kata, _, test = self.hung.partition("::")
        if self.hung and hung_kata == item.path.parent.name:
            pytest.skip(say("not run, because {test} did not end", test=test))
        before = signal.signal(signal.SIGVTALRM, self._stop)
        signal.setitimer(signal.ITIMER_VIRTUAL, self.limit_s, REPEAT_S)
        try:
            yield
        except StillRunning:
            self.hung = f"{item.path.parent.name}::{item.name}"
            raise
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    def pytest_enter_pdb(self) -> None:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        raise StillRunning(say("was still running after {limit_s:g} s of computing", limit_s=self.limit_s))
