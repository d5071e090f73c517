"""`kata dev`: the commands of people who make katas, and their old spellings."""

import os
import pty
import shutil
import subprocess
import sys

import pytest

from dojo.authoring.missing import missing
from dojo.cli.dev import dev
from dojo.core.paths import Checkout
from dojo.tests.checkouts import REPOSITORY, pytest_in, solve
from dojo.tests.cli.commands import environment, kata, program

COMMANDS = ["bench", "export", "new", "notebooks", "render", "translate", "verify"]


def test_dev_help_lists_its_commands():
    """One line each, with its summary."""
    assert sorted(dev.commands) == COMMANDS
    output = kata("dev", "--help").output
    for name in COMMANDS:
        assert f"\n  {name} " in output
        assert dev.commands[name].get_short_help_str(60) in output


@pytest.mark.parametrize("name", COMMANDS)
def test_an_old_spelling_has_the_same_options_and_is_hidden(name):
    """`kata verify` is `kata dev verify`; the learner's help shows neither."""
    old, new = kata(name, "--help"), kata("dev", name, "--help")
    assert old.exit_code == new.exit_code == 0
    assert old.output.replace(f" {name} ", f" dev {name} ", 1) == new.output
    assert f" {name}  " not in kata("--help").output


@pytest.mark.parametrize("arguments", [["--check"], ["tiny"], ["tinny"], ["--no-such-option"]], ids=" ".join)
def test_an_old_spelling_prints_and_exits_as_before(checkout, arguments):
    """A script that uses it goes on working, and its output stays clean."""
    solve(checkout)
    old = kata("render", *arguments)
    solve(checkout)
    new = kata("dev", "render", *arguments)
    assert old.exit_code == new.exit_code
    assert old.stdout.splitlines()[:1] == new.stdout.splitlines()[:1]  # the second line has a time in it
    assert old.stderr.replace("kata render", "kata dev render") == new.stderr


def test_an_old_spelling_says_on_a_terminal_where_the_command_is_now(checkout):
    """In one line on stderr; stdout stays as it was."""
    screen, terminal = pty.openpty()
    run = subprocess.run(
        program("render", "--check"), env=environment(), stdout=subprocess.PIPE, stderr=terminal, timeout=60, check=True
    )
    os.close(terminal)
    stderr = os.read(screen, 10_000).decode()
    os.close(screen)
    assert stderr.splitlines() == ["`kata render` is now `kata dev render`; the old spelling still works."]
    assert run.stdout == b"1 stubs are what their references render to.\n"


# render


def test_render_check_exits_with_1_where_a_stub_differs(checkout):
    """`render` then writes the stub and keeps a copy of the file that was there."""
    assert kata("dev", "render", "--check").exit_code == 0
    checkout.stub("tiny").write_text("# an answer\n")
    result = kata("dev", "render", "--check")
    assert result.exit_code == 1
    assert "kata dev render tiny" in result.output
    mended = kata("dev", "render", "tiny")
    assert mended.exit_code == 0
    assert "katas/tiny.py written." in mended.output
    assert "What stood there before is in .dojo/backups/tiny-" in mended.output
    assert kata("dev", "render", "--check").exit_code == 0


# new


def test_a_new_kata_is_complete(checkout):
    """Its files exist, its stub is not started, its reference passes, and the command prints the next step."""
    result = kata("dev", "new", "gelu")
    assert result.exit_code == 0
    paths = (checkout.reference, checkout.stub, checkout.description, checkout.probe, checkout.mistakes)
    for path in (*(path("gelu") for path in paths), *checkout.test_files("gelu")):
        assert path.is_file()
        assert f"wrote {checkout.shown(path)}" in result.output
    assert "kata dev verify gelu" in result.output
    assert kata("show", "gelu").exit_code == 0
    assert kata("dev", "render", "--check").exit_code == 0
    assert pytest_in(checkout, "--katas=solutions", "tests/gelu").code == 0
    assert set(pytest_in(checkout, "tests/gelu").verdicts().values()) == {"not started"}


def test_new_ends_with_the_steps_that_are_missing(checkout):
    """In the order of work: all of them at first, and of a complete kata only the proof."""
    lines = kata("dev", "new", "gelu").output.split("order of work")[1].splitlines()[1:]
    assert [line.split(": ")[0].split(" (")[0].split(". ", 1)[1] for line in lines] == [
        "solutions/gelu.py",
        "katas/gelu.py",
        "tests/gelu/kata.toml",
        "tests/gelu/test_1_core.py",
        "tests/gelu/test_2_edges.py",
        "tests/gelu/test_3_numerics.py",
        "tests/gelu/test_4_cost.py",
        "tests/gelu/probe.py",
        "tests/gelu/mistakes.toml",
        "tests/gelu/alternatives/",
        "the proof",
    ]
    assert "1 of 12 named mistakes are there" in lines[8]
    assert missing(checkout, "tiny") == [
        "tests/tiny/mistakes.toml: 2 of 12 named mistakes are there",
        "tests/tiny/alternatives/: 0 of 5 other right answers are there",
        "the proof: kata dev verify tiny",
    ]
    real = Checkout(REPOSITORY)
    for name in ("ddpm", "clip_loss"):
        assert missing(real, name) == [f"the proof: kata dev verify {name}"]


def contents(checkout):
    """Returns the content of every file of the checkout."""
    return {path: path.read_bytes() for path in checkout.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["tiny", "Gelu", "ge-lu", "../gelu", "1st", "", "class", "__init__"])
def test_an_impossible_name_writes_nothing(checkout, name):
    """A name that exists, or cannot be a module, gets a sentence."""
    before = contents(checkout)
    result = kata("dev", "new", name)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert contents(checkout) == before


def test_new_refuses_where_one_file_of_that_name_exists(checkout):
    """Nothing is overwritten."""
    checkout.tests("gelu").mkdir()
    checkout.probe("gelu").write_text("mine")
    result = kata("dev", "new", "gelu")
    assert result.exit_code == 2
    assert "tests/gelu/probe.py already exists" in result.output
    assert not checkout.reference("gelu").exists()


def test_new_makes_the_folders_that_it_needs(checkout):
    """A checkout of somebody else's may lack one of them."""
    shutil.rmtree(checkout.solutions)
    assert kata("dev", "new", "gelu").exit_code == 0
    assert checkout.mistakes("gelu").is_file()
    assert checkout.probe("gelu").is_file()


def test_new_writes_all_files_or_none(checkout):
    """A second try would otherwise be refused, because files of that name exist."""
    shutil.rmtree(checkout.solutions)
    checkout.solutions.write_text("in the way")
    before = contents(checkout)
    result = kata("dev", "new", "gelu")
    assert result.exit_code == 2
    assert "solutions" in result.stderr
    assert contents(checkout) == before


# notebooks


@pytest.mark.parametrize(
    ("command", "library"),
    [("notebooks", "jupytext"), ("notebooks --check", "nbformat"), ("notebooks --pictures", "matplotlib")],
)
def test_a_missing_library_is_a_sentence_that_ends_with_how_to_install_it(checkout, monkeypatch, command, library):
    """Learners install the package without the `notebooks` extra."""
    (checkout.root / "notebooks" / "tiny.py").write_text("# %%\n")
    monkeypatch.setitem(sys.modules, library, None)
    result = kata("dev", *command.split())
    assert result.exit_code == 2
    assert result.stderr.endswith(": pip install -e '.[notebooks]'\n")
    assert library in result.stderr
    assert len(result.stderr.splitlines()) == 1
