"""Reads `tests/<kata>/mistakes.toml`: named mistakes, and mutants that no test can kill.

[[mistake]]                             # a small patch on the reference, and the sentence for a learner who made it
name = "multiplies by the temperature"
says = "you multiplied the logits by T: a high temperature now sharpens instead of flattening"
old = "shifted / temperature"          # occurs exactly once in the reference
new = "shifted * temperature"          # or edits = [{old = ..., new = ...}, ...]
caught_by = "test_temperature_scales_log_odds"

[[survivor]]                            # a mutant that survives all tests, and why no test can kill it
change = "eps=1e-05 -> eps=2e-05"       # as `kata dev verify` prints it
why = "any eps far below the variance passes; the docstring leaves it free"
"""

import tomllib
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from dojo.core.errors import UserError
from dojo.core.language import Texts


@dataclass(frozen=True)
class Mistake:
    """One wrong answer that people give."""

    name: str
    says: str  # completes the sentence "Your result is exactly what you get when ..."
    edits: tuple[tuple[str, str], ...]
    caught_by: str  # the test that fails for it

    def __hash__(self) -> int:
        return hash(self.name)  # a diagnosis looks mistakes up a million times

    def apply(self, source: str) -> str:
        """The reference with this mistake. Raises UserError if an `old` text does not occur exactly once."""
        for old, new in self.edits:
            if source.count(old) != 1:
                raise UserError(
                    f"mistake {self.name!r}: its `old` text stands {source.count(old)} times in the reference, not once:\n    {old.strip()}"
                )
            source = source.replace(old, new)
        return source


@dataclass(frozen=True)
class Mistakes:
    """The content of one mistakes file."""

    named: tuple[Mistake, ...]
    survivors: dict[str, str]  # change -> why


def load_mistakes(path: Path) -> Mistakes:
    """Reads one mistakes file; a missing file means no mistakes."""
    if not path.is_file():
        return Mistakes((), {})
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}.") from error
    try:
        texts = Texts(path)
        named = tuple(_mistake(entry, texts) for entry in data.get("mistake", []))
        survivors = {entry["change"]: entry["why"] for entry in data.get("survivor", [])}
    except KeyError as error:
        raise UserError(
            f"{path}: an entry lacks {error}; a mistake has name, says, old and new (or edits), caught_by."
        ) from error
    except (TypeError, AttributeError) as error:
        raise UserError(
            f"{path}: [[mistake]] and [[survivor]] entries hold texts (old and new among them): {error}."
        ) from error
    names = [mistake.name for mistake in named]
    if len(set(names)) < len(names):
        raise UserError(f"{path}: two mistakes share the name {next(n for n in names if names.count(n) > 1)!r}.")
    return Mistakes(named, survivors)


def _mistake(entry: dict[str, Any], texts: Texts) -> Mistake:
    edits = entry.get("edits") or [{"old": entry["old"], "new": entry["new"]}]
    patches = tuple((e["old"], e["new"]) for e in edits)
    mistake = Mistake(entry["name"], texts(entry["says"]), patches, entry["caught_by"])
    for text in (mistake.name, mistake.says, mistake.caught_by, *chain(*mistake.edits)):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} is not a text")
    return mistake
