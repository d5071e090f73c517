"""What a run shows to the learner, and what it records."""

import json
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest

from dojo.core.outcome import Diagnosis
from dojo.engine.pool import TaskDied
from dojo.progress import runs as history
from dojo.progress.attempts import read_attempts
from dojo.tests.checkouts import SOLUTION, add_kata, pytest_in, solve

ALL = {
    "test_double_is_twice_as_much[0]",
    "test_double_is_twice_as_much[1]",
    "test_double_is_twice_as_much[5]",
    "test_shift_moves_up",
    "test_shift_moves_by_three_unless_told",
    "test_a_negative_number_is_an_error",
}


def lines_with(session, text):
    return [line for line in session.output.splitlines() if text in line]


def only_test_file(checkout):
    """The path of the kata's only test file, the others being removed."""
    first, *others = checkout.test_files("tiny")
    for file in others:
        file.unlink()
    return first


def runs(checkout):
    """(kata, complete) of every recorded run."""
    file = checkout.state / "history.sqlite"
    if not file.exists():
        return []
    with sqlite3.connect(file) as db:
        return db.execute("SELECT kata, complete FROM run").fetchall()


# not started


def test_an_untouched_stub_reads_not_started(checkout):
    """One line for each test and no traceback: nothing is wrong yet. But nothing passes, so the exit code is 1."""
    session = pytest_in(checkout)
    assert session.code == 1
    assert session.verdicts() == dict.fromkeys(ALL, "not started")
    for test in ALL:
        assert len(lines_with(session, test)) == 1
    assert lines_with(session, "  stage 2  test_a_negative_number_is_an_error")
    assert lines_with(session, "6 not started")
    assert lines_with(session, "Next: open answers/tiny.py")
    assert "FAILURES" not in session.output
    assert "Error" not in session.output


def test_several_untouched_katas_take_one_line_each(checkout):
    """The whole repository, untouched, fits on one screen."""
    add_kata(checkout, "other")
    session = pytest_in(checkout)
    assert len(session.outcomes) == 12
    assert lines_with(session, "tiny: 6 tests wait for answers/tiny.py")
    assert lines_with(session, "other: 6 tests wait for answers/other.py")
    assert "test_shift_moves_up" not in session.output


def test_a_solved_kata_passes(checkout):
    """No further section is printed."""
    solve(checkout)
    session = pytest_in(checkout)
    assert session.code == 0
    assert lines_with(session, "stage 1: all 4   stage 2: all 2 tests pass")
    assert "not started" not in session.output


# wrong answers


def test_a_wrong_answer_is_explained_above_a_short_traceback(checkout):
    """Expected, got, hint; then the place; at the end the named mistake."""
    solve(checkout, "x * 2", "x * x")
    session = pytest_in(checkout)
    assert session.code == 1
    failure = session.output[session.output.index("FAILURES") :]
    failure = failure[failure.index("double(5) should be 10, but is 25") :]
    assert failure.index("hint: add x to itself") < failure.index("tests/tiny/test_1_core.py:")
    assert "site-packages" not in session.output
    assert "dojo/testing/checks.py" not in session.output
    assert lines_with(session, "tiny: Your result is exactly what you get when x is multiplied by itself.")
    assert lines_with(session, "stage 1: 2 of 4   stage 2: all 2 tests pass")


def test_a_wrong_answer_is_explained_in_the_readers_language(checkout):
    """What the check says, the test's part in it, and the hint. What nobody has translated stays English."""
    phrases = {"double({x})": "double({x})", "add x to itself": "x + x", "{what} should be {expected}": "?"}
    blocks = [f"[[text]]\nen = {json.dumps(en)}\nzh = {json.dumps(zh)}" for en, zh in phrases.items()]
    (checkout.tests("tiny") / "messages.zh.toml").write_text("\n\n".join(blocks), encoding="utf-8")
    solve(checkout, "x * 2", "x * x")
    outcomes = pytest_in(checkout, KATA_LANG="zh").outcomes
    first = next(outcome.message for outcome in outcomes if outcome.verdict == "failed")
    assert first.splitlines() == ["double(1) \u5e94\u4e3a 2\uff0c\u5b9e\u9645\u662f 1", "\u63d0\u793a\uff1ax + x"]


