"""Recording and reading runs and events, and the history file when it is locked, damaged, old or has no room."""

import resource
import signal
import sqlite3
from functools import partial

import pytest

from dojo.core import files
from dojo.core.errors import UserError
from dojo.core.files import digest
from dojo.core.outcome import Diagnosis, Outcome
from dojo.engine.pool import TaskDied, run_forked
from dojo.practice import actions
from dojo.progress import database, runs
from dojo.progress.attempts import read_attempts
from dojo.progress.runs import Progress, count_events, ever_solved, progress, record_event, record_run
from dojo.tests.checkouts import pytest_in, solve
from dojo.tests.progress.made_up_history import Past


def outcomes(*verdicts, kata="tiny", stages=(1, 1, 2, 2)):
    return [
        Outcome(f"test_{number}", kata, stage, verdict)
        for number, (verdict, stage) in enumerate(zip(verdicts, stages, strict=False))
    ]


def record(checkout, *verdicts, expected=None, text=None, began=None, **more):
    """Records a run of `tiny` as its file is now (or of another text), which began just now (or then)."""
    source = digest(checkout.answer("tiny")) if text is None else text
    total = len(verdicts) if expected is None else expected
    began = runs.time.time() if began is None else began
    record_run(checkout, outcomes(*verdicts), {"tiny": total}, sources={"tiny": source}, began=began, **more)


# Progress


def test_nothing_recorded_is_not_started(checkout):
    """The first look at the list."""
    assert progress(checkout, "tiny") == Progress("not started")
    assert not ever_solved(checkout, "tiny")


def test_an_untouched_stub_is_not_started(checkout):
    """The verdict on every test is "not started"."""
    record(checkout, "not started", "not started")
    assert progress(checkout, "tiny") == Progress("not started", 0, 2)


def test_a_started_kata_has_the_stages_that_pass(checkout):
    """Stage 1 passes, stage 2 not wholly."""
    record(checkout, "passed", "passed", "passed", "failed")
    assert progress(checkout, "tiny") == Progress("started", 3, 4, (1,))


def test_a_wrong_first_try_has_started(checkout):
    """Even if nothing passes."""
    record(checkout, "failed", "not started")
    assert progress(checkout, "tiny").state == "started"


def test_skipped_tests_count_for_nothing(checkout):
    """A laptop without a GPU can solve everything; a run of skipped tests solves nothing."""
    record(checkout, "passed", "passed", "skipped")
    assert progress(checkout, "tiny") == Progress("solved", 2, 2, (1,))
    assert ever_solved(checkout, "tiny")


def test_a_run_of_skipped_tests_solves_nothing(checkout):
    """No test has a verdict that counts."""
    record(checkout, "skipped", "skipped")
    assert progress(checkout, "tiny").state == "not started"
    assert not ever_solved(checkout, "tiny")


def test_an_incomplete_run_changes_nothing(checkout):
    """`-k one_test` does not make a run complete."""
    record(checkout, "passed", "failed")
    record(checkout, "passed", expected=2)
    assert progress(checkout, "tiny") == Progress("started", 1, 2)
    assert not ever_solved(checkout, "tiny")


def test_a_solved_kata_that_is_broken_again_stays_solved(checkout):
    """The figures are those of the newest complete run."""
    record(checkout, "passed", "passed")
    record(checkout, "passed", "failed")
    assert progress(checkout, "tiny") == Progress("solved", 1, 2)
    assert ever_solved(checkout, "tiny")


def test_a_file_that_has_changed_since_its_run_is_marked(checkout):
    """The figures belong to the file that was run."""
    record(checkout, "passed")
    assert not progress(checkout, "tiny").changed
    solve(checkout)
    assert progress(checkout, "tiny").changed


def test_katas_are_recorded_apart(checkout):
    """One pytest session tests many."""
    both = outcomes("passed") + outcomes("failed", kata="other")
    record_run(checkout, both, {"tiny": 1, "other": 1}, sources={}, began=0.0)
    assert progress(checkout, "tiny").state == "solved"
    assert progress(checkout, "other").state == "started"


# Events


def test_events_are_counted_by_kata_and_kind(checkout):
    """Hints of one kata are not hints of another."""
    record_event(checkout, "tiny", "hint", "1")
    record_event(checkout, "tiny", "hint", "2")
    record_event(checkout, "tiny", "solution")
    record_event(checkout, "other", "hint", "1")
    assert count_events(checkout, "tiny", "hint") == 2
    assert count_events(checkout, "tiny", "solution") == 1
    assert count_events(checkout, "none", "hint") == 0


