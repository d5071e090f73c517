"""The run in progress and the last verdict, as the screens show them: messages of the fork server in, facts out."""

from dataclasses import dataclass, field
from itertools import count

from dojo.core.catalog import Kata
from dojo.core.language import say
from dojo.core.outcome import Diagnosis, Outcome
from dojo.engine.messages import Comparing, Diagnosed, FirstFailure, JobDied, Message, Ready, Running, Verdict

JOB_NUMBERS = count(1)  # one sequence for all runs, because they may share a fork server


def death_sentence(died: JobDied) -> str:
    """Why a run has no verdict."""
    if died.test:
        return say("The run {why}, in {test}.", why=died.why, test=died.test)
    return say("The run {why}.", why=died.why)


@dataclass
class LiveRun:
    """One kata, the run in progress and the last verdict on it."""

    kata: Kata
    number: int = 0  # of the newest job; messages about older ones are ignored
    running: Running | None = None
    waiting: bool = False  # a job was submitted and has no verdict yet
    first_failure: Outcome | None = None  # arrives before the verdict
    verdict: Verdict | None = None
    died: JobDied | None = None
    comparing: int = 0  # with how many named mistakes the failure is being compared
    diagnoses: tuple[Diagnosis, ...] = ()
    milliseconds: float = 0.0  # from the save to the verdict
    started_at: float = 0.0  # by the monotonic clock
    solved_before: bool = False
    chosen: int = 0  # the number of the failure on the screen
    notices: list[str] = field(default_factory=list)  # errors that stop nothing, such as a full disk

    def start(self, number: int, now: float) -> None:
        """Notes that a job was submitted. The old verdict stays on the screen until the new one comes."""
        self.comparing = 0
        self.number, self.waiting, self.running, self.first_failure, self.started_at = number, True, None, None, now

    def apply(self, message: Message, now: float) -> bool:
        """Applies a message; False if it is about an older job, or changes nothing."""
        if isinstance(message, JobDied) and message.number == 0:
            self.died, self.waiting = message, False
            return True
        if isinstance(message, Ready) or message.number != self.number:
            return False
        if isinstance(message, Running):
            self.running = message
        elif isinstance(message, FirstFailure):
            self.first_failure, self.died, self.diagnoses, self.chosen = message.outcome, None, (), 0
            self.milliseconds = (now - self.started_at) * 1000
        elif isinstance(message, Verdict):
            if not self.first_failure:
                self.milliseconds, self.chosen = (now - self.started_at) * 1000, 0
            self.verdict, self.waiting, self.died, self.diagnoses = message, False, None, ()
        elif isinstance(message, Comparing):
            self.comparing = message.mistakes
        elif isinstance(message, Diagnosed):
            self.diagnoses, self.comparing = message.diagnoses, 0
        elif isinstance(message, JobDied):
            self.died, self.waiting, self.verdict = message, False, None
        return True

    @property
    def failures(self) -> list[Outcome]:
        """The outcomes to explain: an import error, else the failures, those of the lowest stage first."""
        if self.waiting and self.first_failure:
            return [self.first_failure]
        failures = [o for o in self.verdict.outcomes if o.verdict in ("error", "failed")] if self.verdict else []
        return sorted(failures, key=lambda o: o.stage)

    @property
    def failure(self) -> Outcome | None:
        """The failure on the screen: the first one, unless another was chosen."""
        failures = self.failures
        return failures[min(self.chosen, len(failures) - 1)] if failures else None

    def next_failure(self) -> bool:
        """Puts the next failure on the screen; False if there is no other."""
        number = len(self.failures)
        self.chosen = (self.chosen + 1) % number if number else 0
        return number > 1

    @property
    def printed(self) -> tuple[str, str]:
        """When the learner's code printed something, and what; empty texts if it printed nothing.

        In the test whose failure is on the screen; else while the file was imported; else in the first test of all.
        """
        shown = [self.failure] if self.failure else []
        verdict = None if self.waiting and self.first_failure else self.verdict
        outcomes = (*shown, *(verdict.outcomes if verdict else ()))
        printed = [(say("in {test}", test=o.test), o.printed) for o in outcomes]
        printed.insert(len(shown), (say("while the file was imported"), verdict.printed if verdict else ""))
        return next(((when, text) for when, text in printed if text.strip()), ("", ""))

    @property
    def in_order(self) -> list[Outcome]:
        """The outcomes of the last verdict, those of the lowest stage first."""
        return sorted(self.verdict.outcomes, key=lambda o: o.stage) if self.verdict else []

    @property
    def unwritten(self) -> list[str]:
        """The stub's own sentences ("ddpm.q_sample: write me"), in the order of the tests."""
        outcomes = self.verdict.outcomes if self.verdict else ()
        return list(dict.fromkeys(o.message for o in outcomes if o.verdict == "not started"))

    def stages(self) -> list[tuple[int, int, int]]:
        """(stage, tests that pass, tests) for each stage that has tests."""
        counted = self.verdict.counted if self.verdict else ()
        numbers = sorted({o.stage for o in counted if o.stage})
        return [
            (n, sum(o.verdict == "passed" for o in counted if o.stage == n), sum(o.stage == n for o in counted))
            for n in numbers
        ]

    @property
    def solved(self) -> bool:
        return bool(self.verdict and self.verdict.all_passed and not self.died)