def test_frames_of_torch_are_left_out(checkout):
    """The learner needs the line of the kata, not the library's five below it."""
    solve(checkout, "return x * 2", "import torch\n    return torch.nn.Linear(2, 3)(torch.zeros(5))")
    session = pytest_in(checkout, "tests/tiny/test_1_core.py::test_double_is_twice_as_much")
    assert lines_with(session, "answers/tiny.py:")
    assert lines_with(session, "raised RuntimeError: ")
    assert "site-packages" not in session.output


def test_an_exception_is_told_with_the_inputs_that_the_test_names(checkout):
    """float16 overflows at T = 0.001 and not at T = 1: without T the message of torch says nothing."""
    only_test_file(checkout).write_text(
        "from dojo.testing import called_for\nfrom katas.tiny import double\n\n\ndef test_low():\n"
        "    with called_for('float16 logits at T=0.001', hint='widen first'):\n        double(1)\n"
    )
    solve(checkout, "return x * 2", "raise RuntimeError('inf or nan')")
    message = pytest_in(checkout).outcomes[0].message
    assert message.splitlines()[0].endswith("raised RuntimeError: inf or nan")
    assert message.splitlines()[1:] == ["It was called for float16 logits at T=0.001", "hint: widen first"]


def test_an_exception_of_a_learners_with_odd_notes_is_told(checkout):
    """Notes are an attribute that any code may set."""
    odd = "error = ValueError('no'); error.__notes__ = [7, 'left']; raise error"
    solve(checkout, "return x * 2", odd)
    messages = [outcome.message for outcome in pytest_in(checkout).outcomes if outcome.verdict == "failed"]
    assert "raised ValueError: no\nleft" in messages[0]


def test_a_wrong_answer_that_fits_no_mistake_gets_no_diagnosis(checkout):
    """A wrong diagnosis is worse than none."""
    solve(checkout, "x * 2", "x * 9")
    assert "Your result is exactly" not in pytest_in(checkout).output


def test_a_mistake_of_a_later_stage_waits(checkout):
    """What is failing now comes first: the diagnosis sees the verdicts."""
    mistakes = checkout.mistakes("tiny")
    mistakes.write_text(
        mistakes.read_text()
        + '[[mistake]]\nname = "by 4"\nsays = "it moves by four"\nold = "by: int = 3"\nnew = "by: int = 4"\n'
        'caught_by = "test_shift_moves_by_three_unless_told"\n'
    )
    solve(checkout, "by: int = 3", "by: int = 4")
    assert "when it moves by four" in pytest_in(checkout).output
    file = checkout.answers / "tiny.py"
    file.write_text(file.read_text().replace("x * 2", "x * 9"))
    assert "Your result is exactly" not in pytest_in(checkout).output


def test_diagnosis_can_be_left_out(checkout):
    """For examinations."""
    solve(checkout, "x * 2", "x * x")
    session = pytest_in(checkout, "--no-naming")
    assert "Your result is exactly" not in session.output
    assert lines_with(session, "double(5) should be 10, but is 25")


ENDLESS = "import os\n    while 'PYTEST_CURRENT_TEST' not in os.environ: pass\n    return x * x"


@pytest.mark.parametrize(("limit", "code"), [("0", "return x * x"), ("0.1", ENDLESS)], ids=["too short", "endless"])
def test_a_name_that_does_not_come_in_time_is_left(checkout, limit, code):
    """It says how to look longer. The code may hang on an input that only the probe has."""
    solve(checkout, "return x * 2", code)
    session = pytest_in(checkout, f"--naming-limit={limit}")
    said = f"tiny: no known mistake was found within {limit} s of computing. To look longer: kata test tiny --naming-limit=30"
    assert lines_with(session, said)
    assert lines_with(session, "double(5) should be 10, but is 25")
    assert "Your result is exactly" not in session.output