def test_starting_afresh_forgets_the_hints(checkout):
    """Hints are counted from the last reset; that the kata was once solved stays."""
    record(checkout, "passed")
    record_event(checkout, "tiny", "hint", "1")
    record_event(checkout, "tiny", "reset")
    assert count_events(checkout, "tiny", "hint") == 0
    record_event(checkout, "tiny", "hint", "1")
    assert count_events(checkout, "tiny", "hint") == 1
    assert ever_solved(checkout, "tiny")


def test_a_clock_that_is_set_back_confuses_nothing(checkout, monkeypatch):
    """Rows are ordered by id, not by time."""
    record_event(checkout, "tiny", "reset")
    record(checkout, "failed")
    monkeypatch.setattr(runs.time, "time", lambda: 5.0)
    record_event(checkout, "tiny", "hint", "1")
    record(checkout, "passed")
    assert count_events(checkout, "tiny", "hint") == 1
    assert progress(checkout, "tiny").passes
    assert ever_solved(checkout, "tiny", since_reset=True)


# Trouble


@pytest.mark.parametrize("processes", [4])
def test_processes_that_write_at_once_lose_nothing(checkout, processes):
    """A watcher in one terminal and a hint in another, also while the file is being created."""

    def write():
        for number in range(10):
            record_event(checkout, "tiny", "hint", str(number))
            record(checkout, "passed")
        return "done"

    assert [answer for _, answer in run_forked([write] * processes, jobs=processes, seconds=60)] == ["done"] * processes
    assert count_events(checkout, "tiny", "hint") == 10 * processes
    with sqlite3.connect(checkout.state / "history.sqlite") as db:
        assert db.execute("SELECT count(*), count(DISTINCT run) FROM outcome").fetchone() == (40, 40)


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be one" * 40, b"\0" * 5000])
def test_a_damaged_file_is_set_aside_and_a_new_one_begun(checkout, content):
    """Practice goes on after a crash of the machine; the damaged file is kept for repair."""
    record(checkout, "passed")
    file = checkout.state / "history.sqlite"
    file.write_bytes(content)
    record_event(checkout, "tiny", "hint", "1")
    assert count_events(checkout, "tiny", "hint") == 1
    (aside,) = checkout.state.glob("history.damaged-*.sqlite")
    assert aside.read_bytes() == content


def test_damage_inside_the_file_is_set_aside_too(checkout):
    """Damaged pages after an intact header are noticed only when they are read."""
    for _ in range(30):
        record(checkout, "passed", "failed")
    file = checkout.state / "history.sqlite"
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    content = file.read_bytes()
    file.write_bytes(content[:4096] + b"\x55" * len(content[4096:]))
    with pytest.raises(UserError, match="progress is not recorded"):
        record(checkout, "passed")
    record(checkout, "passed")
    assert progress(checkout, "tiny") == Progress("solved", 1, 1, (1,))
    assert list(checkout.state.glob("history.damaged-*.sqlite"))


def test_an_empty_file_is_simply_begun(checkout):
    """What a full disk leaves behind."""
    checkout.state.mkdir()
    (checkout.state / "history.sqlite").touch()
    record(checkout, "passed")
    assert progress(checkout, "tiny").state == "solved"


USES = [
    partial(progress, kata="tiny"),
    partial(ever_solved, kata="tiny"),
    partial(count_events, kata="tiny", what="hint"),
    partial(record_event, kata="tiny", what="hint"),
    partial(record_run, outcomes=outcomes("passed"), expected={"tiny": 1}, sources={}, began=0.0),
]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.func.__name__)
def test_a_folder_that_cannot_be_used_is_a_problem(checkout, use):
    """Here a file has its name; a read-only folder gives the same sentence."""
    checkout.state.write_text("in the way")
    with pytest.raises(UserError, match=r"\.dojo/history\.sqlite cannot be used .* your work is safe"):
        use(checkout)


def test_a_locked_file_is_waited_for_and_then_a_problem(checkout, monkeypatch):
    """A locked file is not damaged, so it is not set aside."""
    record(checkout, "passed")
    connect = sqlite3.connect
    monkeypatch.setattr(database.sqlite3, "connect", lambda file, timeout: connect(file, timeout=0.1))
    holder = connect(checkout.state / "history.sqlite")
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(UserError, match="locked"):
        record(checkout, "passed")
    holder.rollback()
    holder.close()
    record(checkout, "passed")
    assert not list(checkout.state.glob("history.damaged-*"))


def limited(task, size):
    """Runs `task` where no file may grow beyond `size` bytes, as on a full disk; its sentence if it is a UserError."""

    def run():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            return task()
        except UserError as problem:
            return f"UserError: {problem}"

    ((_, answer),) = run_forked([run], jobs=1, seconds=30)
    assert not isinstance(answer, TaskDied), answer.why
    return answer


