"""The learner's file behind an editor in the browser. The file is the truth: somebody else may write it at any time."""

import re
from dataclasses import dataclass
from pathlib import Path

from dojo.core.errors import UserError
from dojo.core.files import backup, digest, owner_advice, write
from dojo.core.language import say
from dojo.core.paths import Checkout
from dojo.core.source import digest_of


@dataclass(frozen=True)
class SheetState:
    """The content of the file as one window has shown it last."""

    base: str = ""  # its digest; empty for a file that is not there
    newline: str = "\n"


class Sheet:
    """A file, and what one window knows of it."""

    def __init__(self, checkout: Checkout, file: Path) -> None:
        self.checkout, self.file = checkout, file
        self.state = SheetState()
        self._looked_at: tuple[int, ...] | None = None  # what the file's status was when its content was compared last
        self._changed = False

    @property
    def base(self) -> str:
        return self.state.base

    @base.setter
    def base(self, base: str) -> None:
        self.state = SheetState(base, self.state.newline)
        self._looked_at = None

    def read(self) -> str:
        """The content of the file as it is now, with lines that end in \\n; empty if there is no file."""
        content = self._content()
        self.state = SheetState(digest_of(content) if content is not None else "", _newline(content or b""))
        self._looked_at = None
        return re.sub(r"\r\n?", "\n", (content or b"").decode("utf-8", errors="replace"))

    def changed_elsewhere(self) -> bool:
        """Whether the file is no longer what the window has shown last."""
        try:
            status = self.file.stat()
            state: tuple[int, ...] = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
        except OSError:
            state = ()
        if state != self._looked_at:  # most looks read nothing
            self._looked_at = state
            self._changed = digest(self.file) != self.base
        return self._changed

    def save(self, text: str, *, anyway: bool = False) -> bool:
        """Writes `text`; False, and nothing is written, if the file was changed elsewhere meanwhile.

        With `anyway` that other content is copied to .dojo/backups/ and then replaced. So is content that no editor can give
        back as it was: bytes that are no UTF-8, and line ends of several kinds.
        """
        content = text.replace("\n", self.state.newline).encode("utf-8", "backslashreplace")
        old = self._content()
        there, new = digest_of(old) if old is not None else "", digest_of(content)
        if there not in (self.base, new) and not anyway:
            return False
        if there != new:
            if old is not None and (there != self.base or not _can_be_given_back(old)):
                backup(self.checkout, self.file)
            write(self.file.resolve(), content)  # a link stays one
        self.base = new
        return True

    def put_aside(self, text: str) -> Path:
        """Keeps `text`, which the window gives up, in .dojo/backups/; returns the copy."""
        draft = self.checkout.state / "drafts" / self.file.name
        write(draft, text)
        copy = backup(self.checkout, draft)
        draft.unlink()
        return copy

    def _content(self) -> bytes | None:
        """The bytes of the file; None if there is none. Raises UserError if it is there and cannot be read."""
        shown = self.checkout.shown(self.file)
        try:
            if self.file.exists() and not self.file.is_file():  # reading a named pipe would wait for ever
                raise UserError(say("{file} is no file, so nobody can write in it. Move it away.", file=shown))
            return self.file.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            sentence = say(
                "{file} cannot be read ({error}), so it is left as it is.{advice}",
                file=shown,
                error=error.strerror,
                advice=owner_advice(self.file.parent, self.file) or say(" Check its permissions."),
            )
            raise UserError(sentence) from error


def _newline(content: bytes) -> str:
    """The line end that most lines of `content` have."""
    pairs = content.count(b"\r\n")
    return "\r\n" if 2 * pairs > content.count(b"\n") else "\n"


def _can_be_given_back(content: bytes) -> bool:
    """Whether an editor that shows `content` can save the very same."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    newline = _newline(content)
    return re.sub(r"\r\n?", "\n", text).replace("\n", newline) == text
