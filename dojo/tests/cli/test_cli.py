"""The `kata` command, as someone types it."""

import os
import pty
import signal
import subprocess
import sys
import time
from typing import ClassVar

import pytest
from click.testing import CliRunner

from dojo.cli.main import SECTIONS, main
from dojo.core.outcome import Outcome
from dojo.progress.runs import Progress, count_events, progress, record_run
from dojo.tests.checkouts import MISTAKES, REPOSITORY, add_kata, heed_ctrl_c, pytest_in, solve

COMMANDS = (
    "list",
    "grade",
    "grade-cohort",
    "show",
    "test",
    "hint",
    "solution",
    "follow-ups",
    "reset",
    "render",
    "verify",
    "new",
    "notebooks",
    "due",
    "again",
    "watch",
    "drill",
    "hunt",
    "bench",
    "history",
    "report",
    "check",
)


def kata(*arguments):
    return CliRunner().invoke(main, arguments)


def program(*arguments):
    """A real `kata` process; the current folder is the checkout's."""
    return [sys.executable, "-m", "dojo.cli.main", *arguments]


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("KATA", "PYTEST"))}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **more}


def mark_solved(checkout, name="tiny"):
    record_run(checkout, [Outcome("test_x", name, 1, "passed")], {name: 1})


# list, show


def test_the_bare_command_lists(checkout):
    """The first thing that anybody types."""
    bare, listed = kata(), kata("list")
    assert bare.exit_code == listed.exit_code == 0
    assert bare.output == listed.output
    assert "0 of 1 katas solved" in bare.output
    assert "tiny" in bare.output
    assert "not started" in bare.output


def test_the_list_ends_with_the_one_next_step(checkout):
    """The command to type next, and the file to open."""
    output = kata("list").output
    for line in ("kata show tiny", "katas/tiny.py", "kata test tiny"):
        assert line in output


def test_the_list_shows_how_far_one_is(checkout):
    """What is begun comes before what is new; what is solved is ticked."""
    for name in ("begun", "done"):
        add_kata(checkout, name)
    record_run(checkout, [Outcome("a", "begun", 1, "passed"), Outcome("b", "begun", 2, "failed")], {"begun": 2})
    mark_solved(checkout, "done")
    output = kata("list").output
    assert "1 of 3 katas solved" in output
    assert "■□ 1 of 2 tests" in output
    assert "kata show begun" in output


def test_a_solved_file_that_was_edited_since_is_said(checkout):
    """The tick belongs to another text."""
    mark_solved(checkout)
    solve(checkout)
    assert "solved, file changed since" in kata("list").output


def test_everything_solved_says_what_to_do_then(checkout):
    """Repeat from memory."""
    mark_solved(checkout)
    assert "kata reset" in kata("list").output


def test_show_tells_what_one_needs_before_writing(checkout):
    """Question, rules, stages, minutes and file."""
    output = kata("show", "tiny").output
    for text in (
        "5 minutes",
        "How would you double?",
        "Two functions of whole numbers.",
        "katas/tiny.py",
        "1. the definition",
    ):
        assert text in output


def test_brackets_in_a_text_are_text(checkout):
    """`[batch]` is a shape, not a colour."""
    text = checkout.catalog.read_text()
    for old in (
        "tiny in two functions",
        "numbers",
        "How would you double?",
        "the idea",
        "And triple?",
        "Add once more.",
    ):
        text = text.replace(old, f"{old} [batch] [/b]")
    checkout.catalog.write_text(text.replace('"the definition"', '"shape [n]"'))
    for command in (("list",), ("show", "tiny"), ("hint", "tiny"), ("follow-ups", "tiny")):
        result = kata(*command)
        assert result.exit_code == 0, result.output
        assert "[batch] [/b]" in result.output
    assert "shape [n]" in kata("show", "tiny").output


