"""The check of the links between pages."""

import pytest

from dojo.authoring.links import anchors, find_broken, find_pages, main

OTHER = """# Two `words`, and more!

## Again

## Again

Setext
------
"""


@pytest.fixture
def page(tmp_path):
    """Writes `a.md` beside `other.md`; returns its path."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "other.md").write_text(OTHER)

    def write(text):
        (tmp_path / "docs" / "a.md").write_text(text)
        return tmp_path / "docs" / "a.md"

    return write


def test_headings_are_named_as_github_names_them(page):
    """Lower case, hyphens for spaces, no punctuation, a number for a repeated one."""
    assert anchors(page("").with_name("other.md")) == {"two-words-and-more", "again", "again-1", "setext"}


@pytest.mark.parametrize(
    "text",
    [
        "[x](other.md)",
        "[x](other.md#again-1)",
        "[x](../docs/)",
        "# Here\n[x](#here)",
        "![x](other.md)",
        "[x][ref]\n\n[ref]: other.md",
        "| a |\n| --- |\n| [x](other.md#setext) |",
        "[x](https://example.org/nothing) <https://example.org> [x](mailto:a@example.org)",
        "`[x](nothing.md)`\n\n```\n[x](nothing.md)\n```",
    ],
)
def test_a_link_that_leads_somewhere_passes(page, text):
    """Files, folders, headings, pictures, references, tables; the web and code are left alone."""
    assert list(find_broken(page(text))) == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[x](nothing.md)", "no such file"),
        ("![x](nothing.png)", "no such file"),
        ("[x](other.md#nothing)", "other.md has no heading #nothing"),
        ("[x](#nothing)", "a.md has no heading #nothing"),
        ("[x](/docs/other.md)", "absolute path"),
        ("| a |\n| --- |\n| [x](nothing.md) |", "no such file"),
    ],
)
def test_a_broken_link_is_told_with_its_reason(page, text, reason):
    """One each."""
    [(_, why)] = find_broken(page(text))
    assert reason in why


def test_the_command_prints_file_and_line(page, capsys):
    """And exits with 1; a page that does not exist is broken too."""
    file = page("Fine.\n\n[x](nothing.md)\n")
    assert main([str(file.parent)]) == 1
    assert capsys.readouterr().out == f"{file}:3: nothing.md: there is no such file\n"
    assert main([str(file.with_name("other.md"))]) == 0
    assert "Pages: 1" in capsys.readouterr().out
    assert main([str(file.with_name("b.md"))]) == 1


def test_folders_are_searched(page):
    """Pages in them and below, in order."""
    file = page("")
    assert find_pages([file.parent.parent]) == [file, file.with_name("other.md")]
