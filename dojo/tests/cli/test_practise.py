"""The commands of the section Practise, as someone types them."""

import io
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from typing import ClassVar

import pytest
from rich.console import Console

from dojo.cli import tables
from dojo.core.catalog import load_catalog
from dojo.core.paths import Checkout
from dojo.core.stubs import without_fences
from dojo.practice import actions
from dojo.progress.runs import Progress, count_events, progress
from dojo.tests.checkouts import REPOSITORY, add_kata, heed_ctrl_c, make_checkout, record, solve
from dojo.tests.cli.commands import environment, kata, mark_solved, program


@pytest.mark.parametrize("height", [16, 24, 60])
def test_a_long_list_is_folded_to_the_height_of_the_terminal(height):
    """The longest tracks first: what is begun, how many are solved, and how many more there are. A pipe gets every name."""
    real = load_catalog(Checkout(REPOSITORY))
    transformer = [kata.name for kata in real.katas if kata.track == "transformer"]
    standing = {kata.name: Progress("not started") for kata in real.katas}
    standing |= {transformer[0]: Progress("solved"), transformer[-1]: Progress("started")}
    out = Console(width=80, height=height, force_terminal=True, color_system=None, file=io.StringIO())
    tables.short_list(out, real, standing)
    lines = out.file.getvalue().splitlines()
    assert len(lines) <= max(height - 9, 1 + len(real.tracks))
    assert all(len(line.rstrip()) <= 80 for line in lines)
    (row,) = [line for line in lines if line.startswith("transformer")]
    if height == 16:
        assert re.search(rf"transformer +✓ 1  ◐ {transformer[-1]}  · {transformer[1]}.*  \+\d+$", row.rstrip())
    if height == 60:
        assert f"✓ {transformer[0]}" in row
        assert sum(line.count(" · ") + line.count(" ◐ ") + line.count(" ✓ ") for line in lines[1:]) == len(real.katas)
    pipe = Console(width=80, height=16, file=io.StringIO())
    tables.short_list(pipe, real, standing)
    assert all(kata.name in pipe.file.getvalue() for kata in real.katas)


def test_the_bare_command_lists(checkout):
    """It is what most people type first."""
    bare, listed = kata(), kata("list")
    assert bare.exit_code == listed.exit_code == 0
    assert bare.output == listed.output
    assert "0 of 1 katas solved" in bare.output
    assert "tiny" in bare.output
    assert "not started" in bare.output


def test_the_list_ends_with_the_one_next_step(checkout):
    """The commands to type next, and the file to open."""
    output = kata("list").output
    for line in ("kata show tiny", "answers/tiny.py", "kata test tiny"):
        assert line in output


def test_the_list_shows_how_far_one_is(checkout):
    """A kata that was begun is offered before a new one; a solved one is ticked."""
    for name in ("begun", "done"):
        add_kata(checkout, name)
    record(checkout, "begun", "passed", "failed")
    mark_solved(checkout, "done")
    output = kata("list").output
    assert "1 of 3 katas solved" in output
    assert "■□ 1 of 2 tests" in output
    assert "kata show begun" in output


def test_the_list_shows_how_far_a_solved_kata_is_that_is_taken_again(checkout):
    """It stays solved; the figures are those of its file."""
    solve(checkout)
    mark_solved(checkout)
    kata("again", "tiny")
    record(checkout, "tiny", "passed", "failed")
    output = kata("list", "--long").output
    assert "1 of 1 katas solved" in output
    assert "solved; now ■□ 1 of 2 tests" in output


def test_the_list_marks_a_solved_file_that_was_edited_since(checkout):
    """Its tests have passed with another text in it."""
    mark_solved(checkout)
    solve(checkout)
    assert "solved, file changed since" in kata("list", "--long").output


def test_the_list_offers_repetition_once_everything_is_solved(checkout):
    """There is always a next step."""
    mark_solved(checkout)
    assert "Take one again from memory: kata again NAME" in kata("list").output