def test_one_limit_holds_for_all_katas_of_a_run(checkout):
    """Nobody waits two seconds for each of 29."""
    add_kata(checkout, "other")
    for name in ("tiny", "other"):
        solve(checkout, "x * 2", "x * x", name)
    session = pytest_in(checkout, "--naming-limit=0")
    said = "other, tiny: no known mistake was found within 0 s of computing. To look longer: kata test NAME --naming-limit=30"
    assert lines_with(session, said)


def test_where_no_name_fits_nothing_is_said_of_time(checkout):
    """All were looked at. Nor is anything that a file would keep."""
    solve(checkout, "x * 2", "x * 9")
    output = pytest_in(checkout).output
    assert "no known mistake" not in output
    assert "comparing with" not in output


def test_a_kata_without_a_probe_is_still_explained(checkout):
    """A diagnosis is an extra."""
    checkout.probe("tiny").unlink()
    solve(checkout, "x * 2", "x * x")
    session = pytest_in(checkout)
    assert session.code == 1
    assert lines_with(session, "double(5) should be 10, but is 25")


@pytest.mark.parametrize("mistakes", ["[[mistake]]\nname = 1\n", "not toml", '[[mistake]]\nname="a"\nold="zzz"\n'])
def test_a_broken_mistakes_file_breaks_no_run(checkout, mistakes):
    """The fault is the author's; the learner's verdict stays."""
    checkout.mistakes("tiny").write_text(mistakes)
    solve(checkout, "x * 2", "x * x")
    session = pytest_in(checkout)
    assert session.code == 1
    assert "INTERNALERROR" not in session.output
    assert len(session.outcomes) == 6


def test_prints_of_the_kata_are_not_repeated_by_the_diagnosis(checkout):
    """Debugging prints belong to the failed test's own section, once."""
    solve(checkout, "return x * 2", 'print("debugging", x)\n    return x * x')
    session = pytest_in(checkout)
    assert lines_with(session, "Your result is exactly")
    after = session.output[session.output.index("stage 1: 2 of 4") :]
    assert "debugging" not in after


# files that do not import


def test_a_syntax_error_is_shown_with_its_line(checkout):
    """Without importlib's frames; the other katas still run."""
    add_kata(checkout, "other")
    checkout.answer("tiny").write_text("def double(x)\n    return x * 2\n")
    session = pytest_in(checkout)
    assert session.code == 1
    assert lines_with(session, "answers/tiny.py, line 1: expected ':'")
    assert lines_with(session, "def double(x)")
    assert "importlib" not in session.output
    assert list(session.verdicts().values()) == ["error"] + ["not started"] * 6


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe bytes", "answers/tiny.py is stored as UTF-16; save it as UTF-8."),
        (b"x = 1\0\n", "answers/tiny.py holds a null byte in line 1, so it is not a text"),
        (b"def f():\n\tx = 1\n        y = 2\n", "answers/tiny.py, line 3: inconsistent use of tabs"),
    ],
)
def test_a_file_that_python_cannot_read_is_named(checkout, content, says):
    """Another encoding, half a file after a crash, tabs among spaces."""
    checkout.answer("tiny").write_bytes(content)
    session = pytest_in(checkout)
    assert lines_with(session, says), session.output
    assert "importlib" not in session.output


def test_a_missing_name_is_reported(checkout):
    """Renaming a function breaks its tests' import; the message has the name that they expect."""
    solve(checkout, "def shift", "def move")
    session = pytest_in(checkout)
    assert lines_with(session, "answers/tiny.py has no `shift`, which its tests import")
    assert "Traceback" not in session.output


def test_a_missing_file_is_the_stub_again(checkout):
    """It was deleted, or never made: plain pytest needs no other command before it."""
    shutil.rmtree(checkout.answers)
    session = pytest_in(checkout)
    assert set(session.verdicts().values()) == {"not started"}
    assert checkout.answer("tiny").read_bytes() == checkout.stub("tiny").read_bytes()


def test_a_missing_file_of_another_folder_is_reported(checkout):
    """With the command that restores the stub."""
    (checkout.root / "attempt").mkdir()
    session = pytest_in(checkout, "--katas=attempt")
    assert session.code != 0
    assert lines_with(session, "attempt/tiny.py does not exist. Get the stub back with: kata reset tiny")


