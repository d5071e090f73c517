"""One verdict on one test. Every consumer (terminal, history, verify, later the grader) renders this and nothing else."""

import dis
from dataclasses import asdict, dataclass
from pathlib import Path
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


@dataclass(frozen=True)
class Diagnosis:
    """A named mistake that some code behaves like.

    `whole` is False when the code behaves like it only in the cases where the mistake shows, and differently elsewhere.
    """

    mistake: str  # its name
    says: str  # completes the sentence below
    whole: bool

    @property
    def sentence(self) -> str:
        """What the learner reads, without the full stop."""
        subject = "Your result" if self.whole else "Part of your result"
        return f"{subject} is exactly what you get when {self.says}"


def is_unwritten(error: BaseException | None, directory: Path | None = None) -> bool:
    """Whether `error` is a stub's: a NotImplementedError that a `raise` (in a file of `directory`) gave.

    torch raises the same class, from below Python, for a dtype that an operator does not know.
    """
    trace = error.__traceback__ if isinstance(error, NotImplementedError) else None
    if trace is None:
        return False
    while trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    raised = code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return raised and (directory is None or Path(code.co_filename).parent == directory)
