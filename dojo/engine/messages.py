"""The messages between the caller, the fork server and its workers: a job goes in, the others come back."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dojo.core.outcome import Diagnosis, Outcome, is_solved

TEST_CPU_S = 12.0
JOB_TIMEOUT_S = 20.0  # a right answer takes three at most


@dataclass(frozen=True)
class Job:
    """Run the tests of `kata` against `target`/kata.py, up to `stage`. Every message about it carries its `number`."""

    number: int
    kata: str
    target: Path
    stage: int | None = None
    seed: int = 0
    seconds: float = JOB_TIMEOUT_S  # after which it is ended
    cpu_seconds: float = TEST_CPU_S  # after which a test is failed, with the line that it has come to
    diagnose: bool = True  # whether a wrong answer gets a Diagnosed message after its verdict


@dataclass(frozen=True)
class Ready:
    """The fork server accepts jobs. `kind` is "fork", or "spawn" where forking is unsafe."""

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
    """The first wrong answer of the job. Sent while the other tests still run."""

    number: int
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """All tests of the job have run. `source` is the digest of the tested file."""

    number: int
    outcomes: tuple[Outcome, ...]
    expected: Mapping[str, int]  # kata -> its tests, for each kata whose tests were all to run
    source: str
    seconds: float
    printed: str = ""  # while the file was imported

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
class Comparing:
    """A wrong answer is compared with so many named mistakes. Follows its verdict."""

    number: int
    mistakes: int


@dataclass(frozen=True)
class Diagnosed:
    """The diagnoses of a wrong answer. Follows its verdict, and may be empty."""

    number: int
    diagnoses: tuple[Diagnosis, ...]


@dataclass(frozen=True)
class JobDied:
    """The job ended without a verdict. `why` is a clause about the kata; `test` is the test that was running.

    Number 0: the fork server itself ended, while it ran no job.
    """

    number: int
    why: str
    test: str = ""


Message = Ready | Running | FirstFailure | Verdict | Comparing | Diagnosed | JobDied