def test_an_exception_at_import_is_reported_with_its_line(checkout):
    """The line in the learner's file, however deep in a library it was raised."""
    checkout.answer("tiny").write_text("import json\n\njson.loads('{')\n")
    session = pytest_in(checkout)
    assert lines_with(session, "answers/tiny.py, line 3: importing it raised JSONDecodeError")
    assert "json/decoder.py" not in session.output


ODD = {
    "half a surrogate pair": ("raise ValueError('a\\ud800b')", "raised ValueError: a\\ud800b"),
    "megabytes": ("raise ValueError('x' * 2_000_000)", "raised ValueError: xxx"),
    "megabytes of printed text": ("print('x' * 2_000_000); raise ValueError('no')", "raised ValueError: no"),
    "no text": (
        "class Odd(Exception):\n    __str__ = None\nraise Odd",
        "raised Odd: (no text: its __str__ raised TypeError)",
    ),
    "a group": ("raise ExceptionGroup('many', [ValueError('x' * 2_000_000)])", "raised ExceptionGroup: many"),
    "a breakpoint": ("breakpoint()", "stopped at a breakpoint"),
}


@pytest.mark.parametrize("where", ["at import", "in a function"])
@pytest.mark.parametrize("case", ODD)
def test_whatever_a_kata_raises_is_a_short_sentence_and_is_recorded(checkout, case, where):
    """No run breaks for it, and nobody scrolls through megabytes."""
    statements, says = ODD[case]
    if where == "at import":
        checkout.answer("tiny").write_text(f"{SOLUTION}\n{statements}\n")
    else:
        body = "".join(f"    {line}\n" for line in statements.splitlines())
        solve(checkout, "    return x * 2\n", body)
    session = pytest_in(checkout, "tests/tiny")
    assert session.code == 1
    assert lines_with(session, says)
    assert "INTERNALERROR" not in session.output
    assert len(session.output) < 120_000
    assert runs(checkout) == [("tiny", where != "at import")]


def test_a_missing_package_is_reported_with_its_line(checkout):
    """The learner may have to install it first."""
    checkout.answer("tiny").write_text("import no_such_package\n")
    session = pytest_in(checkout)
    assert lines_with(session, "answers/tiny.py, line 1: importing it raised ModuleNotFoundError")


def test_a_fault_in_the_tests_is_not_blamed_on_the_learner(checkout):
    """An author's error keeps its traceback."""
    solve(checkout)
    (checkout.tests("tiny") / "test_1_core.py").write_text("import katas.tiny\n\nundefined\n")
    session = pytest_in(checkout)
    assert lines_with(session, "NameError: name 'undefined' is not defined")
    assert not lines_with(session, "importing it raised")


def test_a_kata_runs_once_when_it_fails_to_import(checkout):
    """Its side effects (a download, a print) do not happen again when the failure is explained."""
    checkout.answer("tiny").write_text("with open('loaded', 'a') as f:\n    f.write('once ')\nprint('hello')\n1 / 0\n")
    session = pytest_in(checkout)
    assert lines_with(session, "answers/tiny.py, line 4: importing it raised ZeroDivisionError")
    assert (checkout.root / "loaded").read_text() == "once "
    assert session.output.count("importing it") == 2  # among the errors, and in pytest's list at the end
    assert session.output.count("hello") <= 1


def test_prints_at_import_do_not_disturb_a_run(checkout):
    """They are captured, as pytest captures those of tests."""
    solve(checkout)
    with checkout.answer("tiny").open("a") as file:
        file.write('\nprint("hello from the kata")\n')
    session = pytest_in(checkout)
    assert session.code == 0
    assert "hello" not in session.output


# errors that look alike


def test_only_the_stubs_own_error_means_not_started(checkout):
    """One that is raised in the tests is a failure."""
    solve(checkout)
    (checkout.tests("tiny") / "test_2_edges.py").write_text(
        "def test_helper():\n    raise NotImplementedError('the test is not written')\n"
    )
    assert pytest_in(checkout).verdicts()["test_helper"] == "failed"


