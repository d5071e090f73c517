"""The outcome of one test, and what a set of outcomes amounts to. The terminal, the history and `kata verify` show these."""

import dis
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dojo.core.language import say

# "error" is a failure that is no wrong answer: the file cannot be imported, or a fixture failed.
# "not started" is a test that reached an unwritten stub.
Verdict = Literal["passed", "failed", "not started", "error", "skipped"]

MAX_MESSAGE_CHARS = 10_000  # an exception may hold megabytes
CONTROL_CHARACTER = re.compile(r"[^\n\t\x20-\x7e\xa0-\U0010ffff]")  # these could move a terminal's cursor


def shortened(text: str) -> str:
    """`text` as it can be shown, sent and stored: harmless, and not too long."""
    if len(text) > MAX_MESSAGE_CHARS:
        text = f"{text[:MAX_MESSAGE_CHARS]} ..."
    return harmless(text)


def harmless(text: str) -> str:
    """`text` as it can be shown: control characters and half surrogate pairs as escapes."""
    text = CONTROL_CHARACTER.sub(lambda match: f"\\x{ord(match[0]):02x}", text.replace("\r\n", "\n"))
    return text.encode("utf-8", "backslashreplace").decode()


def text_of(error: BaseException | None) -> str:
    """What `error` says, shortened. Making the text of an exception of the learner's may itself fail."""
    try:
        return shortened(str(error))
    except Exception as failure:
        return say("(no text: its __str__ raised {kind})", kind=type(failure).__name__)


@dataclass(frozen=True)
class Outcome:
    """The verdict on one test, its message, and what the learner's code printed; both texts are shortened."""

    test: str  # "test_no_noise_at_the_last_step[...]"
    kata: str
    stage: int
    verdict: Verdict
    message: str = ""
    seconds: float = 0.0
    printed: str = ""  # to stdout during the test, shortened

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", shortened(self.message))
        object.__setattr__(self, "printed", shortened(self.printed))

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Diagnosis:
    """A named mistake that some code behaves like. `whole` says that it explains everything that is wrong."""

    mistake: str  # its name
    says: str  # completes the sentence below
    whole: bool

    @property
    def sentence(self) -> str:
        """What the learner reads, without the full stop."""
        if self.whole:
            return say("Your result is exactly what you get when {says}", says=self.says)
        return say("Part of your result is exactly what you get when {says}", says=self.says)


def sentences_of(diagnoses: Iterable[Diagnosis]) -> list[str]:
    """What the learner reads about one run, without full stops: one story, to which each further mistake is added."""
    return [say("Also, {says}", says=each.says) if number else each.sentence for number, each in enumerate(diagnoses)]


def hint_line(hint: str) -> str:
    """The line of a failure that names the likely mistake."""
    return say("hint: {hint}", hint=hint)


def why_line(why: str) -> str:
    """The last line of a failure: what its test is for."""
    return say("why it is tested: {why}", why=why)


def is_hint(line: str) -> bool:
    """Whether a failure's line is its hint, in English (an older run's, perhaps) or in the reader's language."""
    return line.startswith(("hint:", hint_line("").rstrip()))


def explains(line: str) -> bool:
    """Whether a failure's line explains it, which a drill keeps back: its hint, or what the test is for."""
    return is_hint(line) or line.startswith(("why it is tested:", why_line("").rstrip()))


def full_stop(sentence: str) -> str:
    return say("{sentence}.", sentence=sentence)


def comparing(mistakes: int) -> str:
    """What is shown while a failure's name is looked for among as many mistakes."""
    return say("comparing with {mistakes} known mistakes ...", mistakes=mistakes)


def is_solved(passed: int, counted: int, complete: bool) -> bool:
    """Whether a run solves its kata: all of its tests ran (`complete`), and every test that counts passed, at least one.

    Skipped tests do not count. The history's SQL calls this function too (dojo.progress.database).
    """
    return bool(complete) and 0 < passed == counted


def is_unwritten(error: BaseException | None, path: Path) -> bool:
    """Whether `error` comes from an unwritten stub: a NotImplementedError of a `raise` in `path`, a kata or a folder of katas.

    Other code raises the same class: a torch module without `forward`, and torch's C++ for a dtype that an operator does
    not support. No `raise` statement of the kata stands there.
    """
    trace = error.__traceback__ if isinstance(error, NotImplementedError) else None
    if trace is None:
        return False
    while trace.tb_next:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    file = Path(code.co_filename)
    by_statement = code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    return by_statement and path in (file, file.parent)
