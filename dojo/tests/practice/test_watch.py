"""What `kata watch` knows, which saves it heeds, and how its screen looks: no terminal, no process."""

import io
import os
import time

import pytest
from rich.console import Console

from dojo.authoring.bench.watch_latency import Latency, percentile, rows
from dojo.core.outcome import Diagnosis, Outcome
from dojo.engine.file_watcher import FileWatcher, Fingerprints
from dojo.engine.messages import Diagnosed, FirstFailure, Job, JobDied, Ready, Running, Verdict
from dojo.practice import screen
from dojo.practice.live_run import LiveRun
from dojo.practice.terminal import NAMES, Terminal, keys_in
from dojo.practice.watch import view
from dojo.practice.watch.app import App, first_kata
from dojo.progress.runs import Progress, record_run
from dojo.tests import checkouts

PLENTY = 60.0


# state


def outcome(test, verdict="passed", stage=1, message=""):
    return Outcome(test, "tiny", stage, verdict, message)


def verdict(*outcomes, number=1):
    return Verdict(number, outcomes, {"tiny": len(outcomes)}, "digest", 0.1)


@pytest.fixture
def watched(catalog):
    made = LiveRun(catalog["tiny"])
    made.begin(1, now=10.0)
    return made


def test_the_first_failure_is_shown_before_the_verdict(watched):
    """And is what the milliseconds are counted to."""
    assert watched.take(Running(1, "test_a", 0, 2), 10.1)
    assert watched.take(FirstFailure(1, outcome("test_b", "failed", 2, "wrong")), 10.2)
    assert watched.failure.test == "test_b"
    assert watched.waiting
    watched.take(verdict(outcome("test_a", "failed", 1, "wrong too"), outcome("test_b", "failed", 2, "wrong")), 10.5)
    assert watched.failure.test == "test_a"  # the lowest stage is mended first
    assert watched.milliseconds == pytest.approx(200)
    watched.take(Diagnosed(1, (Diagnosis("name", "clause", True),)), 10.6)
    assert watched.diagnoses == (Diagnosis("name", "clause", True),)


@pytest.mark.parametrize(
    "message",
    [verdict(outcome("a"), number=0), Running(0, "a", 0, 1), Diagnosed(0, ()), JobDied(7, "hung"), Ready("fork")],
)
def test_what_belongs_to_another_job_is_ignored(watched, message):
    """A verdict on what has been overwritten would mislead."""
    assert not watched.take(message, 11.0)
    assert watched.waiting
    assert watched.verdict is watched.lost is None


def test_solved_and_its_opposites(watched):
    """Only a verdict in which everything that was not skipped passed."""
    assert not watched.solved
    watched.take(verdict(outcome("a"), outcome("b", "skipped")), 11.0)
    assert watched.solved
    watched.take(JobDied(1, "hung"), 11.0)
    assert not watched.solved
    watched.take(verdict(outcome("b", "skipped")), 11.0)
    assert not watched.solved


def test_stages_and_what_is_unwritten(watched):
    """The stub's sentences once each; tests counted by stage, skipped ones left out."""
    watched.take(
        verdict(
            outcome("a"),
            outcome("b", "not started", 2, "tiny.shift: write me"),
            outcome("c", "not started", 2, "tiny.shift: write me"),
            outcome("d", "skipped", 2),
        ),
        11.0,
    )
    assert watched.stages() == [(1, 1, 1), (2, 0, 2)]
    assert watched.unwritten == ["tiny.shift: write me"]
    assert watched.failure is None


# saves


@pytest.fixture
def folder(tmp_path):
    """A folder with two files, watched for the length of a test."""
    made = tmp_path.resolve() / "katas"
    made.mkdir()
    for name in ("one", "two"):
        (made / f"{name}.py").write_text(f"# {name}\n")
    return made


@pytest.fixture
def saves(folder):
    contents, watching = Fingerprints(folder), FileWatcher(folder)
    end = time.monotonic() + PLENTY
    while not watching.connection.poll(0.05) and time.monotonic() < end:  # until the watch is set up
        (folder / "probe.py").write_text(str(time.monotonic()))
    contents.changed({"probe"})
    yield lambda *wanted: heard(watching, contents, set(wanted))
    watching.close()


def heard(watching, contents, wanted):
    """Everything that changed until all of `wanted` did (or, when nothing is wanted, in a moment)."""
    found, end = [], time.monotonic() + (PLENTY if wanted else 0.4)
    while time.monotonic() < end and not (wanted and wanted <= set(found)):
        if watching.connection.poll(0.05):
            found += [name for name in contents.changed(watching.connection.recv()) if name != "probe"]
    return found


def by_renaming(file, text):
    file.with_name(f".{file.name}.tmp~").write_text(text)
    os.replace(file.with_name(f".{file.name}.tmp~"), file)


