"""What the policy reports about one place in a file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One sentence about one place in a file. It is advice, unless `refuses` is set: then the file is not graded."""

    line: int
    column: int
    message: str  # one sentence
    refuses: bool
    excerpt: str = ""  # for a syntax error: the source line, and a caret under the place

    def sentence(self, file: str) -> str:
        """The message with the file and the line before it."""
        return f"{file}, line {self.line}: {self.message}"
