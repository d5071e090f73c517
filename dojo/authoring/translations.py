"""The katas' texts in other languages: which are missing, which are older than their English, and the files to fill in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dojo.authoring import messages
from dojo.core import docstrings, language, phrases
from dojo.core.catalog import Kata
from dojo.core.files import write
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.core.stubs import stub

HEAD = "# {} in {}. What is empty is shown in English. `kata dev translate KATA` adds what is missing."
WHAT = {
    docstrings.FILE: "The docstrings of the stub",
    phrases.FILE: "What tests say of a failure, with {names} for its values,",
}
NO_LONGER = "# No longer in the original. Take over what still fits, then delete these."


@dataclass(frozen=True)
class Coverage:
    """How much of a kata, or of the trainer, is translated. `older` counts translations whose English has changed or is gone."""

    kata: str
    texts: int
    translated: int
    older: int


def originals(checkout: Checkout, kata: Kata) -> dict[Path, list[str]]:
    """The English texts of `kata` by the file whose translation holds them, in order, each once. The language is English."""
    description = [kata.title, kata.question, *kata.stages, *kata.hints]
    description += [text for item in kata.follow_ups for text in (item.question, item.answer)]
    mistakes = [mistake.says for mistake in load_mistakes(checkout.mistakes(kata.name)).named]
    folder = checkout.tests(kata.name)
    texts_of = {
        checkout.description(kata.name): description,
        folder / docstrings.FILE: docstrings.of_stub(stub(checkout, kata.name)),
        checkout.mistakes(kata.name): mistakes,
        folder / phrases.FILE: messages.of_folder(folder),
    }
    return {file: list(dict.fromkeys(texts)) for file, texts in texts_of.items() if texts}


def of_checks() -> dict[Path, list[str]]:
    """The same of the checks that all tests share."""
    return {phrases.CHECKS / phrases.FILE: messages.of_folder(phrases.CHECKS)}


def update(originals: Mapping[Path, list[str]], code: str) -> list[Path]:
    """Writes the files of translations into `code`: what was there, and what is missing as empty texts."""
    written = []
    for file, texts in originals.items():
        path = language.translation_of(file, code)
        before = language.read_translation(path, code)
        old = {text: translation for text, translation in before.items() if text not in texts and translation}
        blocks = [HEAD.format(WHAT.get(file.name, file.name), language.LANGUAGES[code])]
        blocks += [_entry(text, before.get(text, ""), code) for text in texts]
        blocks += [NO_LONGER] if old else []
        blocks += [_entry(text, translation, code) for text, translation in old.items()]
        write(path, "\n\n".join(blocks) + "\n")
        written.append(path)
    return written


def _entry(english: str, translation: str, code: str) -> str:
    # What JSON escapes, TOML's basic strings escape in the same way.
    quoted = [json.dumps(text, ensure_ascii=False) for text in (english, translation)]
    return f"[[text]]\nen = {quoted[0]}\n{code} = {quoted[1]}"


def coverage(name: str, originals: Mapping[Path, list[str]], code: str) -> Coverage:
    """How much of what is called `name` is translated into `code`."""
    texts = translated = older = 0
    for file, there in originals.items():
        known = language.read_translation(language.translation_of(file, code), code)
        texts += len(there)
        translated += sum(bool(known.get(text)) for text in there)
        older += len(known.keys() - set(there))
    return Coverage(name, texts, translated, older)