def in_place(file, text):
    file.write_text(text)


def truncated_first(file, text):
    with file.open("w") as handle:
        handle.flush()
        time.sleep(0.06)
        handle.write(text)


def backup_first(file, text):
    """vim with `backupcopy=no`: the old file becomes file~, a new one is written."""
    file.with_name("4913").touch()
    file.with_name("4913").unlink()
    file.with_name(f".{file.name}.swp").write_bytes(b"b0VIM 9.1")
    os.replace(file, f"{file}~")
    file.write_text(text)
    os.remove(f"{file}~")


def deleted_first(file, text):
    file.unlink()
    time.sleep(0.06)
    file.write_text(text)


@pytest.mark.parametrize("way", [by_renaming, in_place, truncated_first, backup_first, deleted_first])
def test_whatever_way_an_editor_saves_one_change_is_told(folder, saves, way):
    """Once, and never with half of the file."""
    way(folder / "one.py", "# something else\n")
    assert saves("one") == ["one"]
    assert saves() == []


def test_what_changes_nothing_is_not_told(folder, saves):
    """Touching, saving the same text, swap files, other files."""
    (folder / "one.py").touch()
    (folder / "two.py").write_text("# two\n")
    (folder / ".one.py.swp").write_text("x")
    (folder / "one.py~").write_text("x")
    (folder / "#one.py#").write_text("x")
    (folder / "notes.txt").write_text("x")
    os.symlink("somebody@here.1234", folder / ".#one.py")  # emacs' lock
    assert saves() == []


def test_save_all_tells_of_every_file(folder, saves):
    """Several at once."""
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text("# else\n")
    assert sorted(saves("one", "two")) == ["one", "two"]


def test_two_saves_in_50_ms_end_with_the_second(folder, saves):
    """What is known in the end is what the file holds in the end."""
    (folder / "one.py").write_text("# first\n")
    time.sleep(0.03)
    (folder / "one.py").write_text("# second\n")
    first = saves("one")
    assert set(first + saves()) == {"one"}
    (folder / "one.py").write_text("# second\n")
    assert saves() == []


def test_an_emptied_or_deleted_file_waits_until_it_has_settled(folder):
    """An editor may have more to come; someone who emptied the file does not."""
    contents = Fingerprints(folder)
    (folder / "one.py").write_text("")
    assert contents.changed({"one"}) == []
    assert contents.changed({"one"}, settled=True) == ["one"]
    (folder / "two.py").unlink()
    assert contents.changed({"two"}, settled=True) == []
    (folder / "two.py").write_text("# two\n")
    assert contents.changed({"two"}) == ["two"]  # the same text, in a file that was gone


def test_saves_end_at_once(folder):
    """Nobody waits for a watcher when leaving."""
    watching = FileWatcher(folder)
    watching.close()
    assert not watching._thread.is_alive()


# keys


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("q", ["q"]),
        ("jj\r", ["j", "j", "enter"]),
        ("\x1b[A\x1b[B\x1bOA\x1bOB", ["up", "down", "up", "down"]),
        ("\x1b[5~\x1b[6~ ", ["page up", "page down", "space"]),
        ("\x1b", ["escape"]),
        ("\x1b\x1b[A", ["escape", "up"]),
        ("\x1b[C\x1b[3~\x1b[1;5D\x1bOP\x1bq", []),  # right, delete, Ctrl-left, F1, Alt-q: no keys of this program
        ("\x1b[200~n\x1b[201~", ["n"]),
        ("é\n", ["é", "enter"]),
        ("", []),
    ],
)
def test_keys_in_what_a_terminal_sends(sent, keys):
    """Several may arrive at once; sequences unknown here press nothing."""
    assert keys_in(sent) == keys


def test_every_key_on_the_screen_does_something():
    """And none has two meanings."""
    assert all(hasattr(App, f"key_{key}") for key in view.KEYS)
    assert not set(view.KEYS) & set(NAMES)


# the screen


class Paper(Terminal):
    """A terminal of a given size that nobody sits at."""

    def __init__(self, columns=80, rows=24):
        self.console = Console(
            file=io.StringIO(), force_terminal=True, width=columns, height=rows, color_system=None, _environ={}
        )


