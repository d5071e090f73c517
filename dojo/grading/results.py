"""What grading one submission gave. report.json is this, and every other format is rendered from it."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

SCHEMA = "kata-grade/1"

Status = Literal["pass", "fail", "error", "not_attempted", "refused"]


@dataclass(frozen=True)
class CaseResult:
    """One case of a kata's probe."""

    id: str  # "p_sample clipped"; ours, the same for every submission
    passed: bool
    reason: str = ""  # one sentence; empty when it passed. May quote what the submission wrote: escape it
    seconds: float = 0.0


@dataclass(frozen=True)
class KataResult:
    """One kata: every case that was expected, whatever happened to it.

    `error` is a fault of the grader's; whatever a submission does is `fail`, `refused` or `not_attempted`.
    """

    id: str
    status: Status
    points: float
    max_points: float
    cases: tuple[CaseResult, ...]
    file_sha256: str | None = None
    reason: str = ""  # why there is no full mark, in one sentence
    mistakes: tuple[str, ...] = ()  # the named mistakes that it behaves like


@dataclass(frozen=True)
class Report:
    """One submission."""

    submission: str  # the folder's name
    level: str  # what the canary was refused: "bare", "sealed", "fenced", "isolated"
    layers: dict[str, str]  # layer -> "on", or why it is off
    seed_commitment: str  # SHA-256 of the seed: the seed can be shown later, and nobody could have chosen it after
    upstream_sha256: str  # of the references and probes that graded
    submission_sha256: str
    katas: tuple[KataResult, ...]
    seconds: float = 0.0

    @property
    def score(self) -> float:
        return round(sum(kata.points for kata in self.katas), 2)

    @property
    def max_score(self) -> float:
        return round(sum(kata.max_points for kata in self.katas), 2)

    def as_dict(self) -> dict[str, Any]:
        """What report.json holds."""
        fields = asdict(self)
        return {"schema": SCHEMA, "score": self.score, "max_score": self.max_score, **fields}


LEVELS = ("bare", "sealed", "fenced", "isolated")  # dojo.grading.sandbox.selftest says what they mean

# format -> the name of its file, as its platform wants it; dojo.grading.reports renders them
FORMAT_FILES = {
    "junit": "junit.xml",
    "summary": "summary.md",
    "classroom50": "result.json",
    "classroom": "classroom.json",
    "gradescope": "results.json",
    "exercism": "results.json",
}
