"""Reads one file of a submission: only a regular file, up to a size, and only UTF-8 text with lines of bounded length."""

import errno
import os
import stat

from dojo.core import source
from dojo.core.errors import UserError
from dojo.core.source import BYTE_ORDER_MARK

MAX_FILE_BYTES = 64 * 1024
MAX_LINE_CHARACTERS = 400
# Without O_NONBLOCK, opening a FIFO would wait for a writer.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
FILE_TYPES = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Refusal(Exception):
    """The file is refused. The text is one sentence to the learner."""


class Unreadable(Exception):
    """The file is there, and the system does not let the grader read it. The text is one sentence to the teacher."""

    def __init__(self, shown: str, error: OSError) -> None:
        super().__init__(f"{shown} cannot be read: {error.strerror}. Let the user who grades read it, and grade again.")


class UnreadableSubmission(UserError):
    """The same about a whole submission."""


def read_bytes(folder: int, file: str, shown: str) -> bytes | None:
    """The content of `file` in the open `folder`; None if it does not exist. Raises Refusal or Unreadable.

    `shown` is the path as the learner knows it.
    """
    try:
        mode = os.stat(file, dir_fd=folder, follow_symlinks=False).st_mode
        if not stat.S_ISREG(mode):  # checked before opening: opening a device can have effects
            raise Refusal(_not_regular(shown, mode))
        handle = os.open(file, OPEN_FILE, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Refusal(f"{shown} is a link; put the file itself there.") from error
        raise Unreadable(shown, error) from error
    with open(handle, "rb", buffering=0) as opened:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):  # replaced between stat and open
            raise Refusal(_not_regular(shown, mode))
        raw = b""
        try:
            while len(raw) <= MAX_FILE_BYTES and (part := opened.read(MAX_FILE_BYTES + 1 - len(raw))):
                raw += part
        except OSError as error:
            raise Unreadable(shown, error) from error
    if len(raw) > MAX_FILE_BYTES and not source.is_notebook(raw):  # `decode` refuses a notebook with a better sentence
        raise Refusal(
            f"{shown} is larger than {MAX_FILE_BYTES // 1024} kB; an answer is a few kB: remove data and outputs."
        )
    return raw


def decode(raw: bytes, shown: str) -> str:
    """The text in `raw`, without a byte-order mark and with lines that end in \\n. Raises Refusal."""
    if not raw.removeprefix(BYTE_ORDER_MARK).strip():
        raise Refusal(f"{shown} is empty.")
    try:
        text = source.decode(raw)
    except source.NotSource as error:
        raise Refusal(f"{shown} {error.why}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise Refusal(
                f"{shown}, line {number}, is {len(line)} characters long, and {MAX_LINE_CHARACTERS} are allowed; break it."
            )
    return text


def _not_regular(shown: str, mode: int) -> str:
    file_type = FILE_TYPES.get(stat.S_IFMT(mode), "no file")
    return f"{shown} is {file_type}, not a regular file; put the file itself there."
