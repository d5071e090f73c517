"""The katas' texts in other languages: which are missing, which are older than their English, and the files to fill in."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dojo.core import docstrings, language
from dojo.core.catalog import Kata
from dojo.core.files import write
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.core.stubs import stub

HEAD = "# {} in {}. What is empty is shown in English. `kata dev translate KATA` adds what is missing."
NO_LONGER = "# No longer in the original. Take over what still fits, then delete these."


@dataclass(frozen=True)
class Coverage:
    """How much of one kata is translated. `older` counts translations whose English has changed or is gone."""

    kata: str
    texts: int
    translated: int
    older: int


def originals(checkout: Checkout, kata: Kata) -> dict[Path, list[str]]:
    """The English texts of `kata` by the file whose translation holds them, in order, each once. The language is English."""
    description = [kata.title, kata.question, *kata.stages, *kata.hints]
    description += [text for item in kata.follow_ups for text in (item.question, item.answer)]
    mistakes = [mistake.says for mistake in load_mistakes(checkout.mistakes(kata.name)).named]
    texts_of = {
        checkout.description(kata.name): description,
        checkout.tests(kata.name) / docstrings.FILE: docstrings.of_stub(stub(checkout, kata.name)),
        checkout.mistakes(kata.name): mistakes,
    }
    return {file: list(dict.fromkeys(texts)) for file, texts in texts_of.items() if texts}


def update(checkout: Checkout, kata: Kata, code: str) -> list[Path]:
    """Writes the kata's files of translations into `code`: what was there, and what is missing as empty texts."""
    written = []
    for file, texts in originals(checkout, kata).items():
        path = language.translation_of(file, code)
        before = language.read_translation(path, code)
        old = {text: translation for text, translation in before.items() if text not in texts and translation}
        what = "The docstrings of the stub" if file.name == docstrings.FILE else file.name
        blocks = [HEAD.format(what, language.LANGUAGES[code])]
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


def coverage(checkout: Checkout, katas: Iterable[Kata], code: str) -> list[Coverage]:
    """How much of each of `katas` is translated into `code`."""
    rows = []
    for kata in katas:
        texts = translated = older = 0
        for file, there in originals(checkout, kata).items():
            known = language.read_translation(language.translation_of(file, code), code)
            texts += len(there)
            translated += sum(bool(known.get(text)) for text in there)
            older += len(known.keys() - set(there))
        rows.append(Coverage(kata.name, texts, translated, older))
    return rows
