"""The catalogue of katas, read and checked: tracks and order in `katas/catalog.toml`, the rest in `tests/NAME/kata.toml`."""

import difflib
import keyword
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from dojo.core.errors import UserError
from dojo.core.language import Texts, say, to_say
from dojo.core.paths import Checkout
from dojo.core.version import VERSION

LEVELS = (to_say("warm-up"), to_say("core"), to_say("stretch"))
ASKED = (to_say("often"), to_say("sometimes"), to_say("rarely"))
KIND_NAMES: dict[type, str] = {str: "a text", int: "a whole number", list: "a list"}


@dataclass(frozen=True)
class FollowUp:
    """A question that an interviewer asks afterwards, and a model answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Kata:
    """One kata of the catalogue."""

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
    builds_on: tuple[str, ...] = ()  # the katas of this catalogue to solve before it


@dataclass(frozen=True)
class Catalog:
    """All katas of a pack, in learning order, and the pack's name. `roles` are tracks and katas by role, the first first."""

    katas: tuple[Kata, ...]
    tracks: tuple[str, ...] = ()
    name: str = ""
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Kata:
        """The kata called `name`. Raises UserError with similar names if there is none."""
        for kata in self.katas:
            if kata.name == name:
                return kata
        names = [kata.name for kata in self.katas]
        lowered = name.lower()
        similar = difflib.get_close_matches(lowered, names, n=3, cutoff=0.5) or [n for n in names if lowered in n]
        if similar:
            names_like = say(" or ").join(similar)
            raise UserError(say("There is no kata called '{name}'. Did you mean {names}?", name=name, names=names_like))
        raise UserError(say("There is no kata called '{name}'. Run `kata list` to see them all.", name=name))

    def for_role(self, role: str) -> dict[str, list[Kata]]:
        """What interviews for `role` ask: its entries (tracks and katas) with their katas, the most important first."""
        if role not in self.roles:
            if not self.roles:
                raise UserError(
                    say("There is no role '{role}'. The pack {pack} has no roles.", role=role, pack=self.name)
                )
            roles = ", ".join(self.roles)
            raise UserError(say("There is no role '{role}'. Roles: {roles}.", role=role, roles=roles))
        return {entry: [k for k in self.katas if entry in (k.track, k.name)] for entry in self.roles[role]}

    def only(self, *, role: str | None = None, track: str | None = None, asked: str | None = None) -> "Catalog":
        """The part that fits all that is given. Raises UserError for a role or a track that is not there."""
        if track and track not in self.tracks:
            tracks = ", ".join(self.tracks)
            raise UserError(say("There is no track '{track}'. Tracks: {tracks}.", track=track, tracks=tracks))
        named = {kata.name for katas in self.for_role(role).values() for kata in katas} if role else None
        return replace(
            self,
            katas=tuple(
                kata
                for kata in self.katas
                if (named is None or kata.name in named)
                and (not track or kata.track == track)
                and (not asked or kata.asked == asked)
            ),
        )

    def find(self, text: str) -> Kata:
        """The kata that a person means by its name, its title, the beginning of one, a part of one, or one of its files.

        Case, blanks and punctuation do not count. Raises UserError if there is none, or if several are meant.
        """
        typed = _squashed(_name_in(text))
        known = [(kata, (_squashed(kata.name), _squashed(kata.title))) for kata in self.katas]
        for matches in (str.__eq__, str.startswith, str.__contains__):
            found = [kata for kata, spellings in known if typed and any(matches(known, typed) for known in spellings)]
            if len(found) == 1:
                return found[0]
            if found:
                names = say(" or ").join(kata.name for kata in found)
                raise UserError(say("'{text}' may mean {names}. Type more of it.", text=text, names=names))
        return self[text]


def _squashed(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())


def _name_in(path: str) -> str:
    """NAME of katas/NAME.py, NAME.py or tests/NAME/test_1_core.py, as a shell completes them; other texts unchanged."""
    folders = path.replace("\\", "/").rstrip("/").split("/")
    if "tests" in folders[:-1]:
        return folders[len(folders) - folders[::-1].index("tests")]
    return folders[-1].removesuffix(".py")