def words(lines):
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 12), (20, 5), (300, 100)])
@pytest.mark.parametrize("state", ["begun", "failed", "lost", "unwritten", "solved", "nothing ran"])
def test_the_screen_is_full_and_never_wider_than_the_window(watched, checkout, size, state):
    """Whatever it shows."""
    terminal = Paper(*size)
    long = "a sentence that is longer than the window is wide, " * 20
    if state == "failed":
        watched.take(verdict(outcome("test_a", "failed", 1, f"{long}\nhint: {long}")), 11.0)
        watched.take(Diagnosed(1, (Diagnosis("name", long, True),)), 11.0)
    elif state == "lost":
        watched.take(JobDied(1, "was still running after 20 s", "test_a"), 11.0)
    elif state == "unwritten":
        watched.take(verdict(outcome("test_a", "not started", 1, "tiny.double: write me")), 11.0)
    elif state == "solved":
        watched.take(verdict(outcome("test_a"), outcome("b", "skipped")), 11.0)
    elif state == "nothing ran":
        watched.take(verdict(), 11.0)
    top = view.header(terminal, checkout, watched, 0, 1)
    bottom = view.footer(terminal, watched, "", "fork")
    lines = screen.frame(terminal, top, screen.verdict(terminal, "katas/tiny.py", watched, False), bottom)
    assert len(lines) == size[1]
    assert all(len(plain(line)) <= size[0] for line in lines)
    if size[1] >= 12:
        assert "q quit" in words(lines)


def test_a_window_with_one_free_line_shows_what_matters():
    """No empty line, and no word about more, in its place."""
    assert screen.frame(Paper(40, 3), ["top"], ["", "Solved", "next"], ["bottom"]) == ["top", "Solved", "bottom"]


def plain(line):
    from rich.text import Text

    return Text.from_ansi(line).plain


def test_a_lost_run_says_where_and_what_next(watched):
    """The next save runs again."""
    watched.take(JobDied(1, "crashed the interpreter (SIGSEGV)", "test_a"), 11.0)
    said = words(screen.verdict(Paper(), "katas/tiny.py", watched, False))
    assert "The run crashed the interpreter (SIGSEGV), in test_a." in said
    assert "the next save runs again" in said


def test_a_message_with_control_characters_stays_where_it_is(watched):
    """A kata that puts terminal sequences into an exception."""
    watched.take(verdict(outcome("test_a", "failed", 1, "\x1b[2Jgone\x07")), 11.0)
    lines = screen.verdict(Paper(), "katas/tiny.py", watched, False)
    assert "\x1b[2J" not in "".join(lines)
    assert "[2Jgone" in words(lines)


def test_the_cold_way_is_said(watched):
    """Where fork is unsafe every save takes seconds, and the person should know why."""
    watched.take(verdict(outcome("a")), 11.0)
    assert "a cold start for each save, fork being unsafe here" in words(view.footer(Paper(), watched, "", "spawn"))


def test_the_list_marks_the_chosen_kata(catalog):
    """With where one stands."""
    standing = {"tiny": Progress("started", 3, 6, (1,))}
    (line,) = view.katas(Paper(), catalog, standing, 0)
    assert "▸ ◐ tiny" in line
    assert "■□ 3 of 6 tests" in line


# where one was


def test_it_begins_where_someone_left_off(checkout, catalog):
    """The kata run last; after it is solved the next that is not; the first of all for whoever is new."""
    for name in ("second", "third"):
        checkouts.add_kata(checkout, name)
    from dojo.core.catalog import load_catalog

    catalog = load_catalog(checkout)
    assert first_kata(checkout, catalog) == "tiny"
    record_run(checkout, [Outcome("a", "second", 1, "failed")], {"second": 1})
    assert first_kata(checkout, catalog) == "second"
    record_run(checkout, [Outcome("a", "second", 1, "passed")], {"second": 1}, how="watch")
    assert first_kata(checkout, catalog) == "third"
    record_run(checkout, [Outcome("a", "third", 1, "passed")], {"third": 1})
    assert first_kata(checkout, catalog) == "tiny"
    record_run(checkout, [Outcome("a", "tiny", 1, "passed")], {"tiny": 1})
    assert first_kata(checkout, catalog) == "tiny"


def test_a_history_that_cannot_be_read_begins_at_the_first(checkout, catalog):
    """Practice goes on."""
    checkout.state.write_text("no folder")
    assert first_kata(checkout, catalog) == "tiny"


# the measurement


def test_percentiles_and_rows():
    """Medians, and what 95 of 100 do not exceed; all katas together in the last row."""
    assert percentile([float(n) for n in range(1, 101)], 0.95) == 95
    assert percentile([5.0], 0.95) == 5
    one = Latency("one", [10.0, 20.0, 30.0], [20.0, 40.0, 60.0], [400.0])
    assert rows([one]) == [("one", "20", "30", "40", "60", "400", "10x")]
    assert [row[0] for row in rows([one, one])] == ["one", "one", "all"]


def test_a_job_travels(tmp_path):
    """It is sent to another process."""
    import pickle

    job = Job(1, "tiny", tmp_path, stage=2)
    assert pickle.loads(pickle.dumps(job)) == job
