"""The pages for people: their links lead somewhere, and what they tell people to type exists."""

import configparser
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from markdown_it import MarkdownIt

from dojo.authoring.links import find_broken, find_pages
from dojo.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
PAGES = find_pages([*(ROOT / name for name in NAMES), ROOT / "docs"])
TODAY = [page for page in PAGES if page.name != "CHANGELOG.md"]  # what a changelog names may be gone
FILE = re.compile(r"(?:dojo|tests|katas|solutions|notebooks|docs|\.github|\.ci)/[\w./-]*|[\w-]+\.(?:toml|ini|txt)")
EXAMPLE = re.compile(r"NAME|my_kata|classroom50|grade-class")  # files that the reader makes


def each(pages):
    return pytest.mark.parametrize("page", pages, ids=lambda page: page.relative_to(ROOT).as_posix())


def code_spans(page):
    """The text of every piece of inline code."""
    blocks = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return [" ".join(t.content.split()) for block in blocks for t in block.children or () if t.type == "code_inline"]


def code_lines(page):
    """The lines of every block of code, without prompts and comments."""
    blocks = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    text = "\n".join(block.content for block in blocks if block.type == "fence").replace("\\\n", " ")
    return [re.sub(r"(^|\s)#.*", "", line.strip().removeprefix("$ ")) for line in text.splitlines()]


def typed(page, program):
    """What follows the name of `program` in each command line that a page prints, in words.

    Brackets mark what may be left out, and two spaces begin an explanation: both go.
    """
    parts = [part for line in code_spans(page) + code_lines(page) for part in re.split(r"&&|\|\||[;|]", line)]
    commands = [re.sub(r"^\s*((sudo|\w+=\S*)\s+)*(\S*/)?", "", part) for part in parts]
    lines = [re.split(r"\s{2,}", re.sub(r"[\[\]]", "", command))[0] for command in commands]
    return [shlex.split(line)[1:] for line in lines if re.match(rf"{program}(\s|$)", line)]


def check_command(words):
    """Raises click's own error if `words` is no `kata` command, or has an option or a choice that the command lacks."""
    command, context = main, click.Context(main, **main.context_settings)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        if words[0].isupper():  # a placeholder
            return
        command = command.get_command(context, words[0])
        if command is None:
            raise click.UsageError(f"there is no command {words[0]}")
        context = click.Context(command, parent=context, info_name=words[0], **command.context_settings)
        words = words[1:]
    values, extra, _ = command.make_parser(context).parse_args(list(words))
    if extra and not isinstance(command, click.Group):
        raise click.UsageError(f"too many words: {extra}")
    for option in command.params:
        if isinstance(option.type, click.Choice):
            given = values.get(option.name)
            for choice in given if isinstance(given, list | tuple) else [given]:
                if isinstance(choice, str) and not choice.isupper():
                    option.type.convert(choice, option, context)


@each(PAGES)
def test_every_link_leads_somewhere(page):
    """To a file, and to a heading of it."""
    assert [f"{link.target} (line {link.line}): {why}" for link, why in find_broken(page)] == []


@each(TODAY)
def test_every_kata_command_exists(page):
    """Commands, options and choices, as `kata` itself knows them."""
    wrong = []
    for words in typed(page, "kata"):
        try:
            check_command(words)
        except click.ClickException as error:
            wrong.append(f"kata {' '.join(words)}: {error.format_message()}")
    assert wrong == []


def test_command_lines_are_found():
    """Or the test above would pass on anything."""
    lines = [words for page in TODAY for words in typed(page, "kata")]
    assert ["drill", "--mock"] in lines
    assert ["grade", "handed-in/", "--out", "grade/", "--require", "fenced"] in lines
    assert ["test", "NAME", "--stage", "N"] in lines


def test_every_pytest_option_exists():
    """In command lines, and in the table of docs/practising.md, as `pytest --help` lists them here."""
    command = [sys.executable, "-m", "pytest", "--help"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    words = {word for page in TODAY for line in typed(page, "pytest") for word in line}
    words |= set(re.findall(r"^\| `(--\S+)` \|", (ROOT / "docs" / "practising.md").read_text(encoding="utf-8"), re.M))
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert len(options) > 5
    assert {option for option in options if not re.search(rf"{option}\b", listed)} == set()


def test_every_tox_environment_exists():
    """`tox -e NAME` in a page."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    known = {section.removeprefix("testenv:") for section in tox.sections() if section.startswith("testenv:")}
    used = {words[1] for page in TODAY for words in typed(page, "tox") if words[:1] == ["-e"]}
    assert len(used) > 5
    assert used <= known


@each(TODAY)
def test_every_file_that_is_named_exists(page):
    """`dojo/...`, `tests/...`, `tox.ini` in code spans."""
    names = {span for span in code_spans(page) if FILE.fullmatch(span) and not EXAMPLE.search(span)}
    assert {name for name in names if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize(
    "line",
    ["kata tset", "kata watch --edits", "kata grade x --format pdf", "kata list all", "kata drill ddpm --minutes"],
)
def test_a_wrong_command_line_is_noticed(line):
    """By click itself, from the commands as they are."""
    with pytest.raises(click.ClickException):
        check_command(shlex.split(line)[1:])
