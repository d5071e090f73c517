"""Turns text that a submission chose into text that can neither harm nor mislead a reader of the report.

A reason may quote an exception's message, a class name or a file name, and a submission chooses all of them.
"""

import re
import unicodedata

READ_PER_SHOWN = 16  # characters that are read for one that may be shown: a message may be megabytes long
MAX_MARKS = 4  # combining marks on one letter; "Zalgo" text has hundreds
UNPRINTABLE = {"Cc", "Cf", "Cs", "Co", "Cn"}  # controls, bidirectional and invisible marks, lone surrogates, unassigned
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# Terminal codes for colours, cursor movements, titles and links. They are removed completely: no "[31m" remains.
ANSI = re.compile(r"[\x1b\x9b](?:\][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)?|\[?[0-?]{0,64}[ -/]{0,16}[@-~])")
BREAKS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
RUNNER_COMMAND = re.compile(r"^(\s*):(?=:)|##(?=\[)", re.MULTILINE)  # such as "::error::" and "##[add-mask]"
LINK = re.compile(r"://|@|\bwww(?=\.)", re.IGNORECASE)


def plain(text: str, max_characters: int = 300, lines: int = 1) -> str:
    """`text` as printable characters on at most `lines` lines. An ellipsis shows that something was left out."""
    read = text[: READ_PER_SHOWN * max_characters]
    shown = BREAKS.sub("\n", ANSI.sub("", read)).expandtabs(4)
    if not (shown.isascii() and shown.isprintable()):
        shown = re.sub(f"{REPLACEMENT}+", REPLACEMENT, _fewer_marks("".join(map(_printable, shown))))
    rows = [row.rstrip() for row in shown.split("\n")] if lines > 1 else [" ".join(shown.split())]
    rows = [row for row in rows if row]
    is_cut = len(text) > len(read) or len(rows) > lines
    shown = RUNNER_COMMAND.sub(_break_command, "\n".join(rows[:lines]))
    if is_cut or len(shown) > max_characters:
        return f"{shown[: max_characters - 1].rstrip()}…"
    return shown


def _break_command(match: re.Match[str]) -> str:
    """Puts a blank into the beginning of a command, after ":" or "##"."""
    return "## " if match[1] is None else f"{match[1]}: "


def markdown(text: str, max_characters: int = 300) -> str:
    """`text` for GitHub's Markdown, escaped so that nothing in it is markup: no HTML, link, picture, mention, table cell.

    Character references cannot begin or end anything in Markdown. But links and mentions are recognised after the
    references have been resolved, so those are broken by an invisible space.
    """
    broken = LINK.sub(lambda match: match[0][0] + "\u200b" + match[0][1:], plain(text, max_characters))
    return "".join(f"&#{ord(c)};" if c.isascii() and not (c.isalnum() or c == " ") else c for c in broken)


def code(text: str, max_characters: int = 300) -> str:
    """`text` for GitHub's Markdown in a fixed-width font, in which mentions and issue numbers are not recognised."""
    return f"<code>{shown}</code>" if (shown := markdown(text, max_characters)) else ""


def first_bytes(text: str, size: int) -> str:
    """The beginning of `text`, at most `size` bytes in UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def _printable(character: str) -> str:
    if character == "\n" or " " <= character <= "~":
        return character
    category = unicodedata.category(character)
    return " " if category[0] == "Z" else REPLACEMENT if category in UNPRINTABLE else character


def _fewer_marks(text: str) -> str:
    characters, marks = [], 0
    for character in text:
        marks = marks + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            characters.append(character)
    return "".join(characters)
