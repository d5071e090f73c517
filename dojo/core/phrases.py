"""What tests say of a failure, in the reader's language.

They say it in English, and in part from values: `f"the loss at t = {t}"` became "the loss at t = 3". So a phrase is found by
its fixed words, and what stood in its {holes} is translated in turn: it may have come from a phrase too. Of all ways to read
a text as phrases in phrases, the one is taken that leaves least of it in English, and of these the simplest. Of two that are
as simple, the one with a phrase of an earlier folder outside: a check's sentence is around what a test says.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from itertools import islice
from pathlib import Path
from string import Formatter

from dojo.core.language import ENGLISH, language, read_translation, to_say, translated, translation_of
from dojo.core.wide import closed_up

FILE = "messages.toml"  # messages.zh.toml in a kata's folder, and in CHECKS, holds the translation
CHECKS = Path(__file__).resolve().parents[1] / "testing"
MAX_READINGS = 50  # of one text by one phrase
MAX_TEXTS = 1_000  # that are read in one text: a learner's exception may say anything
MAX_LENGTH = 2_000  # of a text: a longer one is mostly numbers
LITTLE = 4  # fixed letters for each hole: "{name} of {what}"
WORD = re.compile(r"(?<![\w.])[A-Za-z]{2,}(?![\w.([])")  # of English, and no name of something
PROSE = re.compile("[A-Za-z]{2,} [A-Za-z]{2,}")
BRACKETS = ("()", "[]", "{}")
QUOTES = ("`", '"')
GLUES = (to_say("{first}; {more}"), to_say("{first}. {more}"))  # hints are joined so

Reading = tuple[tuple[int, int], str]  # how many words stay English, in how many phrases; and the translation


class Phrases:
    """The phrases of `folders` in `code`, the reader's language unless told. What they lack stays English."""

    def __init__(self, folders: Iterable[Path], code: str = "") -> None:
        code = code or language()
        self._phrases = [_Phrase(glue, translated(glue, code)) for glue in GLUES]
        for folder in folders if code != ENGLISH else ():
            known = read_translation(translation_of(folder / FILE, code), code)
            pairs = [(english, translation) for english, translation in known.items() if fits(translation, english)]
            self._phrases += sorted((_Phrase(*pair) for pair in pairs), key=lambda phrase: -phrase.letters)

    def __call__(self, text: str) -> str:
        has_phrases = len(self._phrases) > len(GLUES)
        return self._read(text, {})[1] if has_phrases and len(text) <= MAX_LENGTH else text

    def _read(self, text: str, known: dict[str, Reading]) -> Reading:
        best: Reading = ((len(WORD.findall(text)), 0), text)
        if " " not in text or len(known) > MAX_TEXTS:
            return best
        if text not in known:
            for phrase in self._phrases:
                if best[0] <= (0, 1):  # no reading is better
                    break
                for values in islice(phrase.readings(text), MAX_READINGS):
                    parts = {name: self._read(value, known) for name, value in values.items()}
                    left, pieces = (sum(cost[kind] for cost, _ in parts.values()) for kind in (0, 1))
                    said = {name: part for name, (_, part) in parts.items()}
                    if (left, pieces + 1) < best[0] and not (phrase.says_little and _leaves_prose(values, said)):
                        best = ((left, pieces + 1), phrase.say(said))
            known[text] = best
        return known[text]


def phrases_of(tests: Path) -> Phrases:
    """What the tests in the folder `tests` and the checks that they use may say."""
    return _phrases_of(tests, language())


@cache
def _phrases_of(tests: Path, code: str) -> Phrases:
    return Phrases([CHECKS, tests], code)


def _leaves_prose(values: Mapping[str, str], said: Mapping[str, str]) -> bool:
    """Whether prose of one of `values` is still in what is said of it.

    "The size of tensor a must match" is torch's, and comes from no "{name} of {what}".
    """
    return any(prose in value for name, value in values.items() for prose in PROSE.findall(said[name]))


class _Phrase:
    def __init__(self, english: str, translation: str) -> None:
        self._fixed, self._holes, self._translation = [""], [], translation
        for fixed, hole, _, _ in Formatter().parse(english):
            self._fixed[-1] += fixed  # a doubled brace ends a part too
            if hole is not None:
                self._fixed.append("")
                self._holes.append(hole)
        self.letters = sum(map(len, self._fixed))
        fixed = "".join(self._fixed)
        self._says_nothing = not fixed.strip()  # "{call} {when}": a call, and no word of a sentence
        self.says_little = any(map(str.isalpha, fixed)) and self.letters <= LITTLE * len(self._holes)

    def readings(self, text: str) -> Iterator[Mapping[str, str]]:
        """What may have stood in the holes of this phrase, if `text` comes from it."""
        first, last = self._fixed[0], self._fixed[-1]
        if not self._holes:
            if text == first:
                yield {}
        elif text.startswith(first) and text.endswith(last) and all(fixed in text for fixed in self._fixed):
            yield from self._fill(text[len(first) : len(text) - len(last)], 0, {})

    def _fill(self, text: str, number: int, values: dict[str, str]) -> Iterator[Mapping[str, str]]:
        """Fills the holes from `number` on with the parts of `text`, as its fixed words split it."""
        hole = self._holes[number]
        ends = [len(text)] if number == len(self._holes) - 1 else _places(self._fixed[number + 1], text)
        for end in ends:
            value = text[:end]
            is_code = number or not self._says_nothing or not WORD.search(value)
            if is_code and values.get(hole, value) == value and _is_whole(value):
                filled = values | {hole: value}
                if number == len(self._holes) - 1:
                    yield filled
                else:
                    yield from self._fill(text[end + len(self._fixed[number + 1]) :], number + 1, filled)

    def say(self, values: Mapping[str, str]) -> str:
        return closed_up(self._translation.format(**values))


def _places(part: str, text: str) -> Iterator[int]:
    """Where `part` stands in `text`; nowhere if it is empty: two values side by side cannot be told apart."""
    place = text.find(part) if part else -1
    while place >= 0:
        yield place
        place = text.find(part, place + 1)


def _is_whole(value: str) -> bool:
    """Whether each bracket in `value` has its partner, unless it was cut off."""
    if value.endswith("..."):
        return True
    if any(value.count(pair[0]) != value.count(pair[1]) for pair in BRACKETS):
        return False
    return not any(value.count(quote) % 2 for quote in QUOTES)


def fits(translation: str, english: str) -> bool:
    """Whether `translation` can stand for `english`: it is there, whole, and has no holes of its own."""
    try:
        holes = [
            {hole for _, hole, _, _ in Formatter().parse(text) if hole is not None} for text in (translation, english)
        ]
    except ValueError:  # a brace stands alone
        return False
    return bool(translation) and holes[0] <= holes[1] and all(map(str.isidentifier, holes[1]))
