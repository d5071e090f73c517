"""What `kata watch` knows about the kata under test. No terminal, no process: messages in, facts out."""

from dataclasses import dataclass, field

from dojo.core.catalog import Kata
from dojo.core.outcome import Diagnosis, Outcome
from dojo.engine.messages import Diagnosed, FirstFailure, JobDied, Message, Ready, Running, Verdict


@dataclass
class LiveRun:
    """One kata, the run in progress and the last verdict on it."""

    kata: Kata
    number: int = 0  # of the newest job; messages of older ones are late and ignored
    running: Running | None = None
    waiting: bool = False  # a job was given and has no verdict yet
    first: Outcome | None = None  # told before the verdict
    verdict: Verdict | None = None
    lost: JobDied | None = None
    diagnoses: tuple[Diagnosis, ...] = ()
    milliseconds: float = 0.0  # from the save to the verdict
    began: float = 0.0
    solved_before: bool = False
    notes: list[str] = field(default_factory=list)  # trouble that stops nothing, such as a full disk

    def begin(self, number: int, now: float) -> None:
        """A job was submitted; the old verdict stays on the screen until the new one comes."""
        self.number, self.waiting, self.running, self.first, self.began = number, True, None, None, now

    def take(self, message: Message, now: float) -> bool:
        """Takes in a message; False when it is about an older job, or changes nothing."""
        if isinstance(message, JobDied) and message.number == 0:
            self.lost, self.waiting = message, False
            return True
        if isinstance(message, Ready) or message.number != self.number:
            return False
        if isinstance(message, Running):
            self.running = message
        elif isinstance(message, FirstFailure):
            self.first, self.lost, self.diagnoses = message.outcome, None, ()
            self.milliseconds = (now - self.began) * 1000
        elif isinstance(message, Verdict):
            if not self.first:
                self.milliseconds = (now - self.began) * 1000
            self.verdict, self.waiting, self.lost, self.diagnoses = message, False, None, ()
        elif isinstance(message, Diagnosed):
            self.diagnoses = message.diagnoses
        elif isinstance(message, JobDied):
            self.lost, self.waiting, self.verdict = message, False, None
        return True

    @property
    def failure(self) -> Outcome | None:
        """What to explain: an import that broke, else the wrong answer of the lowest stage."""
        if self.waiting and self.first:
            return self.first
        wrong = [o for o in self.verdict.outcomes if o.verdict in ("error", "failed")] if self.verdict else []
        return min(wrong, key=lambda o: o.stage, default=None)

    @property
    def unwritten(self) -> list[str]:
        """The stub's own sentences ("ddpm.q_sample: write me"), in the order of the tests."""
        found = [o.message for o in self.verdict.outcomes if o.verdict == "not started"] if self.verdict else []
        return list(dict.fromkeys(found))

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
        return bool(self.verdict and self.verdict.all_passed and not self.lost)