def test_what_torch_does_not_implement_is_a_wrong_answer(checkout):
    """torch raises NotImplementedError for a dtype without a kernel."""
    solve(checkout, "return x * 2", "import torch\n    return torch.softmax(torch.tensor([x]), 0)")
    session = pytest_in(checkout)
    assert session.verdicts()["test_double_is_twice_as_much[1]"] == "failed"
    assert lines_with(session, "not implemented for 'Long'")


def test_a_half_written_function_is_not_started_where_it_raises_so(checkout):
    """The learner's own NotImplementedError in a branch that is still to be written."""
    solve(checkout, "return x * 2", "if x == 5:\n        raise NotImplementedError('tomorrow')\n    return x * 2")
    verdicts = pytest_in(checkout).verdicts()
    assert verdicts["test_double_is_twice_as_much[5]"] == "not started"
    assert verdicts["test_double_is_twice_as_much[1]"] == "passed"


# processes that end early


def test_exiting_at_import_ends_no_run(checkout):
    """A script's `sys.exit(main())` without `if __name__ ...`."""
    add_kata(checkout, "other")
    checkout.answer("tiny").write_text("import sys\n\nsys.exit()\n")
    session = pytest_in(checkout)
    assert session.code == 1
    assert lines_with(session, "answers/tiny.py, line 3: importing it raised SystemExit")
    assert "INTERNALERROR" not in session.output
    assert list(session.verdicts().values()) == ["error"] + ["not started"] * 6


def test_exiting_in_a_function_is_a_failed_test(checkout):
    """The run goes on to its end, with summary and history."""
    solve(checkout, "return x * 2", "import sys\n    sys.exit(0)")
    session = pytest_in(checkout)
    assert session.code == 1
    assert session.verdicts()["test_double_is_twice_as_much[1]"] == "failed"
    assert session.verdicts()["test_shift_moves_up"] == "passed"
    assert lines_with(session, "3 failed, 3 passed")
    assert runs(checkout) == [("tiny", 1)]


def test_ending_the_process_gives_no_verdict_although_the_exit_code_is_0(checkout):
    """`os._exit(0)` cannot be caught inside pytest: no summary, nothing recorded. So an exit code alone proves nothing."""
    solve(checkout, "return x * 2", "import os\n    os._exit(0)")
    session = pytest_in(checkout, "--outcomes=outcomes.jsonl", dies=True)
    assert session.code == TaskDied("exited with 0 and no result")
    assert " passed" not in session.output
    assert (checkout.root / "outcomes.jsonl").read_text() == ""
    assert runs(checkout) == []


def test_an_old_outcomes_file_does_not_survive_a_run_that_dies(checkout):
    """Otherwise the verdicts of the last run would look like this one's."""
    (checkout.root / "outcomes.jsonl").write_text("{}\n")
    solve(checkout, "return x * 2", "import os\n    os._exit(0)")
    pytest_in(checkout, "--outcomes=outcomes.jsonl", dies=True)
    assert (checkout.root / "outcomes.jsonl").read_text() == ""


def test_the_failures_are_shown_before_the_diagnosis_runs_the_code_again(checkout):
    """On an input that only the probe has, the code may hang or end the process; the learner has read the failures."""
    solve(
        checkout,
        "return x * 2",
        "import os\n    if 'PYTEST_CURRENT_TEST' not in os.environ:\n        os._exit(0)\n    return x * x",
    )
    session = pytest_in(checkout, dies=True)
    assert lines_with(session, "double(1)")
    assert "stage 1" in session.output


def test_ctrl_c_during_the_diagnosis_leaves_the_verdict(checkout):
    """The learner gives up waiting for it. The tests were complete, so the run is recorded."""
    solve(
        checkout,
        "return x * 2",
        "import os\n    if 'PYTEST_CURRENT_TEST' not in os.environ:\n        raise KeyboardInterrupt\n    return x * x",
    )
    session = pytest_in(checkout)
    assert session.code == 1
    assert "Your result is exactly" not in session.output
    assert runs(checkout) == [("tiny", 1)]