def test_the_list_fits_a_terminal_and_the_long_one_has_a_line_for_each_kata():
    """With the repository's own katas: 80 columns and 24 lines, the offer to watch included; no name is broken."""
    screens = {}
    for option in ("--long", ""):
        command = program("list", *filter(None, [option]))
        with_terminal = environment(COLUMNS="80", TTY_COMPATIBLE="1")
        done = subprocess.run(command, env=with_terminal, cwd=REPOSITORY, capture_output=True, text=True, check=True)
        screens[option] = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    names = [kata.name for kata in load_catalog(Checkout(REPOSITORY)).katas]
    assert len(screens[""].splitlines()) + 2 < 24
    for screen in screens.values():
        assert all(len(line) <= 80 for line in screen.splitlines())
        assert set(re.findall(r"[·◐✓] (\w+)", screen.partition("Next")[0].partition("\n")[2])) <= set(names)
    assert set(names) <= set(screens["--long"].split())
    lines = screens["--long"].splitlines()
    assert all(any(name in line.split() and " min " in line for line in lines) for name in names)


def test_a_begun_kata_is_offered_with_how_far_it_is(checkout):
    """The short list has only marks."""
    record(checkout, "tiny", "passed", "failed")
    assert "Next: tiny in two functions  ■□ 1 of 2 tests" in kata("list").output


def test_commands_take_a_kata_as_people_type_it(checkout):
    """A part of the name, or the file that the shell completed."""
    for typed in ("tin", "answers/tiny.py"):
        assert "How would you double?" in kata("show", typed).output
        assert "the idea" in kata("hint", typed).output
        kata("reset", typed)
        assert kata("history", typed).exit_code == 0
    run = subprocess.run(program("test", "tin"), env=environment(), capture_output=True, text=True)
    assert "kata hint tiny" in run.stdout


def test_after_a_debugger_nothing_runs_the_code_again(checkout):
    """The diagnosis would stop at the same breakpoint(), where no keys arrive."""
    solve(checkout, "return x * 2", "breakpoint()\n    return x * x")
    for keys, tests in (("c\n" * 2, "1 failed, 1 passed"), ("c\nq\n", "1 passed")):
        log = checkout.root / "log"
        with log.open("w") as file:
            command = program("test", "tiny", "-x")
            run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=file, env=environment(), text=True)
        run.stdin.write(keys)
        run.stdin.flush()  # and stays open, as a keyboard does
        try:
            assert run.wait(timeout=60) != 0
        finally:
            run.kill()
            run.stdin.close()
        assert tests in log.read_text()
        assert "Your result is exactly" not in log.read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_tab_key_completes_names(checkout, shell):
    """As docs/practising.md tells one to set it up."""
    add_kata(checkout, "timely")
    add_kata(checkout, "other")
    words = {"bash": ("kata show ti", "2"), "zsh": ("kata show ti", "2"), "fish": ("kata show ti", "ti")}[shell]
    asked = environment(_KATA_COMPLETE=f"{shell}_complete", COMP_WORDS=words[0], COMP_CWORD=words[1])
    start = [sys.executable, "-c", "from dojo.cli.main import main; main(prog_name='kata')"]
    done = subprocess.run(start, env=asked, capture_output=True, text=True)
    assert "tiny" in done.stdout
    assert "timely" in done.stdout
    assert "other" not in done.stdout


def test_show_asks_the_question_once(checkout):
    """The catalogue has it in short, and most references in their docstring's second paragraph."""
    assert kata("show", "tiny").output.count("How would you double?") == 1
    reference = checkout.reference("tiny")
    reference.write_text(reference.read_text().replace("Two functions of", "How do you double? Two functions of"))
    output = kata("show", "tiny").output
    assert "How do you double?" in output
    assert "How would you double?" not in output


def test_show_breaks_lines_between_words_and_between_parameters(checkout):
    """Also in a formula or list that the docstring lays out, and on a narrow terminal."""
    reference = checkout.reference("tiny")
    reference.write_text(
        reference.read_text()
        .replace("x: int, by: int = 3", 'x: "Float[int, *batch]", by: int = 3')
        .replace("Two functions of whole numbers.", f"    double  {'twice as much ' * 8}")
    )
    file = io.StringIO()
    out = Console(file=file, width=44, force_terminal=True, color_system=None)
    tables.kata_page(
        out,
        checkout,
        load_catalog(checkout)["tiny"],
        actions.rules(checkout, load_catalog(checkout)["tiny"]),
        Progress("started"),
    )
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 44
    assert '  def shift(x: "Float[int, *batch]",' in lines
    assert "          by: int = 3) -> int" in lines
    assert all(set(line.split()) <= {"double", "twice", "as", "much"} for line in lines if "as" in line.split())


