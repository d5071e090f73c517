"""Which language the reader gets, and what is shown where a translation is missing."""

from datetime import date

import pytest

from dojo.core import answers, docstrings, humanize, language
from dojo.core.catalog import load_catalog
from dojo.core.language import say, say_number
from dojo.core.mistakes import load_mistakes
from dojo.practice import actions
from dojo.tests import checkouts


@pytest.fixture
def unset(monkeypatch):
    """No variable chooses a language; returns a function that sets some, and says which language that gives."""
    for variable in ("KATA_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(variable, raising=False)

    def then(**variables):
        for variable, value in variables.items():
            monkeypatch.setenv(variable, value)
        language._unless_chosen.cache_clear()
        return language.language()

    yield then
    language._unless_chosen.cache_clear()


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("KATA_LANG", "zh")


def translate(file, **texts):
    entries = (f'[[text]]\nen = "{english}"\nzh = "{said}"\n' for english, said in texts.items())
    language.translation_of(file, "zh").write_text("\n".join(entries), encoding="utf-8")


# Which language


def test_the_variable_comes_before_the_settings_and_these_before_the_system(unset, checkout):
    """KATA_LANG is what `kata --lang` sets."""
    assert unset(LANG="zh_CN.UTF-8") == "zh"
    (checkout.root / "katas.toml").write_text('lang = "en"\n')
    assert unset() == "en"
    assert unset(KATA_LANG="zh") == "zh"


@pytest.mark.parametrize("value", ["zh_TW", "zh.UTF-8", "zh"])
def test_the_systems_language_is_the_first_part_of_its_locale(unset, checkout, value):
    """LC_ALL comes before LANG."""
    assert unset(LC_ALL=value, LANG="en_GB.UTF-8") == "zh"


@pytest.mark.parametrize("variables", [{"KATA_LANG": "xx"}, {"LANG": "xx_YY"}, {"LANG": "C"}, {"LANG": "C.UTF-8"}])
def test_an_unknown_language_is_english(unset, checkout, variables):
    """Nothing is refused for it."""
    assert unset(**variables) == "en"


def test_damaged_settings_choose_nothing(unset, checkout):
    """find_checkout() tells of them."""
    (checkout.root / "katas.toml").write_text("lang = ")
    assert unset(LANG="zh_CN") == "zh"


# The trainer's own sentences


def test_a_sentence_is_said_in_the_readers_language(chinese):
    """With the values in it."""
    assert say("Also, {says}", says="{x}") == "\N{CJK UNIFIED IDEOGRAPH-53E6}\N{CJK UNIFIED IDEOGRAPH-5916}\uff0c{x}"


def test_a_sentence_that_nobody_has_translated_is_english(chinese):
    """As is everything in English."""
    assert say("No such sentence, {name}.", name="Ada") == "No such sentence, Ada."


def test_numbers_are_counted_as_the_language_counts_them():
    """English has two forms."""
    forms = "{number} kata", "{number} katas"
    assert [say_number(*forms, number) for number in (0, 1, 2)] == ["0 katas", "1 kata", "2 katas"]


# The katas' texts


def test_a_katas_texts_are_those_beside_them(chinese, checkout):
    """Title, mistakes, docstrings; what is missing or empty is English."""
    english = load_catalog(checkout)["tiny"]
    translate(checkout.description("tiny"), **{english.title: "T", english.question: ""})
    translate(checkout.mistakes("tiny"), **{load_mistakes(checkout.mistakes("tiny")).named[0].says: "S"})
    kata = load_catalog(checkout)["tiny"]
    assert (kata.title, kata.question, kata.hints) == ("T", english.question, english.hints)
    assert load_mistakes(checkout.mistakes("tiny")).named[0].says == "S"
    translate(checkout.tests("tiny") / docstrings.FILE, **{"Two functions of whole numbers.": "D"})
    assert "D" in actions.rules(checkout, kata)


@pytest.mark.parametrize("text", ["[[text]", "text = 3", "[[text]]\nen = 'x'", "text = [3]", "[text]\nen = 'x'"])
def test_a_damaged_translation_is_as_none(chinese, checkout, text):
    """A learner loses nothing by it."""
    language.translation_of(checkout.description("tiny"), "zh").write_text(text)
    assert load_catalog(checkout)["tiny"].title


def test_a_translation_needs_no_language_to_be_left_out(checkout):
    """English readers get the original, whatever lies beside it."""
    title = load_catalog(checkout)["tiny"].title
    translate(checkout.description("tiny"), **{title: "T"})
    assert load_catalog(checkout)["tiny"].title == title


# Docstrings


def test_a_docstring_is_translated_paragraph_by_paragraph():
    """Prose is known without its line breaks, a formula with them; what is not known stays as it stands."""
    docstring = "Title.\n\nSome\nprose.\n\nA formula:\n    x = 1\n\nNot\nknown."
    known = {"Some prose.": "P", "A formula:\n    x = 1": "F:\n    x = 1"}
    said = docstrings.translated(docstring, lambda text: known.get(text, text))
    assert said == "Title.\n\nP\n\nF:\n    x = 1\n\nNot\nknown."


def test_every_docstring_of_a_stub_is_found_once_in_its_order():
    """Of the module, of classes, of functions and methods."""
    source = '"""M.\n\nSame."""\n\nclass A:\n    """A."""\n\n    def f(self):\n        """F.\n\n        Same."""\n\ndef g():\n    pass\n'
    assert docstrings.of_stub(source) == ["M.", "Same.", "A.", "F."]


# The learner's file


@pytest.fixture
def translated(checkout):
    translate(
        checkout.tests("tiny") / docstrings.FILE,
        **{"Two functions of whole numbers.": "\u4e24\u4e2a\u51fd\u6570\u3002"},
    )
    return checkout


def test_the_learners_file_is_the_stub_in_their_language(translated, monkeypatch):
    """While nobody has edited it, it follows the language; the published stub stays English."""
    published = translated.stub("tiny").read_bytes()
    monkeypatch.setenv("KATA_LANG", "zh")
    assert answers.prepare(translated) == []
    chinese = translated.answer("tiny").read_text(encoding="utf-8")
    assert "\u4e24\u4e2a\u51fd\u6570\u3002" in chinese
    assert chinese == answers.learners_stub(translated, "tiny") != published.decode()
    monkeypatch.setenv("KATA_LANG", "en")
    assert answers.prepare(translated) == []
    assert translated.answer("tiny").read_bytes() == published == translated.stub("tiny").read_bytes()


@pytest.mark.parametrize("languages", [("en", "zh"), ("zh", "en")])
def test_an_answer_that_was_begun_in_another_language_is_not_out_of_date(translated, monkeypatch, languages):
    """Nothing is said, and nothing is changed."""
    for number, code in enumerate(languages):
        monkeypatch.setenv("KATA_LANG", code)
        assert answers.prepare(translated) == []
        if number == 0:
            checkouts.solve(translated)
            answer = translated.answer("tiny").read_bytes()
    assert translated.answer("tiny").read_bytes() == answer


def test_a_stub_that_has_changed_is_told_in_any_language(translated, monkeypatch):
    """As in English."""
    monkeypatch.setenv("KATA_LANG", "zh")
    answers.prepare(translated)
    checkouts.solve(translated)
    for file in (translated.reference("tiny"), translated.stub("tiny")):
        file.write_text(file.read_text().replace("by: int = 3", "by: int = 4"))
    (sentence,) = answers.prepare(translated)
    assert "tiny" in sentence


def test_a_better_translation_is_no_news_for_an_answer(translated, monkeypatch):
    """Only what its English says can make an answer out of date."""
    monkeypatch.setenv("KATA_LANG", "zh")
    answers.prepare(translated)
    checkouts.solve(translated)
    translate(translated.tests("tiny") / docstrings.FILE, **{"Two functions of whole numbers.": "\u51fd\u6570\u3002"})
    assert answers.prepare(translated) == []
    for file in (translated.reference("tiny"), translated.stub("tiny")):
        file.write_text(file.read_text().replace("by: int = 3", "by: int = 4"))
    assert len(answers.prepare(translated)) == 1


def test_a_translated_docstring_is_the_same_python(translated):
    """With quotes, backslashes and formulas in it; only docstrings change."""
    source = 'def f(x):\n    """One.\n\n    Two."""\n    return "One."\n'
    said = docstrings.stub_in(source, {"One.": 'a "b" \\ """c""" \\n', "Two.": "d:\n    e"}.get)
    line = ">>> f(1)  # " + "\u9898" * 60  # an example stays on its line
    assert f"{line}\n" in docstrings.stub_in(source, lambda text: {"Two.": line}.get(text, text))
    scope = {}
    exec(said, scope)
    assert scope["f"].__doc__.split("\n\n")[0] == 'a "b" \\ """c""" \\n'
    assert scope["f"](1) == "One."


def test_a_date_has_its_month_and_day_in_each_language(monkeypatch):
    """And its year, if that is another one."""
    day = date(2026, 3, 9)
    assert humanize.short_date(day, date(2026, 12, 1)) == "9 Mar"
    assert humanize.short_date(day, date(2027, 1, 1)) == "9 Mar 2026"
    monkeypatch.setenv("KATA_LANG", "zh")
    assert humanize.short_date(day) == "3 \u6708 9 \u65e5"
    assert humanize.short_date(day, date(2027, 1, 1)) == "2026 \u5e74 3 \u6708 9 \u65e5"
    assert humanize.cut("\u6708" * 20, 10) == "\u6708" * 3 + " ..."
