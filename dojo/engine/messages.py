"""What the caller, the warm process and its children say to each other: a job goes in, messages come back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dojo.core.outcome import Outcome, is_solved

SECONDS = 20.0  # a right answer takes three at most


@dataclass(frozen=True)
class Job:
    """Run the tests of `kata` against `target`/kata.py, up to `stage`; `number` comes back in every message."""

    number: int
    kata: str
    target: Path
    stage: int | None = None
    seed: int = 0
    seconds: float = SECONDS
    naming: bool = True


@dataclass(frozen=True)
class Ready:
    """The forkserver is warm; `kind` is "fork" or "spawn"."""

    kind: str


@dataclass(frozen=True)
class Running:
    """A test of the job has begun."""

    number: int
    test: str
    done: int
    total: int


@dataclass(frozen=True)
class FirstFailure:
    """The first wrong answer, told while the other tests still run."""

    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """All tests of the job have run. `source` is the digest of the file that was tested."""

    number: int
    outcomes: tuple[Outcome, ...]
    expected: Mapping[str, int]
    source: str
    seconds: float

    @property
    def counted(self) -> tuple[Outcome, ...]:
        return tuple(o for o in self.outcomes if o.verdict != "skipped")

    @property
    def passed(self) -> int:
        return sum(o.verdict == "passed" for o in self.outcomes)

    @property
    def all_passed(self) -> bool:
        return is_solved(self.passed, len(self.counted), complete=True)


@dataclass(frozen=True)
class Diagnosed:
    """After a failing verdict: the name and the sentence of each mistake that the code behaves like."""

    number: int
    mistakes: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class JobDied:
    """The job gave no verdict: it hung, crashed, or left. `why` is a clause, `test` where it was."""

    number: int
    why: str
    test: str = ""


Message = Ready | Running | FirstFailure | Verdict | Diagnosed | JobDied
