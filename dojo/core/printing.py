"""Lets any text be printed, whatever the encoding of the terminal or of the file that the output goes to."""

import codecs
import sys
import unicodedata

ERRORS = "kata"  # the name of the handler below, for streams
STAND_INS = dict(zip("■□✓✗◐·▸─–—×−“”‘’", "#-+x~.>---x-\"\"''", strict=True)) | {
    "…": "...",
    "≤": "<=",
    "≥": ">=",
    "≠": "!=",
    "≈": "~",
    "→": "->",
}


def print_anything() -> None:
    """From now on stdout and stderr show what their encoding lacks in another way, and raise no exception for it."""
    codecs.register_error(ERRORS, _stand_in)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)


def _stand_in(error: UnicodeError) -> tuple[str, int]:
    """A codecs error handler: a sign that looks alike, the letter without its accent, or an escape like \\u65e5."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_in_ascii, error.object[error.start : error.end])), error.end


def _in_ascii(character: str) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if c.isascii())
    return STAND_INS.get(character) or plain or character.encode("ascii", "backslashreplace").decode()