def test_help_names_every_command_in_a_line():
    """`-h` as well as `--help`."""
    result = kata("-h")
    assert result.exit_code == 0
    assert result.output == kata("--help").output
    assert sorted(COMMANDS) == sorted(main.commands) == sorted(name for names in SECTIONS.values() for name in names)
    for command in COMMANDS:
        assert f"\n  {command} " in result.output
        assert kata(command, "-h").exit_code == 0


def test_the_version_is_told():
    """For a report of a fault."""
    assert kata("--version").output.strip()[0].isdigit()


# hints and solutions


def test_hints_come_rung_by_rung_and_the_last_repeats(checkout):
    """Never the answer at once, and never an error for asking once more."""
    outputs = [kata("hint", "tiny").output for _ in range(4)]
    assert [output.splitlines()[0] for output in outputs] == [f"Hint {n} of 3" for n in (1, 2, 3, 3)]
    assert ["the idea" in output for output in outputs] == [True, False, False, False]
    assert "--give-up" in outputs[2]
    assert outputs[2] == outputs[3]
    assert count_events(checkout, "tiny", "hint") == 4


def test_a_kata_without_hints_says_so(checkout):
    """And where its question stands."""
    checkout.catalog.write_text(
        checkout.catalog.read_text().replace('hints = ["the idea", "the structure", "the detail"]', "hints = []")
    )
    result = kata("hint", "tiny")
    assert result.exit_code == 2
    assert "no hints" in result.output


def test_the_solution_stays_closed_until_the_tests_pass(checkout):
    """Looking too early is the commonest way to learn nothing."""
    result = kata("solution", "tiny")
    assert result.exit_code == 2
    assert "return x * 2" not in result.output
    assert "kata test tiny" in result.output
    assert "--give-up" in result.output
    assert count_events(checkout, "tiny", "solution") == 0


def test_the_solution_opens_once_it_is_solved(checkout):
    """With the questions that come next; nothing is recorded as given up."""
    mark_solved(checkout)
    result = kata("solution", "tiny")
    assert result.exit_code == 0
    assert result.output.startswith(checkout.reference("tiny").read_text())
    assert "And triple?" in result.output
    assert count_events(checkout, "tiny", "solution") == 0


def test_giving_up_opens_it_and_is_recorded(checkout):
    """So that the record stays honest."""
    result = kata("solution", "tiny", "--give-up")
    assert "return x * 2" in result.output
    assert count_events(checkout, "tiny", "solution") == 1


def test_follow_ups_have_answers(checkout):
    """Answer aloud first."""
    output = kata("follow-ups", "tiny").output
    assert output.index("And triple?") < output.index("Add once more.")


# reset, render, new


def test_reset_gives_the_stub_back_and_keeps_a_copy(checkout):
    """The copy is named, and the ladder of hints begins anew."""
    solve(checkout)
    kata("hint", "tiny")
    output = kata("reset", "tiny").output
    assert "katas/tiny.py is the stub again. What you wrote is in .dojo/backups/tiny-" in output
    assert "write me" in checkout.stub("tiny").read_text()
    assert "Hint 1 of 3" in kata("hint", "tiny").output
    assert "What you wrote" not in kata("reset", "tiny").output


def test_render_check_tells_by_its_exit_code(checkout):
    """0 when every stub is what its reference renders to, 1 when not; then `render` mends it, with a copy."""
    assert kata("render", "--check").exit_code == 0
    solve(checkout)
    result = kata("render", "--check")
    assert result.exit_code == 1
    assert "kata render tiny" in result.output
    mended = kata("render", "tiny")
    assert mended.exit_code == 0
    assert "katas/tiny.py written." in mended.output
    assert "What stood there before is in .dojo/backups/tiny-" in mended.output
    assert kata("render", "--check").exit_code == 0


def test_a_new_kata_is_whole(checkout):
    """Its files exist, its stub waits, its reference passes, and the command says what comes next."""
    result = kata("new", "gelu")
    assert result.exit_code == 0
    for path in (checkout.reference, checkout.stub, checkout.tests, checkout.probe, checkout.mistakes):
        assert path("gelu").is_file()
        assert f"wrote {checkout.shown(path('gelu'))}" in result.output
    assert "kata verify gelu" in result.output
    assert kata("show", "gelu").exit_code == 0
    assert kata("render", "--check").exit_code == 0
    assert pytest_in(checkout, "--katas=solutions", "tests/test_gelu.py").code == 0
    assert set(pytest_in(checkout, "tests/test_gelu.py").verdicts().values()) == {"not started"}


