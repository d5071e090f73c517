"""What tests say of a failure, in the reader's language.

They say it in English, and in part from values: `f"the loss at t = {t}"` became "the loss at t = 3". So a phrase is found by
its fixed words, and what stood in its {holes} is translated in turn: it may have come from a phrase too.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from string import Formatter

from dojo.core.language import ENGLISH, language, read_translation, translation_of

FILE = "messages.toml"  # messages.zh.toml in a kata's folder, and in dojo/testing, holds the translation
MAX_DEPTH = 5  # of phrases in phrases


class Phrases:
    """The phrases of `folders` in `code`, the reader's language unless told. What they lack stays English."""

    def __init__(self, folders: Iterable[Path], code: str = "") -> None:
        code = code or language()
        known: dict[str, str] = {}
        for folder in folders if code != ENGLISH else ():
            known |= read_translation(translation_of(folder / FILE, code), code)
        pairs = [(english, translation) for english, translation in known.items() if fits(translation, english)]
        self._phrases = [_Phrase(*pair) for pair in pairs]
        self._phrases.sort(key=lambda phrase: -phrase.fixed)  # what says most first

    def __call__(self, text: str, depth: int = MAX_DEPTH) -> str:
        if " " not in text or not depth:
            return text
        for phrase in self._phrases:
            if (values := phrase.values(text)) is not None:
                return phrase.say({name: self(value, depth - 1) for name, value in values.items()})
        return text


class _Phrase:
    def __init__(self, english: str, translation: str) -> None:
        self._parts = tuple((fixed, hole) for fixed, hole, _, _ in Formatter().parse(english))
        self._translation = translation
        self.fixed = sum(len(fixed) for fixed, _ in self._parts)

    def values(self, text: str) -> dict[str, str] | None:
        """What stands in `text` where this phrase has holes; None if `text` does not come from it."""
        if not all(fixed in text for fixed, _ in self._parts):  # quicker than the pattern
            return None
        match = _pattern(self._parts).fullmatch(text)
        return match.groupdict() if match else None

    def say(self, values: dict[str, str]) -> str:
        return self._translation.format(**values)


def fits(translation: str, english: str) -> bool:
    """Whether `translation` can stand for `english`: it is there, whole, and has no holes of its own."""
    try:
        holes = [
            {hole for _, hole, _, _ in Formatter().parse(text) if hole is not None} for text in (translation, english)
        ]
    except ValueError:  # a brace stands alone
        return False
    return bool(translation) and holes[0] <= holes[1] and all(map(str.isidentifier, holes[1]))


@cache
def _pattern(parts: tuple[tuple[str, str | None], ...]) -> re.Pattern[str]:
    pattern, seen = "", set()
    for fixed, hole in parts:
        pattern += re.escape(fixed)
        if hole is not None:
            pattern += f"(?P={hole})" if hole in seen else f"(?P<{hole}>.+?)"
            seen.add(hole)
    return re.compile(pattern, re.DOTALL)
