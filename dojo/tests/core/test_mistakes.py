"""Named mistakes: patches that fit, and the files that hold them."""

import pytest

from dojo.core.errors import UserError
from dojo.core.mistakes import Mistake, load_mistakes


def mistake(name, *edits):
    return Mistake(name, f"says {name}", edits, "test_x")


# Patches


def test_a_patch_changes_its_one_place():
    """Or several places, one after the other."""
    assert mistake("a", ("x * 2", "x * x")).apply("return x * 2") == "return x * x"
    assert mistake("b", ("x", "y"), ("2", "3")).apply("return x * 2") == "return y * 3"


@pytest.mark.parametrize(("source", "times"), [("return x", 0), ("x * 2 + x * 2", 2)])
def test_a_patch_that_fits_nowhere_or_twice_is_a_user_error(source, times):
    """The reference has changed, and the mistake has to be adapted."""
    with pytest.raises(UserError, match=rf"mistake 'a': .* stands {times} times"):
        mistake("a", ("x * 2", "x * x")).apply(source)


# Files


def written(tmp_path, text):
    (tmp_path / "tiny.toml").write_text(text)
    return tmp_path / "tiny.toml"


def test_a_file_holds_mistakes_and_explained_survivors(tmp_path):
    """One edit, or a list of them."""
    loaded = load_mistakes(
        written(
            tmp_path,
            '[[mistake]]\nname="a"\nsays="s"\nold="x"\nnew="y"\ncaught_by="t"\n'
            '[[mistake]]\nname="b"\nsays="s"\nedits=[{old="1",new="2"},{old="3",new="4"}]\ncaught_by="t"\n'
            '[[survivor]]\nchange="f: a -> b"\nwhy="equivalent"\n',
        )
    )
    assert [m.edits for m in loaded.named] == [(("x", "y"),), (("1", "2"), ("3", "4"))]
    assert loaded.survivors == {"f: a -> b": "equivalent"}


def test_no_file_means_no_mistakes(tmp_path):
    """A kata that is being written."""
    assert load_mistakes(tmp_path / "none.toml").named == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[mistake]\n", "not valid TOML"),
        ('[[mistake]]\nname="a"\nold="x"\nnew="y"\ncaught_by="t"\n', "lacks 'says'"),
        ('[[mistake]]\nname="a"\nsays="s"\ncaught_by="t"\n', "lacks 'old'"),
        ('[[survivor]]\nchange="x"\n', "lacks 'why'"),
        ('[[mistake]]\nname="a"\nsays="s"\nold="x"\nnew="y"\ncaught_by="t"\n' * 2, "share the name 'a'"),
        ('mistake = "a"\n', "mistake"),
        ('[[mistake]]\nname="a"\nsays="s"\nold=1\nnew=2\ncaught_by="t"\n', "old"),
    ],
)
def test_a_wrong_file_is_a_user_error_that_names_the_fault(tmp_path, text, says):
    """With the file's name."""
    with pytest.raises(UserError, match=rf"tiny\.toml.*{says}"):
        load_mistakes(written(tmp_path, text))