def test_a_full_disk_is_a_problem_and_loses_nothing(checkout):
    """What was recorded before can still be read, and recording goes on when there is room again."""
    record(checkout, "passed", "failed")
    assert "progress is not recorded" in limited(partial(record, checkout, *["passed"] * 4), 4096)
    assert progress(checkout, "tiny") == Progress("started", 1, 2)
    record(checkout, "passed", "passed")
    assert progress(checkout, "tiny").state == "solved"


def test_a_full_disk_at_the_very_beginning_is_a_problem(checkout):
    """No incomplete file prevents recording afterwards."""
    assert "progress is not recorded" in limited(partial(record, checkout, "passed"), 100)
    record(checkout, "passed")
    assert progress(checkout, "tiny").state == "solved"


def test_a_full_disk_keeps_the_learners_file(checkout, catalog):
    """Neither the copy nor the stub can be written; the file keeps its whole content."""
    work = lambda: checkout.answer("tiny").read_text()  # noqa: E731
    checkout.answer("tiny").write_text("# work\n" * 100)
    before = work()
    assert "left as it is" in limited(lambda: actions.reset(checkout, catalog["tiny"], print), 50)
    assert work() == before
    assert "nothing was changed" in limited(lambda: files.write(checkout.answer("tiny"), "x" * 1000), 50)
    assert work() == before
    assert [path.name for path in checkout.answers.glob(".*")] == []


def test_a_reset_starts_the_figures_afresh_and_keeps_the_success(checkout):
    """A kata that is being solved again stays solved."""
    record(checkout, "passed", "passed", text="mine")
    record_event(checkout, "tiny", "reset", "mine")
    assert progress(checkout, "tiny") == Progress("solved")
    assert ever_solved(checkout, "tiny")
    assert not ever_solved(checkout, "tiny", since_reset=True)
    record(checkout, "passed", "failed")
    assert progress(checkout, "tiny") == Progress("solved", 1, 2)
    assert not ever_solved(checkout, "tiny", since_reset=True)


def test_a_run_that_skips_everything_says_nothing(checkout):
    """`--benchmark-only` skips every test of a solved kata."""
    record(checkout, "passed", "passed")
    record(checkout, "skipped", "skipped")
    assert progress(checkout, "tiny").passes


# Older and newer files


def test_a_file_of_the_first_version_is_brought_up_to_date(checkout):
    """Its content is kept, and processes that open it at the same time migrate it once."""
    checkout.state.mkdir()
    with sqlite3.connect(checkout.state / "history.sqlite") as db:
        db.executescript(database.MIGRATIONS[0] + "PRAGMA user_version = 1;")
        db.execute("INSERT INTO run VALUES (1, 0.0, 'tiny', 'x', 1)")
        db.execute("INSERT INTO outcome VALUES (1, 'test_0', 1, 'passed', '', 0.1)")
    db.close()
    answers = [answer for _, answer in run_forked([partial(progress, checkout, "tiny")] * 4, jobs=4, seconds=30)]
    assert all(answer == Progress("solved", 1, 1, (1,), True) for answer in answers), answers
    record(checkout, "passed", "failed")
    assert progress(checkout, "tiny") == Progress("solved", 1, 2)


def test_a_file_of_a_newer_version_is_left_alone(checkout):
    """An older checkout must not write into it."""
    record(checkout, "passed")
    with sqlite3.connect(checkout.state / "history.sqlite") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(UserError, match="newer version of this repository wrote it; update with `git pull`"):
        record(checkout, "passed")
    assert not list(checkout.state.glob("history.damaged-*"))


def test_a_kata_solved_in_a_drill_is_solved(checkout):
    """A drill works on a copy: it says nothing of the file in katas/, and a drill that was not solved says nothing."""
    record(checkout, "passed", "failed", text="a copy", how="drill")
    assert progress(checkout, "tiny") == Progress("not started")
    record(checkout, "passed", "passed", text="a copy", how="drill")
    assert progress(checkout, "tiny") == Progress("solved")
    assert ever_solved(checkout, "tiny", since_reset=True)
    assert runs.last_kata(checkout) == ""
    record(checkout, "failed")
    assert runs.last_kata(checkout) == "tiny"


