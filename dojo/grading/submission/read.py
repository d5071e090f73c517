"""Reads one file of a submission: only a regular file, up to a size, and only UTF-8 text with lines of bounded length."""

import errno
import io
import os
import re
import stat
import tokenize

MAX_FILE_BYTES = 64 * 1024
MAX_LINE_CHARACTERS = 400
# Without O_NONBLOCK, opening a FIFO would wait for a writer.
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF8 = {"utf-8", "utf8", "u8", "utf-8-sig"}
# In these encodings an all-ASCII file reads the same as in UTF-8. In utf-7 or unicode_escape it does not.
SAME_FOR_ASCII = {"ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1", "iso-8859-15", "cp1252", "windows-1252"}
CODING_LINE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # the pattern of `tokenize`
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


def read_bytes(folder: int, file: str, shown: str) -> bytes | None:
    """The content of `file` in the open `folder`; None if it does not exist. Raises Refusal.

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
        is_link = error.errno == errno.ELOOP
        reason = "is a link; put the file itself there" if is_link else f"cannot be read: {error.strerror}"
        raise Refusal(f"{shown} {reason}.") from error
    with open(handle, "rb", buffering=0) as opened:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):  # replaced between stat and open
            raise Refusal(_not_regular(shown, mode))
        raw = b""
        try:
            while len(raw) <= MAX_FILE_BYTES and (part := opened.read(MAX_FILE_BYTES + 1 - len(raw))):
                raw += part
        except OSError as error:
            raise Refusal(f"{shown} cannot be read: {error.strerror}.") from error
    if len(raw) > MAX_FILE_BYTES and not _is_notebook(raw):  # `decode` refuses a notebook with a better sentence
        raise Refusal(
            f"{shown} is larger than {MAX_FILE_BYTES // 1024} kB; an answer is a few kB: remove data and outputs."
        )
    return raw


def decode(raw: bytes, shown: str) -> str:
    """The text in `raw`, without a byte-order mark and with lines that end in \\n. Raises Refusal."""
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refusal(f"{shown} is stored as UTF-16; save it as UTF-8.")
    raw = raw.removeprefix(BYTE_ORDER_MARK)
    if not raw.strip():
        raise Refusal(f"{shown} is empty.")
    if _is_notebook(raw):
        raise Refusal(f"{shown} is a notebook saved as .py: export it as Python.")
    if b"\0" in raw:
        number = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise Refusal(f"{shown} holds a null byte in line {number}, so it is not a text; save it again as UTF-8.")
    raw = re.sub(rb"\r\n?", b"\n", raw)  # Python reads these line ends as \n, too
    _check_coding_line(raw, shown)
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        number = raw[: error.start].count(b"\n") + 1
        raise Refusal(
            f"{shown} is not UTF-8: line {number} holds the byte 0x{raw[error.start]:02x}; save it as UTF-8."
        ) from error
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE_CHARACTERS:
            raise Refusal(
                f"{shown}, line {number}, is {len(line)} characters long, and {MAX_LINE_CHARACTERS} are allowed; break it."
            )
    return text


def _check_coding_line(raw: bytes, shown: str) -> None:
    """Refuses a line such as `# coding: utf-7`: Python would run another text than a reader or the policy sees."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(raw).readline)
    except SyntaxError as error:
        if "invalid or missing encoding" in str(error):
            return  # there is no coding line and the file is not UTF-8: `decode` names the byte
        encoding = ""
    name = encoding.lower().replace("_", "-")
    if name in UTF8 or (name in SAME_FOR_ASCII and raw.isascii()):
        return
    written = next(filter(None, map(CODING_LINE.match, raw.split(b"\n", 2)[:2])), None)
    quoted = repr(written[1].decode()[:40]) if encoding and written else "one that Python does not know"
    raise Refusal(f"{shown} names its own encoding ({quoted}) in a `coding:` line; delete that line and save as UTF-8.")


def _is_notebook(raw: bytes) -> bool:
    return raw.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{") and b'"cells"' in raw


def _not_regular(shown: str, mode: int) -> str:
    file_type = FILE_TYPES.get(stat.S_IFMT(mode), "no file")
    return f"{shown} is {file_type}, not a regular file; put the file itself there."
