"""What tests may say of a failure is gathered from their source."""

import textwrap

import pytest

from dojo.authoring.messages import of_folder, of_source


def found(source):
    return list(of_source(textwrap.dedent(source)))


@pytest.mark.parametrize(
    ("expression", "phrases"),
    [
        ('"the loss after one step"', ["the loss after one step"]),
        ('f"the loss at t = {t}"', ["the loss at t = {t}"]),
        ('"the loss " "in two parts"', ["the loss in two parts"]),
        ('"the loss " + "in two parts"', ["the loss in two parts"]),
        ('f"shape {list(x.shape)}, not {list(y.shape)}"', ["shape {list_x_shape}, not {list_y_shape}"]),
        ('f"from {n} to {n - 1} or {n}, {n:.2f}"', ["from {n} to {n_1} or {n}, {n_}"]),
        ('f"the {[1, 2][0]} of it"', ["the {_1_2_0} of it"]),
        ("f\"is {'much too large' if x else 3}\"", ["is {much_too_large_if_x_else_3}", "much too large"]),
        ('name + " of the layer"', ["{name} of the layer"]),
        ('"a set {1, 2}"', ["a set {{1, 2}}"]),
        ('f"a set {{1, 2}} of {n}"', ["a set {{1, 2}} of {n}"]),
        ('{"key of it": ("one of these", 3)}', ["key of it", "one of these"]),
        ('"loss"', []),
        ('"double(-1) if x else f(x)"', []),
        ('f"f({x}, y)"', []),
        ('"..., 1 + "', []),
        ("f'{call} {when}'", ["{call} {when}"]),
        ("f'f({x}) {when}'", ["f({x}) {when}"]),
        ("f'{a} + {b}'", []),
        ("f'{x}: {y}'", ["{x}: {y}"]),
        ('"not modified"', ["not modified"]),
        ('"weight or bias"', ["weight or bias"]),
        ("b'the bytes of it'", []),
    ],
)
def test_strings_that_are_neither_code_nor_one_word_are_phrases(expression, phrases):
    """A value's name in the phrase is made from how it is written; another value has another name."""
    assert found(f"x = {expression}") == phrases


def test_what_is_added_to_a_sentence_is_found_behind_it():
    assert found('sentence += f", but took {n}"') == ["{sentence}, but took {n}"]


def test_of_docstrings_only_those_of_tests_are_shown():
    """In one line, as a failure shows them."""
    source = '''
        """What this module is."""

        def helper():
            """What the helper does."""

        class Fake:
            """A class of fakes."""

        def test_it():
            """Why it
            is {tested}."""
    '''
    assert found(source) == ["Why it is {{tested}}."]


def test_a_folder_gives_each_phrase_once_and_no_evidence(tmp_path):
    (tmp_path / "test_1_core.py").write_text('x = "one of two"\ny = "two of two"\n')
    (tmp_path / "helpers.py").write_text('x = "two of two"\n')
    (tmp_path / "probe.py").write_text('x = "no such thing"\n')
    assert of_folder(tmp_path) == ["two of two", "one of two"]
