"""Runs katas without a terminal, for notebook cells, a tutor and the browser: one fork server that stays, and each verdict recorded."""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dojo.core.catalog import Catalog, Kata
from dojo.core.errors import UserError
from dojo.core.outcome import full_stop, sentences_of
from dojo.core.paths import Checkout
from dojo.core.stubs import handed_out
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Diagnosed, Job, JobDied, Ready, Verdict
from dojo.practice import actions
from dojo.practice.live_run import JOB_NUMBERS, LiveRun, death_sentence
from dojo.progress.schedule import describe_new_ratings

POLL_S = 1.0
SUPERSEDED_POLL_S = 0.05


def never() -> bool:
    return False


class Headless:
    """The fork server starts with the first run, and ends with `close`."""

    def __init__(self, checkout: Checkout, catalog: Catalog) -> None:
        self.checkout, self.catalog = checkout, catalog
        self._forkserver: ForkServer | None = None

    def warm_up(self) -> None:
        """Starts the fork server, so that the first run does not wait for torch."""
        self._forkserver = self._forkserver or ForkServer(self.checkout)

    def close(self) -> None:
        if self._forkserver:
            self._forkserver.close()
            self._forkserver = None

    def run(
        self,
        kata: Kata,
        changed: Callable[[LiveRun], object] = lambda live_run: None,
        live_run: LiveRun | None = None,
        superseded: Callable[[], bool] = never,
    ) -> LiveRun:
        """Runs the tests on the learner's file, waits for the verdict and its diagnosis, and records them.

        Calls `changed` whenever there is news. What stopped nothing, such as a full disk, is in `notices`. `live_run` is one
        of the same kata whose verdict stays until there is a new one. Returns early, with what is known, once `superseded`.
        """
        self.warm_up()
        assert self._forkserver
        live_run = live_run or LiveRun(kata)
        began, number = time.time(), next(JOB_NUMBERS)
        live_run.notices = []
        live_run.start(number, time.monotonic())
        changed(live_run)
        self._forkserver.submit(Job(number, kata.name, self.checkout.answers))
        verdict: Verdict | None = None
        while not superseded():
            for message in self._forkserver.messages(POLL_S if superseded is never else SUPERSEDED_POLL_S):
                if isinstance(message, Ready):
                    live_run.started_at = time.monotonic()  # the first verdict has waited for torch
                if not live_run.apply(message, time.monotonic()):
                    continue
                changed(live_run)
                verdict = message if isinstance(message, Verdict) else verdict
                if isinstance(message, Diagnosed | JobDied) or (
                    isinstance(message, Verdict) and not any(o.verdict == "failed" for o in message.outcomes)
                ):
                    return self._recorded(live_run, verdict, began)
        return self._recorded(live_run, verdict, began)

    def _recorded(self, live_run: LiveRun, verdict: Verdict | None, began: float) -> LiveRun:
        if verdict:  # also when the fork server ended while the mistake was looked for
            notice = actions.record_verdict(self.checkout, live_run, verdict, began)
            live_run.notices += [notice] if notice else []
            with suppress(UserError):  # the history's trouble has been told
                live_run.notices += describe_new_ratings(self.checkout, self.catalog, time.time())
        return live_run


def facts(checkout: Checkout, live_run: LiveRun) -> dict[str, Any]:
    """What a run has shown, as plain data with sentences for people."""
    kata, verdict, died, failure = live_run.kata, live_run.verdict, live_run.died, live_run.failure
    counted = {number: (passed, tests) for number, passed, tests in live_run.stages()}
    when, printed = live_run.printed
    names_nothing = failure is not None and not checkout.solutions.is_dir()
    return {
        "kata": kata.name,
        "title": kata.title,
        "file": checkout.shown(checkout.answer(kata.name)),
        "solved": live_run.solved,
        "passed": verdict.passed if verdict else 0,
        "tests": len(verdict.counted) if verdict else 0,
        "stages": [
            {
                "stage": number,
                "asks": asks,
                "passed": counted.get(number, (0, 0))[0],
                "tests": counted.get(number, (0, 0))[1],
            }
            for number, asks in enumerate(kata.stages, 1)
        ],
        "died": death_sentence(died) if died else "",
        "failing_test": failure.test if failure else "",
        "failure": failure.message if failure else "",
        "failures": len(live_run.failures),
        "named": [full_stop(sentence) for sentence in sentences_of(live_run.diagnoses)],
        "to_write": [] if failure else live_run.unwritten,
        "printed": printed,
        "printed_when": when,
        "notices": [*live_run.notices, *([handed_out()] if names_nothing else [])],
    }
