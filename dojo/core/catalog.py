"""The catalogue of katas: `katas/catalog.toml`, read and checked."""

import difflib
import keyword
import tomllib
from dataclasses import dataclass
from typing import Any

from dojo.core.errors import UserError
from dojo.core.paths import Checkout

LEVELS = ("warm-up", "core", "stretch")
ASKED = ("often", "sometimes", "rarely")
KIND_NAMES: dict[type, str] = {str: "a text", int: "a whole number", list: "a list"}


@dataclass(frozen=True)
class FollowUp:
    """A question that an interviewer asks afterwards, and a model answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Kata:
    """One entry of the catalogue."""

    name: str
    title: str
    track: str
    level: str
    asked: str
    minutes: int
    question: str
    stages: tuple[str, ...]
    hints: tuple[str, ...]
    follow_ups: tuple[FollowUp, ...]


@dataclass(frozen=True)
class Catalog:
    """All katas, in learning order."""

    katas: tuple[Kata, ...]

    def __getitem__(self, name: str) -> Kata:
        """The kata called `name`. Raises UserError with similar names if there is none."""
        for kata in self.katas:
            if kata.name == name:
                return kata
        names = [kata.name for kata in self.katas]
        lowered = name.lower()
        similar = difflib.get_close_matches(lowered, names, n=3, cutoff=0.5) or [n for n in names if lowered in n]
        advice = f"Did you mean {' or '.join(similar)}?" if similar else "Run `kata list` to see them all."
        raise UserError(f"There is no kata called '{name}'. {advice}")


def load_catalog(checkout: Checkout) -> Catalog:
    """Reads and checks the catalogue. Raises UserError that names the wrong entry and field."""
    file = checkout.shown(checkout.catalog)
    try:
        data = tomllib.loads(checkout.catalog.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}. Restore it with `git checkout -- {file}`.") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{file} is not valid TOML: {error}. Mend that line, or `git checkout -- {file}`.") from error
    entries = data.get("kata", [])
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{file} has no [[kata]] entry. Restore it with `git checkout -- {file}`.")
    katas = tuple(_kata(entry, file, number) for number, entry in enumerate(entries, 1))
    names = [kata.name for kata in katas]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{file}: two entries are called {name!r}; names are file names and must differ.")
    return Catalog(katas)


def _kata(entry: Any, file: str, number: int) -> Kata:
    """The checked entry; `number` says which it is where it has no name."""
    place = f"{file}, entry {number}"
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        place = f"{file}, kata {entry['name']!r}"

    def field(key: str, kind: type, allowed: tuple[str, ...] = ()) -> Any:
        value = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{place}: `{key}` should be {KIND_NAMES[kind]}, but is {value!r}.")
        if allowed and value not in allowed:
            raise UserError(f"{place}: `{key}` should be one of {', '.join(allowed)}, but is {value!r}.")
        return value.strip() if isinstance(value, str) else value

    name = field("name", str)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(
            f"{place}: `name` is also a file name and a module name: letters, digits and underscores, and no Python keyword."
        )
    follow_ups = field("follow_up", list)
    for item in (*field("hints", list), *field("stages", list)):
        if not isinstance(item, str):
            raise UserError(f"{place}: `hints` and `stages` are lists of texts, but hold {item!r}.")
    try:
        answers = tuple(FollowUp(item["question"].strip(), item["answer"].strip()) for item in follow_ups)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{place}: each [[kata.follow_up]] needs a question and an answer, both texts.") from error
    return Kata(
        name=name,
        title=field("title", str),
        track=field("track", str),
        level=field("level", str, LEVELS),
        asked=field("asked", str, ASKED),
        minutes=field("minutes", int),
        question=field("question", str),
        stages=tuple(stage.strip() for stage in field("stages", list)),
        hints=tuple(hint.strip() for hint in field("hints", list)),
        follow_ups=answers,
    )