def test_ctrl_c_stops_at_once_and_counts_for_nothing(checkout):
    """No diagnosis either: it would call the very function that hangs."""
    solve(
        checkout,
        "return x * 2",
        "if x == 1:\n        return 1\n    if x == 5:\n        raise KeyboardInterrupt\n    return x * x",
    )
    session = pytest_in(checkout)
    assert session.code == 2
    assert lines_with(session, "KeyboardInterrupt")
    assert "Your result is exactly" not in session.output
    assert runs(checkout) == [("tiny", 0)]


# options


def test_stage_n_leaves_later_stages_out(checkout):
    """A drill reveals one stage after another."""
    solve(checkout)
    session = pytest_in(checkout, "--stage=1")
    assert {outcome.stage for outcome in session.outcomes} == {1}
    assert len(session.outcomes) == 4
    assert lines_with(session, "stage 1: all 4 tests pass")
    assert lines_with(session, "4 passed")
    by_path = pytest_in(checkout, "--stage=1", *(f"tests/tiny/{file.name}" for file in checkout.test_files("tiny")))
    assert lines_with(by_path, "4 passed, 2 deselected")


def test_a_failure_in_one_stage_shows_in_the_stage_line(checkout):
    """Stage 1 passes, stage 2 does not."""
    solve(checkout, "by: int = 3", "by: int = 4")
    assert lines_with(pytest_in(checkout), "stage 1: all 4   stage 2: 1 of 2 tests pass")


def test_the_seed_reaches_the_tests(checkout):
    """Everything random in a test depends on one number, which the run prints."""
    only_test_file(checkout).write_text(
        "import torch\n\n\ndef test_seed(seed, rng):\n"
        "    assert seed == 11 and rng.initial_seed() == 11 and torch.initial_seed() == 11 + 2**20\n"
    )
    assert pytest_in(checkout, "--kata-seed=11").code == 0
    assert pytest_in(checkout).code == 1


def test_outcomes_are_written_one_a_line(checkout):
    """For programs that read results, such as editors."""
    solve(checkout, "by: int = 3", "by: int = 4")
    session = pytest_in(checkout, "--outcomes=outcomes.jsonl")
    written = [json.loads(line) for line in (checkout.root / "outcomes.jsonl").read_text().splitlines()]
    assert written == [outcome.as_dict() for outcome in session.outcomes]
    wrong = [outcome for outcome in written if outcome["verdict"] != "passed"]
    assert [(o["test"], o["kata"], o["stage"], o["verdict"]) for o in wrong] == [
        ("test_shift_moves_by_three_unless_told", "tiny", 2, "failed")
    ]
    assert wrong[0]["message"] == "shift(4) should be 7, but is 8\nhint: by = 3"


def test_an_outcomes_file_that_cannot_be_written_is_an_error_at_once(checkout):
    """Not after the tests, and without a traceback."""
    session = pytest_in(checkout, "--outcomes=no/such/folder/outcomes.jsonl")
    assert session.code == 4
    assert lines_with(session, "--outcomes")
    assert "Traceback" not in session.output


def test_skipped_and_broken_tests_have_verdicts_of_their_own(checkout):
    """A missing GPU is no failure; a broken fixture is no wrong answer."""
    only_test_file(checkout).write_text(
        "import pytest\n\n\n@pytest.fixture\ndef broken():\n    raise OSError('no disk')\n\n\n"
        "def test_skipped():\n    pytest.skip('no card')\n\n\ndef test_error(broken):\n    pass\n"
    )
    session = pytest_in(checkout)
    assert session.verdicts() == {"test_skipped": "skipped", "test_error": "error"}
    assert session.message("test_skipped").endswith("no card")
    assert session.message("test_error") == "OSError: no disk"


# history


def test_runs_of_the_learners_katas_are_recorded(checkout):
    """`kata list` shows it, and `kata solution` depends on it."""
    solve(checkout)
    pytest_in(checkout)
    assert history.progress(checkout, "tiny") == history.Progress("solved", 6, 6, (1, 2))
    assert history.ever_solved(checkout, "tiny")


