"""The reader's language: which it is, the trainer's own sentences in it, and the katas' texts.

The trainer's sentences are in gettext's catalogues, `dojo/locale/`. A kata's translation stands beside what it translates:
`kata.zh.toml` beside `kata.toml`. It is a list of [[text]], each with `en`, the English, and `zh`. A text is found by its
English, so one that has changed since it was translated, or never was, is shown in English.
"""

import gettext
import locale
import os
import re
import tomllib
from functools import cache
from pathlib import Path

from dojo.core.settings import settings_around

ENGLISH = "en"
LANGUAGES = {ENGLISH: "English", "zh": "中文"}
VARIABLE = "KATA_LANG"
LOCALE = Path(__file__).resolve().parents[1] / "locale"


def language() -> str:
    """KATA_LANG (which `kata --lang` sets), else `lang` of the settings file, else the system's language, if it is known."""
    if chosen := os.environ.get(VARIABLE):
        return chosen if chosen in LANGUAGES else ENGLISH
    try:
        return _unless_chosen(os.getcwd())
    except FileNotFoundError:  # the folder was deleted; whatever comes next says so
        return _unless_chosen("")


def choose(code: str) -> None:
    """From now on, in this process and in those that it starts, `code` is the language."""
    os.environ[VARIABLE] = code


@cache
def _unless_chosen(folder: str) -> str:
    """The language of the settings around `folder`, the current one, or of the system."""
    variables = (os.environ.get(variable) for variable in ("LC_ALL", "LC_MESSAGES", "LANG"))  # in POSIX's order
    system = next(filter(None, variables), None) or locale.getlocale()[0] or ""
    code = settings_around().get("lang") or re.split("[_.@-]", system)[0].lower()
    return code if code in LANGUAGES else ENGLISH


def translated(text: str, /, code: str = "") -> str:
    """`text`, an English sentence, in `code`, the reader's language unless told; its {names} still stand in it."""
    return _sentences(code or language()).gettext(text)


def say(text: str, /, **values: object) -> str:
    """`text`, an English sentence with {names} of `values`, in the reader's language."""
    return translated(text).format(**values)


def say_number(one: str, several: str, number: int, /, **values: object) -> str:
    """`one` or `several`, as the reader's language counts `number`, which is {number} in both."""
    return translated_number(one, several, number).format(number=number, **values)


def translated_number(one: str, several: str, number: int, /) -> str:
    """`one` or `several`, in the reader's language; its {names} still stand in it."""
    return _sentences(language()).ngettext(one, several, number)


def to_say(text: str) -> str:
    """`text` unchanged: a word that is translated where it is shown, with say()."""
    return text


@cache
def _sentences(code: str) -> gettext.NullTranslations:
    return gettext.translation("dojo", LOCALE, languages=[code], fallback=True)


def translation_of(file: Path, code: str) -> Path:
    """The file beside `file` with its translation: kata.zh.toml beside kata.toml, stub.zh.toml beside stub.toml."""
    return file.with_name(f"{file.stem}.{code}.toml")


class Texts:
    """The translation of one file of a kata into `code`, the reader's language unless told. What it lacks stays English."""

    def __init__(self, file: Path, code: str = "") -> None:
        code = code or language()
        self._known = {} if code == ENGLISH else read_translation(translation_of(file, code), code)

    def __call__(self, text: str) -> str:
        return self._known.get(text) or text

    def __bool__(self) -> bool:
        return any(self._known.values())


def read_translation(file: Path, code: str) -> dict[str, str]:
    """English and translation of each text in `file`; nothing if it is absent or damaged: then the texts are English."""
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8")).get("text", [])
        return {entry["en"]: entry[code] for entry in entries}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
