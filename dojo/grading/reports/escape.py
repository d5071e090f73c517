"""Turns what a submission wrote into text that no reader of a report can be harmed or misled by.

A reason may quote an exception's message, a class name or a file name: each is the submission's to choose.
"""

import re
import unicodedata

PARSED = 16  # for one character shown, at most this many are looked at: a message may be megabytes long
MARKS = 4  # combining marks that may sit on one letter; Zalgo has hundreds
UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn"}  # controls, bidirectional and invisible marks, lone surrogates, unassigned
INSTEAD = "\N{REPLACEMENT CHARACTER}"

# Colours, cursor movements, titles and links of terminals: removed whole, so that no "[31m" is left behind.
ANSI = re.compile(r"[\x1b\x9b](?:\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?|\[?[0-?]{0,64}[ -/]{0,16}[@-~])")
BREAKS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\[)", re.MULTILINE)  # a CI runner obeys "::error::" and "##[add-mask]"
LINK = re.compile(r"://|@|\bwww(?=\.)", re.IGNORECASE)


def plain(text: str, most: int = 300, lines: int = 1) -> str:
    """`text` as at most `most` printable characters on at most `lines` lines; says so where it leaves something out."""
    seen = ANSI.sub("", text[: PARSED * most])
    shown = BREAKS.sub("\n", seen).expandtabs(4)
    if not (shown.isascii() and shown.isprintable()):
        shown = re.sub(f"{INSTEAD}+", INSTEAD, _fewer_marks("".join(map(_printable, shown))))
    rows = [row.rstrip() for row in shown.split("\n")] if lines > 1 else [" ".join(shown.split())]
    rows = [row for row in rows if row]
    cut = len(text) > PARSED * most or len(rows) > lines
    kept = COMMAND.sub(lambda match: f"{match[1]}: " if match[1] is not None else "## ", "\n".join(rows[:lines]))
    return f"{kept[: most - 1].rstrip()}…" if cut or len(kept) > most else kept


def markdown(text: str, most: int = 300) -> str:
    """`text` for GitHub's Markdown, where nothing in it is markup: neither HTML, link, picture, mention nor table cell.

    A character reference cannot begin or end anything in Markdown. Links and mentions are looked for after those have
    been read, so an invisible space breaks them.
    """
    broken = LINK.sub(lambda match: match[0][0] + "\u200b" + match[0][1:], plain(text, most))
    return "".join(f"&#{ord(c)};" if c.isascii() and not (c.isalnum() or c == " ") else c for c in broken)


def code(text: str, most: int = 300) -> str:
    """`text` for GitHub's Markdown in a fixed-width font, where neither mentions nor issue numbers are looked for."""
    return f"<code>{shown}</code>" if (shown := markdown(text, most)) else ""


def within(text: str, size: int) -> str:
    """The beginning of `text` that is at most `size` bytes of UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def _printable(character: str) -> str:
    if character == "\n" or " " <= character <= "~":
        return character
    category = unicodedata.category(character)
    return " " if category[0] == "Z" else INSTEAD if category in UNPRINTABLE else character


def _fewer_marks(text: str) -> str:
    kept, run = [], 0
    for character in text:
        run = run + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if run <= MARKS:
            kept.append(character)
    return "".join(kept)
