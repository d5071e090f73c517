"""Which texts are translated, the files to fill in, and what is left of older ones."""

import string
import tomllib
from pathlib import Path

import pytest

from dojo.authoring import sentences, translated_pages, translations
from dojo.core import language, phrases
from dojo.core.catalog import load_catalog
from dojo.tests import checkouts
from dojo.tests.cli.commands import kata as run_kata


@pytest.fixture
def tiny(catalog):
    return catalog["tiny"]


def entries(checkout, name="kata.toml"):
    file = language.translation_of(checkout.tests("tiny") / name, "zh")
    return tomllib.loads(file.read_text(encoding="utf-8"))["text"]


def test_the_files_to_fill_in_hold_every_text_once(checkout, tiny):
    """Title and question first; docstrings and mistakes have files of their own."""
    files = translations.update(translations.originals(checkout, tiny), "zh")
    assert [file.name for file in files] == ["kata.zh.toml", "stub.zh.toml", "mistakes.zh.toml", "messages.zh.toml"]
    assert entries(checkout)[:2] == [{"en": tiny.title, "zh": ""}, {"en": tiny.question, "zh": ""}]
    row = translations.coverage("tiny", translations.originals(checkout, tiny), "zh")
    assert (row.texts, row.translated, row.older) == (
        sum(len(entries(checkout, f"{n}.toml")) for n in ("kata", "stub", "mistakes", "messages")),
        0,
        0,
    )


def test_a_text_that_has_changed_is_older_and_kept(checkout, tiny):
    """At the end of the file; in its place stands an empty text. An old text that was never translated goes."""
    file = translations.update(translations.originals(checkout, tiny), "zh")[0]
    text = file.read_text(encoding="utf-8")
    for number in range(2):
        text = text.replace('zh = ""', f'zh = "{number}"', 1)
    file.write_text(text, encoding="utf-8")
    source = checkout.description("tiny")
    source.write_text(source.read_text().replace(tiny.title, "Another title").replace(tiny.hints[-1], "Another hint"))
    changed = load_catalog(checkout)["tiny"]
    row = translations.coverage("tiny", translations.originals(checkout, changed), "zh")
    assert (row.translated, row.older) == (1, 2)
    translations.update(translations.originals(checkout, changed), "zh")
    now = entries(checkout)
    assert now[0] == {"en": "Another title", "zh": ""}
    assert now[1] == {"en": tiny.question, "zh": "1"}
    assert now[-1] == {"en": tiny.title, "zh": "0"}
    assert tiny.hints[-1] not in [entry["en"] for entry in now]


def test_what_is_written_is_read_again(checkout, tiny):
    """Quotes, backslashes, line breaks, other scripts."""
    awkward = 'a "b" \\ c\n    d\u3002\u00e9\t'
    file = checkout.tests("tiny") / "x.zh.toml"
    file.write_text(translations._entry(awkward, awkward, "zh"), encoding="utf-8")
    assert language.read_translation(file, "zh") == {awkward: awkward}


def test_the_command_prints_what_is_missing_and_speaks_english(checkout, monkeypatch):
    """Whatever the reader's language: katas are made in English."""
    monkeypatch.setenv("KATA_LANG", "zh")
    result = run_kata("dev", "translate", "tiny")
    assert "tests/tiny/kata.zh.toml written." in result.output
    assert "0 of " in result.output.splitlines()[-1]
    checkouts.add_kata(checkout, "other")
    assert "the trainer" in run_kata("dev", "translate").output


# The trainer's own sentences


@pytest.mark.parametrize("code", [code for code in language.LANGUAGES if code != language.ENGLISH])
def test_what_gettext_reads_is_what_was_translated(code):
    """The compiled catalogue is made by `kata dev translate trainer`."""
    file = sentences.file_of(code)
    assert file.with_suffix(".mo").read_bytes() == sentences.compiled(sentences.read(code))


@pytest.mark.parametrize("code", [code for code in language.LANGUAGES if code != language.ENGLISH])
def test_a_translated_sentence_has_the_values_of_its_english(code):
    """A name that the English lacks would raise KeyError before a learner; one may be left out."""
    for message in sentences.read(code):
        if message.id and all([*message.string]):
            english = message.id if isinstance(message.id, str) else message.id[1]
            said = message.string if isinstance(message.string, str) else message.string[0]
            assert fields(said) <= fields(english), english


def fields(text):
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_every_translation_in_the_repository_can_be_read():
    """A damaged file would be shown as English, and nobody would notice. Nor would a phrase with a value of its own."""
    files = [*checkouts.REPOSITORY.glob("tests/*/*.??.toml"), *checkouts.REPOSITORY.glob("dojo/testing/*.??.toml")]
    assert len(files) >= 3
    for file in files:
        texts = tomllib.loads(file.read_text(encoding="utf-8"))["text"]
        code = file.suffixes[0][1:]
        assert all(set(entry) == {"en", code} for entry in texts), file
        if file.name.startswith(Path(phrases.FILE).stem):
            assert all(phrases.fits(entry[code], entry["en"]) for entry in texts if entry[code]), file


# Pages


def test_a_page_is_missing_current_or_older(checkout):
    """Tables and figures that a command writes do not count. Another pack has no such pages."""
    assert translated_pages.coverage(checkout, "zh") == []
    english, chinese = checkout.root / "README.md", checkout.root / "README.zh.md"
    figures = "<!-- figures: written by kata dev verify --write -->\n{}\n<!-- figures: end -->\n"
    english.write_text(f"# Katas\n{figures.format(3)}")

    def row():
        (only,) = translated_pages.coverage(checkout, "zh")
        return only.translated, only.older

    assert row() == (0, 0)
    chinese.write_text("# \u9898\n", encoding="utf-8")
    assert row() == (1, 1)
    assert translated_pages.mark(checkout, "zh") == [chinese]
    assert row() == (1, 0)
    english.write_text(f"# Katas\n{figures.format(4)}")
    assert row() == (1, 0)
    english.write_text("# Katas and more\n")
    assert row() == (1, 1)
    translated_pages.mark(checkout, "zh")
    assert chinese.read_text(encoding="utf-8").count("\n") == 2
    assert translated_pages.mark(checkout, "zh") == []