def test_show_prints_what_one_needs_before_writing(checkout):
    """Question, rules, stages, minutes and file."""
    output = kata("show", "tiny").output
    for text in (
        "5 minutes",
        "How would you double?",
        "Two functions of whole numbers.",
        "answers/tiny.py",
        "1. the definition",
    ):
        assert text in output


def test_brackets_in_a_text_are_text(checkout):
    """`[batch]` is a shape, not a colour."""
    text = checkout.description("tiny").read_text()
    checkout.catalog.write_text(checkout.catalog.read_text().replace("numbers", "numbers [batch] [/b]"))
    for old in (
        "tiny in two functions",
        "numbers",
        "How would you double?",
        "the idea",
        "And triple?",
        "Add once more.",
    ):
        text = text.replace(old, f"{old} [batch] [/b]")
    checkout.description("tiny").write_text(text.replace('"the definition"', '"shape [n]"'))
    for command in (("list",), ("show", "tiny"), ("hint", "tiny"), ("follow-ups", "tiny")):
        result = kata(*command)
        assert result.exit_code == 0, result.output
        assert "[batch] [/b]" in result.output
    assert "shape [n]" in kata("show", "tiny").output


def test_hints_come_rung_by_rung_and_the_last_repeats(checkout):
    """Never the answer at once, and no error after the last."""
    outputs = [kata("hint", "tiny").output for _ in range(4)]
    assert [output.splitlines()[0] for output in outputs] == [f"Hint {n} of 3" for n in (1, 2, 3, 3)]
    assert ["the idea" in output for output in outputs] == [True, False, False, False]
    assert "--give-up" in outputs[2]
    assert outputs[2] == outputs[3]
    assert count_events(checkout, "tiny", "hint") == 4


def test_hints_go_on_where_they_cannot_be_recorded(checkout):
    """The files may be root's after a command with sudo: the same command then gives the same hint, and says what gives the next."""
    checkout.state.write_text("in the way")
    first = kata("hint", "tiny")
    assert "Hint 1 of 3" in first.stdout
    assert "progress is not recorded" in first.stderr
    assert "The next one: kata hint tiny --rung 2" in first.stdout
    assert "Hint 2 of 3" in kata("hint", "tiny", "--rung", "2").stdout
    last = kata("hint", "tiny", "--rung", "9").stdout
    assert "Hint 3 of 3" in last
    assert "That was the last one" in last


def test_a_history_that_cannot_be_read_is_told_by_every_command(checkout):
    """Nothing looks as if it had never been solved, without a word."""
    checkout.state.write_text("in the way")
    for command in ("list", "show tiny", "hint tiny", "solution tiny", "reset tiny"):
        assert "progress is not recorded" in kata(*command.split()).stderr, command


@pytest.mark.parametrize("command", ["list", "show tiny", "due", "history", "hint tiny"])
def test_a_damaged_history_is_told_once(checkout, command):
    """Where the damaged file is now, and what that means."""
    mark_solved(checkout)
    (checkout.state / "history.sqlite").write_bytes(b"not a database at all" * 200)
    result = kata(*command.split())
    assert result.exit_code == 0
    (aside,) = checkout.state.glob("history.damaged-*.sqlite")
    assert f"is set aside as .dojo/{aside.name}; a new one is begun. Your code is safe" in result.stderr
    assert "set aside" not in kata(*command.split()).stderr


