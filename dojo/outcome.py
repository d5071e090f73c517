"""One verdict on one test. Every consumer (terminal, history, verify, later the grader) renders this and nothing else."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Verdict = Literal["passed", "failed", "not started", "error", "skipped"]


@dataclass(frozen=True)
class Outcome:
    """What one test said. `error` is a failure that is no wrong answer: the file does not import, a fixture broke."""

    test: str  # "test_no_noise_at_the_last_step[...]"
    kata: str
    stage: int
    verdict: Verdict
    message: str = ""
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
