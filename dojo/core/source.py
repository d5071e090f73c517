"""Reads the text of an answer. Practice and grading accept the same bytes, and say the same about the others.

That is UTF-8, with or without a byte-order mark, and any line ends. Python itself accepts more, in ways that depend on how
it gets the bytes: a byte that is no UTF-8 in a comment, a `coding:` line with which it runs another text than is read.
"""

import hashlib
import io
import re
import tokenize

from dojo.core.language import say

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
UTF8 = {"utf-8", "utf8", "u8", "utf-8-sig"}
# In these encodings an all-ASCII file reads the same as in UTF-8. In utf-7 or unicode_escape it does not.
SAME_FOR_ASCII = {"ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1", "iso-8859-15", "cp1252", "windows-1252"}
CODING_LINE = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")  # the pattern of `tokenize`
WIDE_MARKS = {  # the longest first
    b"\xff\xfe\0\0": "UTF-32",
    b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


class NotSource(Exception):
    """The bytes are no source code. `why` completes a sentence that begins with the file's name."""

    def __init__(self, why: str, file: str = "This file") -> None:
        super().__init__(f"{file} {why}")
        self.why, self.file = why, file


def digest_of(raw: bytes) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of these bytes, by which the history knows a text."""
    return hashlib.sha256(raw).hexdigest()[:16]


def decode(raw: bytes) -> str:
    """The text in `raw`, without a byte-order mark and with lines that end in \\n. Raises NotSource."""
    if wide := _wide_encoding(raw):
        raise NotSource(say("is stored as {encoding}; save it as UTF-8.", encoding=wide))
    raw = raw.removeprefix(BYTE_ORDER_MARK)
    if is_notebook(raw):
        raise NotSource(say("is a notebook saved as .py: export it as Python."))
    if b"\0" in raw:
        number = raw[: raw.index(b"\0")].count(b"\n") + 1
        raise NotSource(
            say("holds a null byte in line {line}, so it is not a text; save it again as UTF-8.", line=number)
        )
    raw = re.sub(rb"\r\n?", b"\n", raw)  # Python reads these line ends as \n, too
    _check_coding_line(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        number = raw[: error.start].count(b"\n") + 1
        raise NotSource(
            say(
                "is not UTF-8: line {line} holds the byte 0x{byte:02x}; save it as UTF-8.",
                line=number,
                byte=raw[error.start],
            )
        ) from error


def is_notebook(raw: bytes) -> bool:
    return raw.removeprefix(BYTE_ORDER_MARK).lstrip().startswith(b"{") and b'"cells"' in raw


def _wide_encoding(raw: bytes) -> str:
    """ "UTF-16" or "UTF-32" if `raw` is stored so, with or without a mark; else nothing."""
    for mark, encoding in WIDE_MARKS.items():
        if raw.startswith(mark):
            return encoding
    start = raw[:400]
    most_are_zero = [len(start) > 1 and 2 * half.count(0) >= len(half) for half in (start[::2], start[1::2])]
    return "UTF-32" if all(most_are_zero) else "UTF-16" if any(most_are_zero) else ""


def _check_coding_line(raw: bytes) -> None:
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
    quoted = repr(written[1].decode()[:40]) if encoding and written else say("one that Python does not know")
    raise NotSource(
        say("names its own encoding ({quoted}) in a `coding:` line; delete that line and save as UTF-8.", quoted=quoted)
    )
