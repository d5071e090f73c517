"""The learner's file behind an editor in the browser. The file is the truth: somebody else may write it at any time."""

from pathlib import Path

from dojo.core.files import backup, digest, write
from dojo.core.paths import Checkout
from dojo.core.source import digest_of


class Sheet:
    """A file, and its content as one window has shown it last."""

    def __init__(self, checkout: Checkout, file: Path) -> None:
        self.checkout, self.file = checkout, file
        self.base = ""  # the digest of that content; empty for a file that is not there
        self._looked_at: tuple[int, ...] | None = None  # what the file's status was then
        self._changed = False

    def read(self) -> str:
        """The content of the file as it is now, which the window then shows; empty if there is no file."""
        try:
            content = self.file.read_bytes()
        except OSError:
            self.base = ""
            return ""
        self.base = digest_of(content)
        return content.decode("utf-8", errors="replace")

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

        With `anyway` that other content is copied to .dojo/backups/ and then replaced.
        """
        content = text.encode("utf-8", "backslashreplace")
        there, new = digest(self.file), digest_of(content)
        if there not in (self.base, new):
            if not anyway:
                return False
            if there:
                backup(self.checkout, self.file)
        if there != new:
            write(self.file.resolve(), content)  # a link stays one
        self.base, self._looked_at = new, None
        return True

    def put_aside(self, text: str) -> Path:
        """Keeps `text`, which the window gives up, in .dojo/backups/; returns the copy."""
        draft = self.checkout.state / "drafts" / self.file.name
        write(draft, text)
        copy = backup(self.checkout, draft)
        draft.unlink()
        return copy