def test_a_drill_that_its_grading_alone_found_solved_is_solved(checkout):
    """It was ended before its last stage opened. A grading that did not reach every test solves nothing."""
    past = Past(checkout).session("tiny", 60, stages=1)
    assert progress(checkout, "tiny").state == "not started"
    past.session("tiny", 100, trouble="The final run was still running after 20 s")
    assert progress(checkout, "tiny").state == "not started"
    assert not any(attempt.solved for attempt in read_attempts(checkout))
    past.session("tiny", 100)
    assert progress(checkout, "tiny").state == "solved"
    record_event(checkout, "tiny", "reset")
    assert progress(checkout, "tiny").state == "solved"
    assert not ever_solved(checkout, "tiny", since_reset=True)


def test_a_mended_hunt_solves_nothing(checkout):
    """Its file is the reference."""
    record(checkout, "passed", text="a copy", how="hunt")
    assert progress(checkout, "tiny").state == "not started"


# Runs that end late, and answers that are brought back


def test_a_slow_run_of_an_older_save_overrules_nothing(checkout):
    """It is stored last; the figures are those of the text that stands in the file now."""
    record(checkout, "passed", "passed", "failed")
    record(checkout, "failed", "failed", "failed", text="an older save")
    assert progress(checkout, "tiny") == Progress("started", 2, 3, (1,))


@pytest.mark.parametrize(("when", "changed"), [("while the tests run", True), ("before it is imported", False)])
def test_a_run_is_stored_with_the_text_that_was_imported(checkout, when, changed):
    """The file may be saved again at any time."""
    solve(checkout)
    save = f'open({str(checkout.answer("tiny"))!r}, "a").write("x = 1\\n")\n'
    tests = checkout.tests("tiny") / "test_1_core.py"
    text = tests.read_text()
    tests.write_text(f"{text}\n\ndef test_saves():\n    {save}" if changed else save + text)
    assert pytest_in(checkout, "tests/tiny").code == 0
    assert progress(checkout, "tiny").changed is changed


def test_a_run_that_began_before_a_reset_belongs_before_it(checkout):
    """It ends afterwards, and solves the try that was given up and not the new one."""
    began = runs.time.time()
    record_event(checkout, "tiny", "reset", "mine")
    record(checkout, "passed", "passed", text="mine", began=began)
    assert ever_solved(checkout, "tiny")
    assert not ever_solved(checkout, "tiny", since_reset=True)
    assert progress(checkout, "tiny") == Progress("solved")


def test_restoring_ones_own_answer_undoes_the_reset(checkout):
    """The try before goes on, with its hints; the same after several resets."""
    record_event(checkout, "tiny", "hint", "1")
    record(checkout, "passed", "passed", text="mine")
    record_event(checkout, "tiny", "reset", "mine")
    record(checkout, "failed", "failed", text="another try")
    record_event(checkout, "tiny", "reset", "another try")
    assert count_events(checkout, "tiny", "hint") == 0
    record(checkout, "passed", "passed", text="mine")
    assert ever_solved(checkout, "tiny", since_reset=True)
    assert count_events(checkout, "tiny", "hint") == 1
    (attempt,) = read_attempts(checkout)
    assert attempt.solved
    record_event(checkout, "tiny", "reset", "mine")
    assert not ever_solved(checkout, "tiny", since_reset=True)


def test_diagnoses_are_stored_with_their_run(checkout):
    """The report shows which mistakes recur."""
    diagnoses = (Diagnosis("moves down", "you moved down", True), Diagnosis("squares", "x is squared", False))
    record(checkout, "failed", diagnoses={"tiny": diagnoses})
    (attempt,) = read_attempts(checkout)
    assert attempt.diagnoses == diagnoses


def test_diagnoses_of_the_second_version_are_converted(checkout):
    """It stored the printed sentence. The clause stays, and which of the two sentences it was."""
    checkout.state.mkdir()
    sentences = [
        "Your result is exactly what you get when you moved down",
        "Part of your result is exactly what you get when x is what you get when it is squared",
        "another sentence",
    ]
    with sqlite3.connect(checkout.state / "history.sqlite") as db:
        db.executescript("".join(database.MIGRATIONS[:2]) + "PRAGMA user_version = 2;")
        db.execute("INSERT INTO run(id, at, kata, source, complete) VALUES (1, 0.0, 'tiny', 'x', 1)")
        db.execute("INSERT INTO outcome VALUES (1, 'test_0', 1, 'failed', '', 0.1)")
        db.executemany("INSERT INTO named VALUES (1, ?, ?)", enumerate(sentences))
    db.close()
    (attempt,) = read_attempts(checkout)
    assert attempt.diagnoses == (
        Diagnosis("0", "you moved down", True),
        Diagnosis("1", "x is what you get when it is squared", False),
        Diagnosis("2", "another sentence", True),
    )
    assert [diagnosis.sentence for diagnosis in attempt.diagnoses[:2]] == sentences[:2]
    with database.connect(checkout) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(database.MIGRATIONS),)
