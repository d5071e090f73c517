"""What tests say, in the reader's language: found by its fixed words, and what stood in its holes likewise."""

import json

import pytest

from dojo.core.phrases import Phrases


@pytest.fixture
def phrases(tmp_path):
    def of(known, code="zh"):
        blocks = [f"[[text]]\nen = {json.dumps(en)}\nzh = {json.dumps(zh)}" for en, zh in known.items()]
        (tmp_path / "messages.zh.toml").write_text("\n\n".join(blocks), encoding="utf-8")
        return Phrases([tmp_path], code)

    return of


SAYS = {
    "{what} should be {expected}, but is {got}": "{what} -> {expected} (got {got})",
    "{what} should be a tensor of shape {shape}, but is {got}": "{what} -> tensor {shape} (got {got})",
    "the loss at t = {t}": "L({t})",
    "the result": "R",
    "{first} of {what}": "{what}'s {first}",
    "a set {{{x}}}": "set {{{x}}}",
    "{x} equals {x}": "{x} twice",
    "{what} at {first}": "{first}: {what}",
    "the rates at steps 2, 6 (2 of 3 warm up)": "rates",
}


@pytest.mark.parametrize(
    ("english", "said"),
    [
        ("the result", "R"),
        ("the loss at t = 3", "L(3)"),
        ("the result should be 2, but is 3", "R -> 2 (got 3)"),
        ("the loss at t = 3 should be [1, 2], but is None", "L(3) -> [1, 2] (got None)"),
        ("row 2 of the loss at t = [1, 2]", "L([1, 2])'s row 2"),
        ("the result should be a tensor of shape [2], but is 3", "R -> tensor [2] (got 3)"),
        ("f(x) should be 'two\nlines', but is None", "f(x) -> 'two\nlines' (got None)"),
        ("a set {1, 2}", "set {1, 2}"),
        ("a b equals a b", "a b twice"),
        ("a b equals a c", "a b equals a c"),
        ("the results", "the results"),
        # the reading that leaves least in English: neither "at" of the first nor "of" inside the brackets splits it
        ("the rates at steps 2, 6 (2 of 3 warm up) at [0]", "[0]: rates"),
        ("the result; the loss at t = 3; the result", "R\uff1bL(3)\uff1bR"),
        ("the result. the result", "R\u3002R"),
        # what torch says is no "{first} of {what}"; what was cut off has no partner of its bracket
        ("The size of tensor a must match it", "The size of tensor a must match it"),
        ("the result should be [1, 2, [3..., but is [1", "the result should be [1, 2, [3..., but is [1"),
        ("the result should be [1, 2, [3..., but is [1...", "R -> [1, 2, [3... (got [1...)"),
        ("the result should be '', but is ", "R -> '' (got )"),
        ("", ""),
    ],
)
def test_a_phrase_is_found_by_its_fixed_words(phrases, english, said):
    """The one that says most is taken, whatever the order in the file."""
    assert phrases(SAYS)(english) == said
    assert phrases(dict(reversed(SAYS.items())))(english) == said


def test_what_a_check_says_is_around_what_a_test_says(tmp_path):
    """Both readings leave nothing in English, and in two phrases each."""
    for folder, (english, translation) in {
        "checks": ("{what} at {first}", "{first}: {what}"),
        "tests": ("the loss in {dtype}", "L of {dtype}"),
    }.items():
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / "messages.zh.toml"
        file.write_text(f"[[text]]\nen = {json.dumps(english)}\nzh = {json.dumps(translation)}", encoding="utf-8")
    say = Phrases([tmp_path / "checks", tmp_path / "tests"], "zh")
    assert say("the loss in float16 at [0, 1]") == "[0, 1]: L of float16"


def test_english_stays_english(phrases):
    assert phrases(SAYS, "en")("the result") == "the result"


@pytest.mark.parametrize(
    ("english", "translation"),
    [("the {x}", ""), ("the {x}", "{y}"), ("the {x}", "{x"), ("the {x", "{x}"), ("the {x.y}", "{x.y}")],
)
def test_a_damaged_translation_is_left_out(phrases, english, translation):
    """A learner's run must not end by it."""
    assert phrases({english: translation})("the loss") == "the loss"


def test_an_absent_or_damaged_file_leaves_all_in_english(tmp_path):
    assert Phrases([tmp_path], "zh")("the result") == "the result"
    (tmp_path / "messages.zh.toml").write_text("[[text")
    assert Phrases([tmp_path], "zh")("the result") == "the result"


def test_a_long_text_in_which_everything_fits_takes_no_time(phrases):
    """A learner's exception may say anything: of so many readings only some are tried."""
    say = phrases({"{a} of {b}": "{b}'s {a}", "{a} at {b}": "{b}: {a}", "{a} {b}": "{a} {b}"})
    text = " of ".join(f"x{number} at y; z" for number in range(100))
    known = {}
    say._read(text, known)
    assert len(known) <= 1_100
    assert say(text)