def everything(checkout):
    return {path: path.read_bytes() for path in checkout.root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["tiny", "Gelu", "ge-lu", "../gelu", "1st", "", "class", "__init__"])
def test_what_cannot_be_a_new_kata_writes_nothing(checkout, name):
    """A name that is taken, or cannot be a module: a sentence, and not one file more."""
    before = everything(checkout)
    result = kata("new", name)
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit)
    assert everything(checkout) == before


def test_a_single_file_of_that_name_is_enough_to_refuse(checkout):
    """Nothing is overwritten."""
    checkout.probe("gelu").write_text("mine")
    result = kata("new", "gelu")
    assert result.exit_code == 2
    assert "tests/probes/gelu.py already has gelu" in result.output
    assert not checkout.reference("gelu").exists()


# test


class FakeProcess:
    """Stands for pytest: notes how it was called."""

    calls: ClassVar[list] = []

    def __init__(self, command, cwd, env):
        self.calls.append((command[1:], cwd, env))

    def wait(self):
        return 0


@pytest.fixture
def started(monkeypatch):
    """The pytest processes that were started: (arguments, folder, environment)."""
    monkeypatch.setattr(FakeProcess, "calls", [])
    monkeypatch.setattr(subprocess, "Popen", FakeProcess)
    return FakeProcess.calls


@pytest.mark.parametrize(
    ("typed", "passed_on"),
    [
        (["tiny"], ["tests/test_tiny.py"]),
        (["tiny", "-k", "shift", "--stage", "2"], ["tests/test_tiny.py", "-k", "shift", "--stage", "2"]),
        (["--stage", "2", "tiny", "-x"], ["tests/test_tiny.py", "-x", "--stage=2"]),
        (["tiny", "--kata-seed=3", "-vv"], ["tests/test_tiny.py", "--kata-seed=3", "-vv"]),
        ([], []),
        (["-x"], ["-x"]),
        (["-k", "shift"], ["-k", "shift"]),
    ],
    ids=lambda value: " ".join(value) or "nothing",
)
def test_what_follows_the_name_goes_on_to_pytest(checkout, started, typed, passed_on):
    """pytest stays the engine; nothing of it is hidden."""
    assert kata("test", *typed).exit_code == 0
    ((arguments, folder, env),) = started
    assert [argument.replace(f"{checkout.root}/", "") for argument in arguments] == ["-m", "pytest", "-q", *passed_on]
    assert folder == checkout.root
    assert env["KATAS_DIR"] == str(checkout.katas)


def test_a_folder_that_was_chosen_is_kept(checkout, started, monkeypatch):
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
    assert started[0][2]["KATAS_DIR"] == str(checkout.katas)


def test_solved_is_said_only_of_the_file_as_it_is(checkout, started):
    """A run of one stage that passes, after an edit, solves nothing."""
    mark_solved(checkout)
    assert "Solved." in kata("test", "tiny").output
    solve(checkout, "x * 2", "x * 3")
    assert "Solved." not in kata("test", "tiny", "--stage", "1").output


