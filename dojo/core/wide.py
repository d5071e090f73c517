"""Lines of text in a script that has no blanks between words, and whose characters take two columns."""

import re

from rich.cells import cell_len

WIDE = "\u1100-\u115f\u2e80-\u303e\u3041-\uffdc"  # Hangul, kana, Han, full-width signs
CLOSING = "\u3001\u3002\u300b\u300d\u300f\u3011\uff09\uff0c\uff0e\uff1a\uff1b\uff01\uff1f\u201d\u2019\u2026"
OPENING = "\u300a\u300c\u300e\u3010\uff08\u201c\u2018"
# What stays together: a wide character or a word, what opens before it, what closes behind it; and blanks.
PIECE = re.compile(rf"[{OPENING}]*(?:[{WIDE}]|[^\s{WIDE}{OPENING}{CLOSING}]+)[{CLOSING}]*|\s+|.")
HAS_WIDE = re.compile(f"[{WIDE}]")
NEEDLESS_BLANK = re.compile(f"(?<=[{WIDE}]) (?=[{WIDE}])| (?=[{CLOSING}])")


def closed_up(text: str) -> str:
    """`text`, put together from parts, without the blanks that wide characters need not have between them."""
    return NEEDLESS_BLANK.sub("", text)


def fill(text: str, width: int, further: str = "") -> str:
    """`text` in lines of at most `width` columns, those after the first behind `further`; unchanged without wide characters."""
    if not HAS_WIDE.search(text):
        return text
    return "\n".join(line for given in text.split("\n") for line in _lines(given, width, further))


def _lines(text: str, width: int, further: str) -> list[str]:
    lines, line, used = [], "", 0  # used: the columns of `line`
    for piece in PIECE.findall(text):
        if line.strip() and used + cell_len(piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = further + piece.lstrip()
            used = cell_len(line)
        else:
            line += piece
            used += cell_len(piece)
    return [*lines, line]
