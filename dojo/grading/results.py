"""The results of grading one submission, as report.json holds them. Every other format is rendered from these."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = "kata-grade/1"

KataStatus = Literal["pass", "fail", "error", "not_attempted", "refused"]


@dataclass(frozen=True)
class CaseResult:
    """The result of one case of a kata's probe."""

    id: str  # the case's name, for example "p_sample clipped"; the same for every submission
    passed: bool
    reason: str = ""  # one sentence, empty if it passed. May quote the submission: escape it where it is shown
    seconds: float = 0.0


@dataclass(frozen=True)
class KataResult:
    """The result of one kata. Every expected case is in it, also if it was not run.

    The status is `error` only for a fault of the grader. A fault of the submission is `fail`, `refused` or
    `not_attempted`.
    """

    id: str
    status: KataStatus
    points: float
    max_points: float
    cases: tuple[CaseResult, ...]
    file_sha256: str | None = None
    reason: str = ""  # why it has less than full marks, in one sentence
    mistakes: tuple[str, ...] = ()  # names of the known mistakes whose evidence it gives


@dataclass(frozen=True)
class GradeReport:
    """The results of one submission."""

    submission: str  # the folder's name
    level: str  # "bare", "sealed", "fenced" or "isolated": what the sandbox's self-test was refused
    layers: dict[str, str]  # layer -> "on", or why it is off
    seed_commitment: str  # SHA-256 of the seed. Showing the seed later proves that it was not chosen after the grading
    upstream_sha256: str  # of the references, the probes and the grader's code
    submission_sha256: str
    katas: tuple[KataResult, ...]
    seconds: float = 0.0

    @property
    def faults(self) -> tuple[KataResult, ...]:
        """The katas that could not be graded."""
        return tuple(kata for kata in self.katas if kata.status == "error")

    @property
    def score(self) -> float:
        return round(sum(kata.points for kata in self.katas), 2)

    @property
    def max_score(self) -> float:
        return round(sum(kata.max_points for kata in self.katas), 2)

    def as_dict(self) -> dict[str, Any]:
        """The content of report.json."""
        fields = asdict(self)
        return {"schema": SCHEMA, "score": self.score, "max_score": self.max_score, **fields}


EXIT_WITH_FAULTS = 3  # of a grading that ended, and in which at least one kata is an `error`

LEVELS = ("bare", "sealed", "fenced", "isolated")  # sandbox/selftest.py says what they mean

# The platforms that read these take every score for a mark, so none is written when the grader failed on a kata.
ONLY_MARKS = ("classroom50", "gradescope")

# format -> the name of its file, as its platform requires it; `reports` renders them
FORMAT_FILES = {
    "junit": "junit.xml",
    "summary": "summary.md",
    "classroom50": "result.json",
    "classroom": "classroom.json",
    "gradescope": "results.json",
    "exercism": "results.json",
}