def test_a_real_run_passes_its_options_on(checkout):
    """The whole way: command, pytest, plugin, history."""
    solve(checkout)
    run = subprocess.run(
        program("test", "tiny", "-k", "shift", "--stage", "1"),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "1 passed, 5 deselected" in run.stdout
    assert "katas: katas/ (yours)" in run.stdout
    assert "Solved" not in run.stdout
    assert progress(checkout, "tiny") == Progress("not started")


def test_ctrl_c_during_a_run_ends_both_without_a_traceback(checkout):
    """The terminal sends the signal to both processes; pytest says so, and its exit code is passed on."""
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


# What goes wrong


@pytest.mark.parametrize("command", ["show", "test", "hint", "solution", "follow-ups", "reset", "render", "verify"])
def test_an_unknown_kata_gets_the_nearest_name(checkout, command):
    """Everywhere alike."""
    result = kata(command, "tinny")
    assert result.exit_code == 2
    assert "There is no kata called 'tinny'. Did you mean tiny?" in result.output


def test_an_unknown_command_gets_the_nearest_one(checkout):
    """`kata sho` is a slip, not a wish to read the manual."""
    result = kata("sho", "tiny")
    assert result.exit_code == 2
    assert "show" in result.output


@pytest.mark.parametrize(
    "command", ["list", "show", "test", "hint", "solution", "follow-ups", "reset", "render", "new"]
)
def test_a_broken_catalogue_is_one_sentence(checkout, command):
    """On the error stream, without a traceback."""
    checkout.catalog.write_text("[[kata]\n")
    result = kata(command, *([] if command in ("list", "render") else ["tiny"]))
    assert result.exit_code == 2
    assert result.stderr.startswith("katas/catalog.toml is not valid TOML")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("content", [None, b"def f(:\n", b"\xff\xfe"], ids=["missing", "no Python", "no text"])
@pytest.mark.parametrize(
    "command", [["show", "tiny"], ["solution", "tiny", "--give-up"], ["reset", "tiny"], ["render"]], ids=" ".join
)
def test_a_broken_reference_is_a_sentence(checkout, command, content):
    """Whatever the command, the file is named; what the learner wrote stays."""
    solve(checkout)
    before = checkout.stub("tiny").read_bytes()
    checkout.reference("tiny").unlink()
    if content is not None:
        checkout.reference("tiny").write_bytes(content)
    result = kata(*command)
    assert checkout.stub("tiny").read_bytes() == before
    if content == b"def f(:\n" and command[0] == "solution":
        return  # text is text
    assert result.exit_code == 2
    assert isinstance(result.exception, SystemExit), result.exception
    assert "solutions/tiny.py" in result.output


def test_trouble_with_the_history_stops_nothing(checkout):
    """The list, the hints and the solution work without a record, and say so once."""
    checkout.state.write_text("in the way")
    assert "tiny" in kata("list").output
    result = kata("hint", "tiny")
    assert result.exit_code == 0
    assert "the idea" in result.stdout
    assert "progress is not recorded" in result.stderr
    assert "return x * 2" in kata("solution", "tiny", "--give-up").stdout


def test_outside_a_checkout_the_installed_one_is_used(tmp_path, monkeypatch):
    """From any folder."""
    monkeypatch.chdir(tmp_path)
    assert "top_k_sampling" in kata("list").output


def test_no_checkout_at_all_is_a_sentence(tmp_path, monkeypatch):
    """And says what to do."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("dojo.core.paths.__file__", str(tmp_path / "site" / "dojo" / "paths.py"))
    result = kata("list")
    assert result.exit_code == 2
    assert "is not inside a checkout" in result.stderr


def test_a_reader_that_goes_away_is_no_error(checkout):
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


# The process


def test_starting_imports_neither_torch_nor_pytest(checkout):
    """Two seconds of imports for a list would be two seconds too many."""
    code = """
import sys
from click.testing import CliRunner
from dojo.cli.main import SECTIONS, main
for line in ("list", "show tiny", "hint tiny", "solution tiny --give-up", "follow-ups tiny", "reset tiny", "render", "new gelu", "-h"):
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
    ours, theirs = pty.openpty()
    subprocess.run(program("list"), env=clean, stdout=theirs, timeout=60, check=True)
    os.close(theirs)
    assert b"\x1b[" in os.read(ours, 100_000)
    os.close(ours)


def test_mistakes_are_no_secret_of_the_command(checkout):
    """`verify` reads them; the learner's commands never print one."""
    says = MISTAKES.split('says = "')[1].split('"')[0]
    for command in (("list",), ("show", "tiny"), ("hint", "tiny"), ("follow-ups", "tiny")):
        assert says not in kata(*command).output
