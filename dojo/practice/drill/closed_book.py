"""What a drill keeps back of a failure: the hint of its test and the named mistakes. They are bought as hints are."""

from collections.abc import Collection
from dataclasses import replace

from dojo.core.language import say
from dojo.core.outcome import Outcome, explains
from dojo.practice.live_run import LiveRun
from dojo.progress.sessions import Session, SessionLog


def split(message: str) -> tuple[str, str]:
    """What a failure says at once, and its explanation, which comes last."""
    lines = message.splitlines()
    end = next((number for number, line in enumerate(lines) if explains(line)), len(lines))
    return "\n".join(lines[:end]), "\n".join(lines[end:])


def explanations(live_run: LiveRun) -> list[str]:
    """What can be bought about the failure on the screen: its explanation, and the names of mistakes."""
    failure = live_run.failure
    if failure is None:
        return []
    return [*filter(None, [split(failure.message)[1]]), *(diagnosis.mistake for diagnosis in live_run.diagnoses)]


def closed(live_run: LiveRun, bought: Collection[str]) -> LiveRun:
    """`live_run` without the explanations that were not bought."""

    def shown(outcome: Outcome) -> Outcome:
        at_once, explanation = split(outcome.message)
        return outcome if explanation in bought else replace(outcome, message=at_once)

    verdict, first = live_run.verdict, live_run.first_failure
    return replace(
        live_run,
        first_failure=first and shown(first),
        comparing=0,
        verdict=verdict and replace(verdict, outcomes=tuple(map(shown, verdict.outcomes))),
        diagnoses=tuple(diagnosis for diagnosis in live_run.diagnoses if diagnosis.mistake in bought),
    )


class ClosedBook:
    """What was bought in one session, and the buying. An explanation that was bought once is shown again for nothing."""

    def __init__(self, session: Session, log: SessionLog) -> None:
        self.session, self.log = session, log
        self.paid_run = 0  # the number of the newest run for which something was bought

    def shown(self, live_run: LiveRun) -> LiveRun:
        """`live_run` as the learner may see it."""
        return closed(live_run, self.session.state.bought)

    def buy(self, live_run: LiveRun, naming: bool) -> str:
        """Buys all about the failure on the screen; a sentence if there is nothing to buy.

        While the run is still `naming` mistakes, their names are included in the price.
        """
        failure, new = live_run.failure, self._not_bought(live_run)
        if failure is None:
            return say("No test fails, so there is nothing to explain.")
        if not new and naming:
            return say("Mistakes are still being compared; try again.")
        if not new:
            return say("There is no more about this failure.")
        self.session.state.bought += new
        self.session.state.explained += 1
        self.paid_run = live_run.number
        self.log.add_event(self.session, "hint", f"on {failure.test}")
        return ""

    def add_names(self, live_run: LiveRun) -> None:
        """Adds the mistakes that were named after something had been bought for this run."""
        if live_run.number == self.paid_run:
            self.session.state.bought += self._not_bought(live_run)
            self.log.save(self.session)

    def _not_bought(self, live_run: LiveRun) -> list[str]:
        return [text for text in explanations(live_run) if text not in self.session.state.bought]