@pytest.mark.parametrize(
    "options", [["--no-summary"], ["-qq"], ["-x"], ["-p", "no:terminal", "-o", "addopts="]], ids=" ".join
)
def test_a_run_that_prints_less_is_recorded_all_the_same(checkout, options):
    """With its diagnoses: the history does not depend on what is on the screen."""
    solve(checkout, "x * 2", "x * x")
    pytest_in(checkout, *options)
    (attempt,) = read_attempts(checkout)
    assert attempt.diagnoses == (Diagnosis("squares", "x is multiplied by itself", True),)


@pytest.mark.parametrize("options", [["--katas=solutions"], ["--no-history"]], ids=str)
def test_other_runs_are_not_recorded(checkout, options):
    """A run of the reference solves nothing."""
    solve(checkout)
    assert pytest_in(checkout, *options).code == 0
    assert runs(checkout) == []


@pytest.mark.parametrize(
    "options",
    [
        ["--stage=1"],
        ["tests/tiny/test_1_core.py"],
        ["-k", "shift"],
        ["tests/tiny/test_1_core.py::test_shift_moves_up"],
        ["--deselect", "tests/tiny/test_1_core.py::test_shift_moves_up"],
    ],
    ids=" ".join,
)
def test_a_partial_run_solves_nothing(checkout, options):
    """Every test that ran passed, but not every test ran."""
    solve(checkout)
    assert pytest_in(checkout, *options).code == 0
    assert runs(checkout) == [("tiny", 0)]
    assert history.progress(checkout, "tiny").state == "not started"


def test_a_stage_needs_nothing_of_the_later_ones(checkout):
    """What only they import may not be written yet."""
    solve(checkout)
    with (checkout.tests("tiny") / "test_2_edges.py").open("a") as file:
        file.write("\nfrom katas.tiny import not_written_yet\n")
    assert pytest_in(checkout, "--stage=1").code == 0
    assert pytest_in(checkout).code != 0


def test_a_run_that_stops_at_the_first_failure_is_partial(checkout):
    """With `-x` the other tests have no verdict."""
    solve(checkout, "x * 2", "x * x")
    pytest_in(checkout, "-x")
    assert runs(checkout) == [("tiny", 0)]


def test_a_run_of_the_last_failures_is_partial(checkout):
    """`--lf` leaves the others out without pytest_deselected; mending one test can break another."""
    solve(checkout, "x + by", "x - by")
    first = pytest_in(checkout)
    assert first.code == 1, first.output
    solve(checkout, "x * 2", "x * x")
    last = pytest_in(checkout, "--lf")
    assert last.code == 0, last.output
    assert history.progress(checkout, "tiny").state != "solved"
    assert not history.ever_solved(checkout, "tiny")


def write_speed_test(checkout, name="tiny"):
    (checkout.root / "tests" / "test_speed.py").write_text(
        f"import pytest\n\nfrom katas.{name} import double\n\n\n"
        "def test_speed():\n    double(1)\n\n\n@pytest.mark.gpu\ndef test_gpu():\n    double(1)\n"
    )


def test_a_kata_with_speed_tests_can_be_solved(checkout):
    """Plain pytest leaves the speed tests out, and a run without them is complete."""
    write_speed_test(checkout)
    solve(checkout)
    assert pytest_in(checkout).code == 0
    assert history.progress(checkout, "tiny").state == "solved"


def test_speed_tests_alone_solve_nothing(checkout):
    """They are not part of the specification."""
    write_speed_test(checkout)
    solve(checkout, "x + by", "x - by")
    assert pytest_in(checkout, "-p", "pytest_benchmark.plugin", "--benchmark-only", "tests/test_speed.py").code in (
        0,
        5,
    )
    assert pytest_in(checkout, "tests/test_speed.py").code in (0, 5)
    assert not history.ever_solved(checkout, "tiny")
    assert ("tiny", 1) not in runs(checkout)


