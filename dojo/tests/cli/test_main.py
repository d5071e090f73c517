"""The `kata` command as a whole: its help, its errors and its process."""

import os
import pty
import re
import subprocess
import sys

import pytest

from dojo.cli.help_texts import help_texts
from dojo.cli.main import SECTIONS, main
from dojo.tests.checkouts import MISTAKES, add_kata, make_checkout, solve
from dojo.tests.cli.commands import environment, kata, program

COMMANDS = {
    "Practise": ["list", "show", "watch", "room", "test", "debug", "hint", "solution", "follow-ups", "reset"],
    "Set up": ["init", "update"],
    "Interview": ["drill", "hunt"],
    "Remember": ["plan", "due", "again", "history", "report"],
    "Grade": ["grade", "grade-cohort"],
}


def test_help_has_one_line_for_each_command_in_its_section():
    """`-h` as well as `--help`."""
    result = kata("-h")
    assert result.exit_code == 0
    assert result.output == kata("--help").output
    assert {section: [command.name for command in commands] for section, commands in SECTIONS.items()} == COMMANDS
    for section, names in COMMANDS.items():
        assert f"\n{section} " in result.output
        for name in names:
            assert len(re.findall(rf"^(?:{section})? +{name}  +\S.*\S$", result.output, re.MULTILINE)) == 1
            assert kata(name, "-h").exit_code == 0
    assert "kata dev" in result.output.splitlines()[-1]


def test_help_fits_a_terminal_of_80_columns_and_24_lines():
    """With one line to spare for the prompt, and no summary cut short."""
    lines = kata("-h").output.splitlines()
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    assert "..." not in "".join(lines[1:]), "a summary is too long"


@pytest.mark.parametrize("arguments", [["-h"], ["plan", "-h"]])
def test_help_is_in_the_language_that_was_chosen_last(monkeypatch, arguments):
    """An option stands above the variable, and English comes back after Chinese in the same process."""
    monkeypatch.setenv("KATA_LANG", "en")  # and is set again after what the command chooses
    english = kata(*arguments).output
    monkeypatch.setenv("KATA_LANG", "zh")
    chinese = kata(*arguments).output
    assert chinese != english
    assert kata("--lang", "en", *arguments).output == english
    assert kata("--lang", "zh", *arguments).output == chinese
    assert kata("--lang", "en", *arguments).output == english


def test_the_help_for_translators_is_english(monkeypatch):
    """Whatever the language is now."""
    english = [*help_texts(main)]
    monkeypatch.setenv("KATA_LANG", "zh")
    kata("-h")
    assert [*help_texts(main)] == english


def test_the_version_is_printed():
    """For bug reports."""
    assert kata("--version").output.strip()[0].isdigit()


@pytest.mark.parametrize(
    "command", ["show", "test", "debug", "hint", "solution", "follow-ups", "reset", "dev render", "dev verify"]
)
def test_an_unknown_kata_gets_the_nearest_name(checkout, command):
    """In every command."""
    result = kata(*command.split(), "tinny")
    assert result.exit_code == 2
    assert "There is no kata called 'tinny'. Did you mean tiny?" in result.output


@pytest.mark.parametrize(("typed", "meant"), [("sho tiny", "show"), ("dev verfy", "verify"), ("verfy", "verify")])
def test_an_unknown_command_gets_the_nearest_one(checkout, typed, meant):
    """A typing error is answered by one line, not by the whole help."""
    result = kata(*typed.split())
    assert result.exit_code == 2
    assert f"Did you mean '{meant}'?" in result.output


@pytest.mark.parametrize(
    "command", ["list", "show", "test", "hint", "solution", "follow-ups", "reset", "dev render", "dev new"]
)
def test_a_broken_catalogue_is_one_sentence(checkout, command):
    """On the error stream, without a traceback."""
    checkout.catalog.write_text("[[kata]\n")
    result = kata(*command.split(), *([] if command in ("list", "dev render") else ["tiny"]))
    assert result.exit_code == 2
    assert result.stderr.startswith("katas/catalog.toml is not valid TOML")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [None, b"def f(:\n", b"\xff\xfe"], ids=["missing", "no Python", "no text"])
@pytest.mark.parametrize(
    "command", [["show", "tiny"], ["solution", "tiny", "--give-up"], ["reset", "tiny"], ["dev", "render"]], ids=" ".join
)
def test_a_broken_reference_is_a_sentence(checkout, command, content):
    """Every command names the file; the learner's file stays as it was."""
    solve(checkout)
    before = checkout.answer("tiny").read_bytes()
    checkout.reference("tiny").unlink()
    if content is not None:
        checkout.reference("tiny").write_bytes(content)
    result = kata(*command)
    assert checkout.answer("tiny").read_bytes() == before
    if content == b"def f(:\n" and command[0] == "solution":
        return  # it prints the text, which need not be Python
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit), result.exception
    assert "solutions/tiny.py" in result.output


def test_trouble_with_the_history_stops_nothing(checkout):
    """The list, the hints and the solution work without a record, and say once that they do."""
    checkout.state.write_text("in the way")
    assert "tiny" in kata("list").output
    result = kata("hint", "tiny")
    assert result.exit_code == 0
    assert "the idea" in result.stdout
    assert "progress is not recorded" in result.stderr
    assert "return x * 2" in kata("solution", "tiny", "--give-up").stdout


