"""What katas there are: `katas/catalog.toml`, read and checked."""

import difflib
import keyword
import tomllib
from dataclasses import dataclass
from typing import Any

from dojo.core.errors import UserError
from dojo.core.paths import Checkout

LEVELS = ("warm-up", "core", "stretch")
ASKED = ("often", "sometimes", "rarely")


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
    """All katas, in the order in which someone learns them."""

    katas: tuple[Kata, ...]

    def __getitem__(self, name: str) -> Kata:
        """The kata of that name; raises UserError with the nearest names for an unknown one."""
        for kata in self.katas:
            if kata.name == name:
                return kata
        names = [kata.name for kata in self.katas]
        near = name.lower()
        close = difflib.get_close_matches(near, names, n=3, cutoff=0.5) or [n for n in names if near in n]
        mean = f" Did you mean {' or '.join(close)}?" if close else " Run `kata list` to see them all."
        raise UserError(f"There is no kata called '{name}'.{mean}")


def load_catalog(checkout: Checkout) -> Catalog:
    """Reads and checks the catalogue; raises UserError with the entry and the field that are wrong."""
    where = checkout.shown(checkout.catalog)
    try:
        data = tomllib.loads(checkout.catalog.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{where} cannot be read: {error}. Restore it with `git checkout -- {where}`.") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{where} is not valid TOML: {error}. Mend that line, or `git checkout -- {where}`.") from error
    entries = data.get("kata", [])
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{where} has no [[kata]] entry. Restore it with `git checkout -- {where}`.")
    katas = tuple(_kata(entry, where, number) for number, entry in enumerate(entries, 1))
    names = [kata.name for kata in katas]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{where}: two entries are called {name!r}; names are file names and must differ.")
    return Catalog(katas)


def _kata(entry: Any, where: str, number: int) -> Kata:
    label = f"{where}, entry {number}"
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        label = f"{where}, kata {entry['name']!r}"

    def field(key: str, kind: type, allowed: tuple[str, ...] = ()) -> Any:
        value = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{label}: `{key}` should be {_article(kind)}, but is {value!r}.")
        if allowed and value not in allowed:
            raise UserError(f"{label}: `{key}` should be one of {', '.join(allowed)}, but is {value!r}.")
        return value.strip() if isinstance(value, str) else value

    name = field("name", str)
    if not name.isidentifier() or keyword.iskeyword(name):
        raise UserError(
            f"{label}: `name` is also a file name and a module name: letters, digits and underscores, no word of Python's own."
        )
    follow_ups = field("follow_up", list)
    for item in (*field("hints", list), *field("stages", list)):
        if not isinstance(item, str):
            raise UserError(f"{label}: `hints` and `stages` are lists of texts, but hold {item!r}.")
    try:
        answers = tuple(FollowUp(item["question"].strip(), item["answer"].strip()) for item in follow_ups)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{label}: each [[kata.follow_up]] needs a question and an answer, both texts.") from error
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


def _article(kind: type) -> str:
    return {str: "a text", int: "a whole number", list: "a list"}[kind]