def test_a_file_that_does_not_import_is_a_run_that_is_not_complete(checkout):
    """The last complete run still says where the learner stands; the file has changed since."""
    solve(checkout)
    pytest_in(checkout)
    checkout.answer("tiny").write_text("def double(x)\n")
    pytest_in(checkout)
    assert runs(checkout) == [("tiny", 1), ("tiny", 0)]
    assert history.progress(checkout, "tiny").changed


def test_a_history_that_cannot_be_written_is_a_line_and_no_failure(checkout):
    """The run is valid without it."""
    solve(checkout)
    checkout.state.write_text("in the way")
    session = pytest_in(checkout)
    assert session.code == 0
    assert lines_with(session, "progress is not recorded")
    assert "Traceback" not in session.output


def test_a_damaged_history_is_told_at_the_end_of_a_run(checkout):
    """The run is recorded in a new one."""
    checkout.state.mkdir()
    (checkout.state / "history.sqlite").write_bytes(b"not a database at all" * 200)
    session = pytest_in(checkout)
    assert lines_with(session, "The history was damaged and is set aside as .dojo/history.damaged-")
    assert runs(checkout) == [("tiny", 1)]


def test_other_tests_are_left_as_pytest_shows_them(checkout):
    """Only files under tests/ specify katas. The trainer's own tests do not."""
    (checkout.root / "elsewhere").mkdir()
    (checkout.root / "elsewhere" / "test_tiny.py").write_text("def test_x():\n    raise NotImplementedError\n")
    session = pytest_in(checkout, "elsewhere")
    assert session.outcomes == ()
    assert re.search(r"FAILED elsewhere/test_tiny\.py::test_x", session.output)
    assert runs(checkout) == []


def test_a_run_on_two_processes_says_the_same(checkout):
    """`pytest -n 2`: pytest-xdist sends the outcomes to the process that shows and records them."""
    pytest.importorskip("xdist", reason="needs pytest-xdist")
    solve(checkout, "x * 2", "x * x")
    alone = pytest_in(checkout)
    together = pytest_in(checkout, "-p", "xdist.plugin", "-n", "2")
    assert together.code == alone.code == 1
    assert together.verdicts() == alone.verdicts()
    assert len(together.verdicts()) == len(together.outcomes) == 6
    assert together.output.count("x is multiplied by itself") == alone.output.count("x is multiplied by itself") == 1
    assert len(lines_with(together, "2 failed, 4 passed")) == 1
    assert runs(checkout) == [("tiny", 1), ("tiny", 1)]


def test_every_test_starts_with_gradients_enabled(checkout):
    """A loop that leaves them switched off fails its own test and no other."""
    (checkout.tests("tiny") / "test_1_core.py").write_text(
        "import torch\n\n\ndef test_first():\n    torch.set_grad_enabled(False)\n\n\n"
        "def test_second():\n    assert torch.is_grad_enabled()\n"
    )
    session = pytest_in(checkout, "-k", "first or second")
    assert session.verdicts() == {"test_first": "passed", "test_second": "passed"}


@pytest.mark.parametrize(
    ("argument", "advice"),
    [
        ("katas", "katas/ holds no tests. They are in tests/: `pytest tests`, or `kata test NAME`."),
        (
            "answers/tiny.py",
            "answers/ holds no tests. They are in tests/tiny/: `pytest tests/tiny`, or `kata test tiny`.",
        ),
        ("solutions/tiny.py::double", "They are in tests/tiny/"),
    ],
)
def test_where_the_tests_are_is_said_to_those_who_test_the_katas_folder(checkout, argument, advice):
    """Other collections keep tests beside the code."""
    session = pytest_in(checkout, argument)
    assert session.code in (4, 5)
    assert lines_with(session, advice)


def test_a_python_without_the_packages_says_which_environment_to_activate(checkout):
    """A new terminal, where pytest is the system's."""
    program = """
import importlib.util, pytest
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in ("torch", "rich") else find(name, package)
raise SystemExit(pytest.main(["-p", "no:cacheprovider", "-p", "no:dojo.engine.plugin"]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=checkout.root, capture_output=True, text=True)
    assert done.returncode == 4
    assert "has no torch, no rich. In a new terminal, `. .venv/bin/activate` comes first" in done.stdout + done.stderr