def test_a_deleted_working_folder_is_a_sentence(checkout):
    """A terminal may stand in a folder that `git checkout` or somebody else has deleted."""
    folder = checkout.root / "gone"
    folder.mkdir()
    for command in ("list", "test tiny", "show tiny", "watch"):
        run = subprocess.run(
            ["sh", "-c", 'cd gone && rmdir ../gone && "$@"; code=$?; mkdir ../gone; exit $code', "sh", *program(*command.split())],
            env=environment(), cwd=checkout.root, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        folder.mkdir(exist_ok=True)
        assert run.returncode == 2, run.stderr
        assert run.stderr == "The folder that this terminal is in was deleted. Change into the repository: cd PATH\n"


def test_a_kata_without_hints_says_so(checkout):
    """It says where its question is."""
    description = checkout.description("tiny")
    description.write_text(
        description.read_text().replace('hints = ["the idea", "the structure", "the detail"]', "hints = []")
    )
    result = kata("hint", "tiny")
    assert result.exit_code == 2
    assert "no hints" in result.output


def test_the_solution_stays_closed_until_the_tests_pass(checkout):
    """It names the two ways to it: the tests and --give-up."""
    result = kata("solution", "tiny")
    assert result.exit_code == 2
    assert "return x * 2" not in result.output
    assert "kata test tiny" in result.output
    assert "--give-up" in result.output
    assert count_events(checkout, "tiny", "solution") == 0


def test_the_solution_opens_once_it_is_solved(checkout):
    """With the follow-up questions; nothing is recorded as given up."""
    mark_solved(checkout)
    result = kata("solution", "tiny")
    assert result.exit_code == 0
    assert result.output.startswith(without_fences(checkout.reference("tiny").read_text()))
    assert "And triple?" in result.output
    assert count_events(checkout, "tiny", "solution") == 0


def test_giving_up_opens_it_and_is_recorded(checkout):
    """The schedule rates it as not known."""
    result = kata("solution", "tiny", "--give-up")
    assert "return x * 2" in result.output
    assert count_events(checkout, "tiny", "solution") == 1


def test_follow_ups_have_answers(checkout):
    """The question comes first."""
    output = kata("follow-ups", "tiny").output
    assert output.index("And triple?") < output.index("Add once more.")


def test_reset_gives_the_stub_back_and_keeps_a_copy(checkout):
    """The copy's name is printed, and hints start at the first again."""
    solve(checkout)
    kata("hint", "tiny")
    output = kata("reset", "tiny").output
    assert "answers/tiny.py is the stub again. What you wrote is in .dojo/backups/tiny-" in output
    assert "write me" in checkout.answer("tiny").read_text()
    assert "Hint 1 of 3" in kata("hint", "tiny").output
    assert "What you wrote" not in kata("reset", "tiny").output


PYTEST = ("-m", "pytest", "-q", "-pdojo.engine.plugin")


class FakeProcess:
    """A pytest process that only records how it was called."""

    calls: ClassVar[list] = []

    def __init__(self, command, cwd, env):
        self.calls.append((command[1:], cwd, env))

    def wait(self):
        return 0


@pytest.fixture
def started(monkeypatch):
    """The calls that would have started pytest: (arguments, folder, environment)."""
    monkeypatch.setattr(FakeProcess, "calls", [])
    monkeypatch.setattr(subprocess, "Popen", FakeProcess)
    return FakeProcess.calls


@pytest.mark.parametrize(
    ("typed", "passed_on"),
    [
        (["tiny"], ["tests/tiny"]),
        (["tiny", "-k", "shift", "--stage", "2"], ["tests/tiny", "-k", "shift", "--stage", "2"]),
        (["--stage", "2", "tiny", "-x"], ["tests/tiny", "-x", "--stage=2"]),
        (["tiny", "--kata-seed=3", "-vv"], ["tests/tiny", "--kata-seed=3", "-vv"]),
        ([], []),
        (["-x"], ["-x"]),
        (["-k", "shift"], ["-k", "shift"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_what_follows_the_name_goes_on_to_pytest(checkout, started, typed, passed_on):
    """All of pytest's options can be used."""
    assert kata("test", *typed).exit_code == 0
    ((arguments, folder, env),) = started
    assert arguments == [*PYTEST, f"--rootdir={checkout.root}", *passed_on]
    assert folder == checkout.root
    assert "KATAS_DIR" not in env


def test_a_checkout_may_lie_anywhere(tmp_path, monkeypatch):
    """Brackets mean something to pytest, blanks to a shell."""
    checkout = make_checkout(tmp_path / "katas [1] (copy)")
    add_kata(checkout)
    solve(checkout)
    monkeypatch.chdir(checkout.answers)
    run = subprocess.run(program("test", "tiny"), env=environment(), capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 passed" in run.stdout
    assert "Solved" in run.stdout


def test_a_chosen_folder_is_passed_on(checkout, started, monkeypatch):
    """Relative to where the command was typed, not to the checkout's root."""
    monkeypatch.setenv("KATAS_DIR", "../solutions")
    monkeypatch.chdir(checkout.root / "tests")
    kata("test", "tiny")
    _, folder, env = started[0]
    assert (folder / env["KATAS_DIR"]).resolve() == checkout.solutions


def test_an_empty_variable_chooses_the_learners_katas(checkout, started, monkeypatch):
    """As plain pytest does."""
    monkeypatch.setenv("KATAS_DIR", "")
    kata("test", "tiny")
    assert started[0][2]["KATAS_DIR"] == ""


def test_solved_is_printed_only_for_the_file_as_it_is(checkout, started):
    """A run of one stage that passes, after an edit, solves nothing."""
    mark_solved(checkout)
    assert "Solved." in kata("test", "tiny").output
    solve(checkout, "x * 2", "x * 3")
    assert "Solved." not in kata("test", "tiny", "--stage", "1").output


def test_one_run_reads_the_catalogue_once(checkout, started, monkeypatch):
    """Finding the kata and rating the attempt need the same catalogue."""
    texts = []
    parse = tomllib.loads
    monkeypatch.setattr(tomllib, "loads", lambda text: texts.append(text) or parse(text))
    assert kata("test", "tiny").exit_code == 0
    assert len(texts) == len(set(texts)) == 2  # the catalogue, and the one kata that it lists


def test_a_real_run_passes_its_options_on(checkout):
    """Through command, pytest, plugin and history."""
    solve(checkout)
    run = subprocess.run(
        program("test", "tiny", "-k", "shift", "--stage", "1"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed, 3 deselected" in run.stdout
    assert "katas: answers/ (yours)" in run.stdout
    assert "Solved" not in run.stdout
    assert progress(checkout, "tiny") == Progress("not started")


def test_ctrl_c_during_a_run_ends_both_without_a_traceback(checkout):
    """The terminal sends the signal to both processes. pytest reports it, and its exit code is passed on."""
    solve(checkout, "return x * 2", "import pathlib, time\n    pathlib.Path('asleep').touch()\n    time.sleep(60)")
    process = subprocess.Popen(
        program("test", "tiny"),
        env=environment(),
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    end = time.monotonic() + 60
    while not (checkout.root / "asleep").exists() and time.monotonic() < end:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "KeyboardInterrupt" in output
    assert "Traceback" not in output + errors
    assert errors == ""


def test_debug_starts_pytest_with_its_plugin(checkout, started):
    """It records nothing, and looks for no name."""
    assert kata("debug", "tin", "shift", "--kata-seed", "3", "--every-call").exit_code == 0
    ((arguments, folder, env),) = started
    assert arguments == [
        *PYTEST, f"--rootdir={checkout.root}", "tests/tiny", "-p", "dojo.engine.debugging", "--debug-test=shift", "--every-call",
        "--kata-seed=3", "--no-naming", "--no-history", "--no-header",
    ]  # fmt: skip
    assert folder == checkout.root
    assert "KATAS_DIR" not in env


def test_a_run_says_where_the_inputs_of_its_failure_are(checkout):
    """In its last lines; not where nothing fails."""
    solve(checkout, "x * 2", "x * x")
    run = subprocess.run(program("test", "tiny"), env=environment(), capture_output=True, text=True)
    assert "\nThe first failure's inputs: kata debug tiny\n" in run.stdout
    solve(checkout)
    run = subprocess.run(program("test", "tiny"), env=environment(), capture_output=True, text=True)
    assert "kata debug" not in run.stdout