def load_catalog(checkout: Checkout, *, may_be_empty: bool = False) -> Catalog:
    """Reads and checks the catalogue. Raises UserError that names the wrong file and field."""
    file = checkout.shown(checkout.catalog)
    data = _read(checkout, checkout.catalog)
    _check_version(file, data.get("needs", "0"))
    tracks, names, pack = data.get("tracks"), data.get("katas"), _name_of(checkout, data)
    if names == [] and not may_be_empty:
        raise UserError(
            say(
                "{file}: {pack} has no katas yet. Write the first one: kata --pack {root} new NAME",
                file=file,
                pack=pack,
                root=checkout.root,
            )
        )
    for key, value in (("tracks", tracks), ("katas", names)):
        empty = value == [] and (key == "tracks" or not may_be_empty)
        if not isinstance(value, list) or empty or not all(isinstance(item, str) for item in value):
            raise UserError(f"{file}: `{key}` should be a list of names, but is {value!r}.")
    assert isinstance(tracks, list)
    assert isinstance(names, list)
    for name in names:
        if not name.isidentifier() or keyword.iskeyword(name):
            raise UserError(
                f"{file}: {name!r} cannot name a kata. It is also a file name and a module name: letters, digits and "
                f"underscores, and no Python keyword."
            )
        if names.count(name) > 1:
            raise UserError(f"{file}: `katas` lists {name!r} twice; delete one of the two lines.")
        if not checkout.description(name).is_file():
            raise UserError(
                f"{file} lists {name!r}, but there is no {checkout.shown(checkout.description(name))}. Delete the line, "
                f"or restore the folder with `git checkout -- {checkout.shown(checkout.tests(name))}`."
            )
    katas = tuple(_kata(checkout, name, tuple(tracks), names) for name in names)
    return Catalog(katas, tuple(tracks), pack, _roles(file, data, [*tracks, *names]))


def _roles(file: str, data: dict[str, Any], entries: list[str]) -> dict[str, tuple[str, ...]]:
    roles = data.get("roles", {})
    if not isinstance(roles, dict):
        raise UserError(f"{file}: `roles` should be a table of lists, but is {roles!r}.")
    for role, asked in roles.items():
        unknown = [item for item in asked if item not in entries] if isinstance(asked, list) else [asked]
        if unknown:
            raise UserError(f"{file}: the role `{role}` should list tracks and katas, but has {unknown[0]!r}.")
    return {role: tuple(asked) for role, asked in roles.items()}


def pack_name(checkout: Checkout) -> str:
    """The name of the pack: that of its folder unless the catalogue gives one."""
    return _name_of(checkout, _read(checkout, checkout.catalog))


def _name_of(checkout: Checkout, data: dict[str, Any]) -> str:
    name = data.get("name", checkout.root.name)
    if not isinstance(name, str) or not name:
        raise UserError(f"{checkout.shown(checkout.catalog)}: `name` should be the name of the pack, but is {name!r}.")
    return name


def _check_version(file: str, needed: object) -> None:
    """Raises UserError if the pack was made for a newer version of the trainer."""
    if needed == "0":
        return
    try:
        wanted = Version(str(needed))
    except InvalidVersion:
        raise UserError(f'{file}: `needs` should be a version such as "0.1", but is {needed!r}.') from None
    if Version(VERSION) < wanted:
        raise UserError(
            say(
                "{file} needs version {wanted} of the trainer, and this is {version}. "
                "Get it: `kata update` in a clone, else `pip install --upgrade katas`.",
                file=file,
                wanted=wanted,
                version=VERSION,
            )
        )


def _read(checkout: Checkout, path: Path) -> dict[str, Any]:
    file = checkout.shown(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        sentence = say(
            "{file} cannot be read: {error}. Restore it with `git checkout -- {file}`.", file=file, error=error
        )
        raise UserError(sentence) from error
    except tomllib.TOMLDecodeError as error:
        sentence = say(
            "{file} is not valid TOML: {error}. Mend that line, or `git checkout -- {file}`.", file=file, error=error
        )
        raise UserError(sentence) from error


def _kata(checkout: Checkout, name: str, tracks: tuple[str, ...], names: list[str]) -> Kata:
    """The checked description of one kata; `names` are those of the catalogue."""
    file = checkout.shown(checkout.description(name))
    data = _read(checkout, checkout.description(name))
    texts = Texts(checkout.description(name))

    def field(key: str, kind: type, allowed: tuple[str, ...] = ()) -> Any:
        value = data.get(key)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise UserError(f"{file}: `{key}` should be {KIND_NAMES[kind]}, but is {value!r}.")
        if allowed and value not in allowed:
            raise UserError(f"{file}: `{key}` should be one of {', '.join(allowed)}, but is {value!r}.")
        return value.strip() if isinstance(value, str) else value

    for item in (*field("hints", list), *field("stages", list)):
        if not isinstance(item, str):
            raise UserError(f"{file}: `hints` and `stages` are lists of texts, but hold {item!r}.")
    builds_on = field("builds_on", list) if "builds_on" in data else []
    for item in builds_on:
        if item in names[names.index(name) :]:
            raise UserError(f"{file}: `builds_on` should list katas that stand before {name}, but has {item!r}.")
    try:
        answers = tuple(
            FollowUp(texts(item["question"].strip()), texts(item["answer"].strip()))
            for item in field("follow_up", list)
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: each [[follow_up]] needs a question and an answer, both texts.") from error
    return Kata(
        name=name,
        title=texts(field("title", str)),
        track=field("track", str, tracks),
        level=field("level", str, LEVELS),
        asked=field("asked", str, ASKED),
        minutes=field("minutes", int),
        question=texts(field("question", str)),
        stages=tuple(texts(stage.strip()) for stage in field("stages", list)),
        hints=tuple(texts(hint.strip()) for hint in field("hints", list)),
        follow_ups=answers,
        builds_on=tuple(item for item in builds_on if item in names),  # a copy to hand out may leave some out
    )