def test_outside_a_checkout_the_installed_one_is_used(tmp_path, monkeypatch):
    """`kata` works in any folder."""
    monkeypatch.chdir(tmp_path)
    assert "top_k_sampling" in kata("list").output


def test_no_checkout_at_all_is_a_sentence(tmp_path, monkeypatch):
    """It says what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dojo.core.paths.CLONE", tmp_path / "site-packages")
    result = kata("list")
    assert result.exit_code == 2
    assert "make a workspace here: kata init" in result.stderr


def test_a_closed_pipe_is_no_error(checkout):
    """`kata solution tiny --give-up | head -1`."""
    checkout.reference("tiny").write_text(checkout.reference("tiny").read_text() + "# filler\n" * 50_000)
    for command in ("solution tiny --give-up", "list", "show tiny"):
        process = subprocess.Popen(
            program(*command.split()), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.wait(timeout=30)
        assert errors == "", command


def test_starting_imports_neither_torch_nor_pytest(checkout):
    """Importing torch would take two seconds before a list."""
    code = """
import sys
from click.testing import CliRunner
from dojo.cli.main import main
for line in ("list", "show tiny", "hint tiny", "solution tiny --give-up", "follow-ups tiny", "reset tiny",
             "dev render", "dev new gelu", "dev -h", "-h"):
    result = CliRunner().invoke(main, line.split())
    assert result.exit_code == 0, (line, result.output)
print(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "numpy", "pytest", "_pytest", "jaxtyping", "katas"}))
"""
    run = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60)
    assert run.stdout == "[]\n", run.stdout + run.stderr


def test_a_pipe_gets_plain_text_and_a_terminal_gets_colours(checkout):
    """No escape codes in a log file, whatever TERM says."""
    clean = {
        name: value
        for name, value in environment(TERM="xterm-256color").items()
        if name not in ("NO_COLOR", "FORCE_COLOR")
    }
    piped = subprocess.run(program("list"), env=clean, capture_output=True, text=True, timeout=60)
    assert piped.returncode == 0
    assert "\x1b" not in piped.stdout
    screen, terminal = pty.openpty()
    subprocess.run(program("list"), env=clean, stdout=terminal, timeout=60, check=True)
    os.close(terminal)
    assert b"\x1b[" in os.read(screen, 100_000)
    os.close(screen)


PRINTED = """
import sys
from dojo.cli.main import main
for line in ("list", "show tiny", "hint tiny", "follow-ups tiny", "solution tiny --give-up", "history tiny", "due",
             "history", "-h"):
    try:
        main(line.split(), prog_name="kata")
    except SystemExit as exit:
        assert not exit.code, line
"""


@pytest.mark.parametrize("encoding", ["cp1252", "gbk", "ascii", "utf-8"])
def test_every_command_prints_whatever_the_encoding(checkout, encoding):
    """What the encoding lacks gets a stand-in: no traceback, and no line is lost."""
    odd = "日本 é × ≤ ■□✓ \\udc80"
    description = checkout.description("tiny").read_text().replace("the idea", "the idea 日本 é × ✓")
    checkout.description("tiny").write_text(description.replace("How would", "日本 é × ≤ – ■ How would"))
    checkout.reference("tiny").write_text(checkout.reference("tiny").read_text().replace("x * 2", f"x * 2  # {odd}"))
    solve(checkout, "x * 2", "x * 3")
    clean = environment(PYTHONIOENCODING=encoding)
    tested = subprocess.run(program("test", "tiny"), env=clean, capture_output=True, timeout=60)
    assert tested.returncode == 1
    assert b"double(1) should be 2" in tested.stdout
    run = subprocess.run([sys.executable, "-c", PRINTED], env=clean, capture_output=True, timeout=60)
    output = (run.stdout + run.stderr).decode(encoding, "replace")
    assert b"Traceback" not in run.stderr, output
    assert "0 of 1 katas solved" in output
    assert "How would you double?" in output
    assert "return x * 2" in output
    if encoding == "ascii":
        assert "-# 4 of 6 tests" in output  # □■
        assert "\\u65e5\\u672c e x" in output


def test_a_path_that_is_no_text_is_printed(tmp_path, monkeypatch):
    """File names are bytes: a folder may be called by bytes that are no UTF-8."""
    odd = make_checkout(tmp_path / os.fsdecode(b"caf\xe9"))
    add_kata(odd)
    odd.answer("tiny").write_text("raise ValueError(__file__)\n")
    for command, code in (("list", 0), ("show tiny", 0), ("test tiny", 1), ("reset tiny", 0)):
        run = subprocess.run(
            program(*command.split()), env=environment(), cwd=odd.root, capture_output=True, timeout=60
        )
        assert run.returncode == code, (run.stdout, run.stderr)
        assert b"Traceback" not in run.stderr


def test_the_learners_commands_print_no_named_mistake(checkout):
    """They would give the answer away."""
    says = MISTAKES.split('says = "')[1].split('"')[0]
    for command in (("list",), ("show", "tiny"), ("hint", "tiny"), ("follow-ups", "tiny")):
        assert says not in kata(*command).output
