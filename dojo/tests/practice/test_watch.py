"""What `kata watch` shows, which saves it runs, and which keys it has; without a terminal or a process."""

import io
import os
import re
import sys
import time
from types import SimpleNamespace

import pytest
from rich.cells import cell_len
from rich.console import Console

from dojo.authoring.bench.watch_latency import Latency, percentile, rows
from dojo.core.catalog import load_catalog
from dojo.core.language import say
from dojo.core.outcome import Diagnosis, Outcome
from dojo.engine.file_watcher import FileWatcher, Fingerprints
from dojo.engine.messages import Comparing, Diagnosed, FirstFailure, Job, JobDied, Ready, Running, Verdict
from dojo.practice import actions, screen
from dojo.practice.keys import KEY_NAMES, KeyReader, TypingGuard, keys_in
from dojo.practice.live_run import LiveRun
from dojo.practice.pages import ListPage
from dojo.practice.terminal import Terminal
from dojo.practice.watch import view
from dojo.practice.watch.app import WatchApp, first_kata
from dojo.progress.runs import Progress
from dojo.tests import checkouts

WAIT_S = 60.0


# the run on the screen


def outcome(test, verdict="passed", stage=1, message=""):
    return Outcome(test, "tiny", stage, verdict, message)


def verdict(*outcomes, number=1):
    return Verdict(number, outcomes, {"tiny": len(outcomes)}, "digest", 0.1)


@pytest.fixture
def live_run(catalog):
    """A run of `tiny` that has just been started."""
    run = LiveRun(catalog["tiny"])
    run.start(1, now=10.0)
    return run


def test_the_first_failure_is_shown_before_the_verdict(live_run):
    """The milliseconds are counted until then."""
    assert live_run.apply(Running(1, "test_a", 0, 2), 10.1)
    assert live_run.apply(FirstFailure(1, outcome("test_b", "failed", 2, "wrong")), 10.2)
    assert live_run.failure.test == "test_b"
    assert live_run.waiting
    live_run.apply(verdict(outcome("test_a", "failed", 1, "wrong too"), outcome("test_b", "failed", 2, "wrong")), 10.5)
    assert live_run.failure.test == "test_a"  # the lowest stage comes first
    assert live_run.milliseconds == pytest.approx(200)
    live_run.apply(Comparing(1, 75), 10.55)
    assert live_run.comparing == 75
    live_run.apply(Diagnosed(1, (Diagnosis("name", "clause", True),)), 10.6)
    assert live_run.comparing == 0
    assert live_run.diagnoses == (Diagnosis("name", "clause", True),)


@pytest.mark.parametrize(
    "message",
    [verdict(outcome("a"), number=0), Running(0, "a", 0, 1), Diagnosed(0, ()), JobDied(7, "hung"), Ready("fork")],
)
def test_a_message_about_another_job_is_ignored(live_run, message):
    """A verdict on an older text would mislead."""
    assert not live_run.apply(message, 11.0)
    assert live_run.waiting
    assert live_run.verdict is live_run.died is None


def test_solved_is_a_verdict_without_failures(live_run):
    """Every test passed that was not skipped, and at least one did."""
    assert not live_run.solved
    live_run.apply(verdict(outcome("a"), outcome("b", "skipped")), 11.0)
    assert live_run.solved
    live_run.apply(JobDied(1, "hung"), 11.0)
    assert not live_run.solved
    live_run.apply(verdict(outcome("b", "skipped")), 11.0)
    assert not live_run.solved


def test_stages_and_what_is_unwritten(live_run):
    """Each of the stub's sentences once; tests counted by stage, without the skipped ones."""
    live_run.apply(
        verdict(
            outcome("a"),
            outcome("b", "not started", 2, "tiny.shift: write me"),
            outcome("c", "not started", 2, "tiny.shift: write me"),
            outcome("d", "skipped", 2),
        ),
        11.0,
    )
    assert live_run.stages() == [(1, 1, 1), (2, 0, 2)]
    assert live_run.unwritten == ["tiny.shift: write me"]
    assert live_run.failure is None


# saves


@pytest.fixture
def folder(tmp_path):
    """A folder with two files."""
    katas = tmp_path.resolve() / "katas"
    katas.mkdir()
    for name in ("one", "two"):
        (katas / f"{name}.py").write_text(f"# {name}\n")
    return katas


@pytest.fixture
def changes(folder):
    """A function that returns which files of `folder` have changed, once those that it is given have."""
    contents, watching = Fingerprints(folder), FileWatcher(folder)
    end = time.monotonic() + WAIT_S
    while not watching.connection.poll(0.05) and time.monotonic() < end:  # until the watch is set up
        (folder / "probe.py").write_text(str(time.monotonic()))
    contents.changed({"probe"})
    yield lambda *expected: collect_changes(watching, contents, set(expected))
    watching.close()


def collect_changes(watching, contents, expected):
    """The files that changed until all of `expected` had; without `expected`, those that change in 0.4 s."""
    changed, end = [], time.monotonic() + (WAIT_S if expected else 0.4)
    while time.monotonic() < end and not (expected and expected <= set(changed)):
        if watching.connection.poll(0.05):
            changed += [name for name in contents.changed(watching.connection.recv()) if name != "probe"]
    return changed


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
def test_every_way_in_which_editors_save_is_one_change(folder, changes, way):
    """Reported once, and never with half of the file."""
    way(folder / "one.py", "# something else\n")
    assert changes("one") == ["one"]
    assert changes() == []


def test_a_save_without_a_change_is_not_reported(folder, changes):
    """Touching a file, saving the same text, swap files, other files."""
    (folder / "one.py").touch()
    (folder / "two.py").write_text("# two\n")
    (folder / ".one.py.swp").write_text("x")
    (folder / "one.py~").write_text("x")
    (folder / "#one.py#").write_text("x")
    (folder / "notes.txt").write_text("x")
    os.symlink("somebody@here.1234", folder / ".#one.py")  # emacs' lock
    assert changes() == []


def test_save_all_reports_every_file(folder, changes):
    """Several at once."""
    for name in ("one", "two"):
        (folder / f"{name}.py").write_text("# else\n")
    assert sorted(changes("one", "two")) == ["one", "two"]


def test_two_saves_in_50_ms_end_with_the_second(folder, changes):
    """The text that is remembered is the one in the file."""
    (folder / "one.py").write_text("# first\n")
    time.sleep(0.03)
    (folder / "one.py").write_text("# second\n")
    first = changes("one")
    assert set(first + changes()) == {"one"}
    (folder / "one.py").write_text("# second\n")
    assert changes() == []


def test_an_emptied_or_deleted_file_waits_until_it_has_settled(folder):
    """An editor that has emptied it may be about to write."""
    contents = Fingerprints(folder)
    (folder / "one.py").write_text("")
    assert contents.changed({"one"}) == []
    assert contents.changed({"one"}, settled=True) == ["one"]
    (folder / "two.py").unlink()
    assert contents.changed({"two"}, settled=True) == []
    (folder / "two.py").write_text("# two\n")
    assert contents.changed({"two"}) == ["two"]  # the same text, but the file was deleted between


def test_a_save_through_a_link_is_a_save(folder, tmp_path, request):
    """Some keep their answers in another folder, and put links to them into katas/."""
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "three.py").write_text("# three\n")
    (folder / "three.py").symlink_to(answers / "three.py")
    changes = request.getfixturevalue("changes")
    in_place(answers / "three.py", "# else\n")
    assert changes("three") == ["three"]
    by_renaming(answers / "three.py", "# again\n")
    assert changes("three") == ["three"]


def test_saves_are_seen_without_the_systems_reports(folder, request, monkeypatch):
    """Where no inotify instance is free, or the folder is a network folder: nothing but the files is asked."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    changes = request.getfixturevalue("changes")
    in_place(folder / "one.py", "# else\n")
    assert changes("one") == ["one"]


def test_a_folder_that_is_replaced_is_seen(folder, changes):
    """`git stash` and `git checkout` may delete katas/ and make it again."""
    folder.rename(folder.with_name("before"))
    folder.mkdir()
    in_place(folder / "one.py", "# else\n")
    assert changes("one") == ["one"]


def test_two_saves_within_a_coarse_second_are_two(folder, changes, monkeypatch):
    """Some file systems keep whole seconds; both texts have the same length."""
    real = os.stat

    def coarse(path, *arguments, **options):
        status = real(path, *arguments, **options)
        fields = {name: getattr(status, name) for name in dir(status) if name.startswith("st_")}
        return SimpleNamespace(**{**fields, "st_mtime_ns": 5 * 10**9, "st_ctime_ns": 5 * 10**9})

    monkeypatch.setattr(os, "stat", coarse)
    in_place(folder / "one.py", "# 111\n")
    assert changes("one") == ["one"]
    in_place(folder / "one.py", "# 222\n")
    assert changes("one") == ["one"]


def test_the_file_watcher_ends_at_once(folder):
    """Leaving `kata watch` does not wait for it."""
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
        ("\x1b[H\x1b[F\x1b[1~\x1b[4~\x1bOH\x1bOF", ["home", "end"] * 3),
        ("\x1b", ["escape"]),
        ("\x1b\x1b[A", ["escape", "up"]),
        ("\x1b[C\x1b[3~\x1b[1;5D\x1bOP\x1bq", []),  # right, delete, Ctrl-left, F1, Alt-q: no keys of this program
        ("é\n", ["é", "enter"]),
        ("", []),
    ],
)
def test_keys_in_what_a_terminal_sends(sent, keys):
    """Several may arrive at once; unknown sequences are left out."""
    assert keys_in(sent) == keys


@pytest.mark.parametrize(
    ("parts", "keys"),
    [
        (["\x1b[200~n\x1b[201~"], []),
        (["s\x1b[200~y\x1b[201~q"], ["s", "q"]),
        (["\x1b[200~a\x1b[201~\x1b[200~s\x1b[201~q"], ["q"]),
        (["\x1b[200~sy", "sy\x1b[2", "01~q"], ["q"]),  # in several parts
        (["\x1b[200~sy", "sy\x1b[201", "sy\x1b[201~", "q"], ["q"]),
        (["result"], []),  # a terminal that does not mark what is pasted
        (["result", "sy"], []),  # the end of it
        (["\x1b[B\x1b[B\x1b[B\x1b[B\x1b[B"], ["down"] * 5),  # an arrow that is held down
        (["jjj"], ["j"] * 3),
    ],
)
def test_pasted_text_is_no_key(parts, keys):
    """Whatever it holds, and however it arrives."""
    reader = KeyReader()
    read = [reader.keys(part, 10 + number / 100) for number, part in enumerate(parts)]
    assert [key for part in read for key in part] == keys


def test_after_a_paste_keys_are_keys_again():
    """Also if the terminal never marks its end."""
    reader = KeyReader()
    assert reader.keys("result = 5", 10.0) == []
    assert reader.keys("q", 10.2) == ["q"]
    assert reader.keys("\x1b[200~sy", 11.0) == []
    assert reader.keys("q", 11.5) == []
    assert reader.keys("q", 13.0) == ["q"]


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        ([(0.0, "n")], ["n"]),  # alone
        ([(0.0, "k"), (0.2, "a"), (0.3, "t"), (0.5, "a"), (0.7, "space"), (1.1, "l"), (1.5, "s"), (1.6, "enter")], []),
        ([(0.0, "l"), (0.0, "s"), (0.0, "enter"), (2.0, "n")], ["n"]),  # a word, and then a key
        ([(0.0, "d"), (2.0, "d"), (2.1, "n")], ["d", "d", "n"]),  # after the first key letters are keys at once
        ([(0.0, "q"), (0.1, "q")], ["q"]),  # pressed on by somebody who wants to get out
        ([(0.0, "q"), (0.1, "u"), (0.2, "i"), (0.3, "t"), (0.4, "enter")], []),
        ([(0.0, "s"), (0.1, "s"), (0.2, "h"), (0.3, "space"), (0.4, "n")], []),
        ([(0.0, "up"), (0.1, "down"), (0.2, "n")], ["up", "down", "n"]),  # no text
        ([(0.0, "e"), (0.3, "x"), (0.6, "i"), (0.9, "t"), (1.2, "enter"), (5.0, "d"), (5.1, "u"), (5.2, "e")], []),
    ],
)
def test_a_word_typed_after_a_page_was_left_is_no_key(typed, keys):
    """It is meant for the shell, by somebody who has quit a program with q."""
    guard, done = TypingGuard(), []
    guard.begin()
    for now, key in [*typed, (100.0, "")]:
        done += [released] if (released := guard.released(now)) else []
        done += [key] if key and not guard.stops(key, now) else []
    assert done == keys


def test_every_key_on_the_screen_does_something():
    """None has the name of a special key."""
    assert all(hasattr(WatchApp, f"key_{key}") for key in view.KEYS)
    assert not set(view.KEYS) & set(KEY_NAMES)


# the screen


class Paper(Terminal):
    """A terminal of a given size without keys."""

    def __init__(self, columns=80, rows=24):
        self.console = Console(
            file=io.StringIO(), force_terminal=True, width=columns, height=rows, color_system=None, _environ={}
        )


def words(lines):
    return " ".join(" ".join(lines).split())


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 12), (20, 5), (300, 100)])
@pytest.mark.parametrize("state", ["begun", "failed", "died", "unwritten", "solved", "nothing ran"])
def test_the_screen_is_full_and_never_wider_than_the_window(live_run, checkout, size, state):
    """In every state of a run."""
    terminal = Paper(*size)
    long = "a sentence that is longer than the window is wide, " * 20
    if state == "failed":
        live_run.apply(verdict(outcome("test_a", "failed", 1, f"{long}\nhint: {long}")), 11.0)
        live_run.apply(Diagnosed(1, (Diagnosis("name", long, True),)), 11.0)
    elif state == "died":
        live_run.apply(JobDied(1, "was still running after 20 s", "test_a"), 11.0)
    elif state == "unwritten":
        live_run.apply(verdict(outcome("test_a", "not started", 1, "tiny.double: write me")), 11.0)
    elif state == "solved":
        live_run.apply(verdict(outcome("test_a"), outcome("b", "skipped")), 11.0)
    elif state == "nothing ran":
        live_run.apply(verdict(), 11.0)
    top = view.header(terminal, checkout, live_run, 0, 1)
    bottom = view.footer(terminal, live_run, [], "fork")
    lines = screen.frame(terminal, top, screen.verdict(terminal, "answers/tiny.py", live_run, False), bottom)
    assert len(lines) == size[1]
    assert all(len(plain(line)) <= size[0] for line in lines)
    if size[1] >= 12:
        assert "q quit" in words(lines)


@pytest.mark.parametrize("state", ["failed", "died", "unwritten", "solved", "nothing ran"])
def test_in_chinese_the_screen_has_no_english_words_and_fits(live_run, checkout, monkeypatch, state):
    """Two columns a character; what stays are names, commands and what the kata itself says."""
    monkeypatch.setenv("KATA_LANG", "zh")
    wide = "\u4e24\u4e2a\u51fd\u6570\uff0c" * 20
    if state == "failed":
        live_run.apply(verdict(outcome("test_a", "failed", 1, wide), outcome("test_a", "failed", 1, wide)), 11.0)
        live_run.apply(Diagnosed(1, (Diagnosis("name", wide, True),)), 11.0)
    elif state == "died":
        live_run.apply(JobDied(1, say("used up its computing time"), "test_a"), 11.0)
    elif state == "unwritten":
        live_run.apply(verdict(outcome("test_a", "not started", 1, wide)), 11.0)
    elif state == "solved":
        live_run.apply(verdict(outcome("test_a"), outcome("test_a", "skipped")), 11.0)
    else:
        live_run.apply(verdict(), 11.0)
    terminal = Paper()
    top = view.header(terminal, checkout, live_run, 0, 1)
    bottom = view.footer(terminal, live_run, [], "fork")
    body = screen.verdict(terminal, "answers/tiny.py", live_run, False, "f")
    lines = [plain(line) for line in screen.frame(terminal, top, body, bottom)]
    assert all(cell_len(line) <= 80 for line in lines)
    kata = live_run.kata
    shown = " ".join(lines[1:]).replace(" ".join(kata.question.split()), "")
    known = {"answers", "tiny", "test_a", "torch", "kata", "test", "GPU"}
    assert set(re.findall("[A-Za-z_]{3,}", shown)) <= known
    if state == "failed":  # "Your result is exactly what you get when ..."
        assert "\u4f60\u7684\u7ed3\u679c" in shown


def test_a_window_with_one_free_line_shows_the_first_sentence():
    """Neither an empty line nor "... more" takes its place."""
    assert screen.frame(Paper(40, 3), ["top"], ["", "Solved", "next"], ["bottom"]) == ["top", "Solved", "bottom"]


def plain(line):
    from rich.text import Text

    return Text.from_ansi(line).plain


def test_a_run_that_died_says_where_and_what_next(live_run):
    """The next save runs again."""
    live_run.apply(JobDied(1, "crashed the interpreter (SIGSEGV)", "test_a"), 11.0)
    text = words(screen.verdict(Paper(), "answers/tiny.py", live_run, False))
    assert "The run crashed the interpreter (SIGSEGV), in test_a." in text
    assert "the next save runs again" in text


def test_a_message_with_control_characters_stays_where_it_is(live_run):
    """A kata may put terminal sequences into an exception."""
    live_run.apply(verdict(outcome("test_a", "failed", 1, "\x1b[2Jgone\x07")), 11.0)
    lines = screen.verdict(Paper(), "answers/tiny.py", live_run, False)
    assert "\x1b[2J" not in "".join(lines)
    assert "[2Jgone" in words(lines)


def test_a_cold_start_is_explained(live_run):
    """Where fork is unsafe every save takes seconds, and the screen says why."""
    live_run.apply(verdict(outcome("a")), 11.0)
    assert "torch is loaded for each save, fork being unsafe here" in words(view.footer(Paper(), live_run, [], "spawn"))


def test_the_list_marks_the_chosen_kata(catalog):
    """With the progress in each kata."""
    standing = {"tiny": Progress("started", 3, 6, (1,))}
    (line,) = ListPage(lambda: view.katas(Paper(), catalog, standing)).lines(80)
    assert "▸ ◐ tiny" in line
    assert "■□ 3 of 6 tests" in line


# where practice goes on


def test_it_begins_where_practice_stopped(checkout, catalog):
    """The kata run last; once that is solved, the next one that is not; without a history, the first of all."""
    for name in ("second", "third"):
        checkouts.add_kata(checkout, name)
    catalog = load_catalog(checkout)
    assert first_kata(checkout, catalog) == "tiny"
    checkouts.record(checkout, "second", "failed")
    assert first_kata(checkout, catalog) == "second"
    checkouts.record(checkout, "second", "passed", how="watch")
    assert first_kata(checkout, catalog) == "third"
    checkouts.record(checkout, "third", "passed")
    assert first_kata(checkout, catalog) == "tiny"
    checkouts.record(checkout, "tiny", "passed")
    assert first_kata(checkout, catalog) == "tiny"


def test_it_goes_on_with_a_kata_that_is_taken_again(checkout):
    """A kata stays solved while it is being solved again; practice stays with it all the same."""
    checkouts.add_kata(checkout, "second")
    catalog = load_catalog(checkout)
    checkouts.solve(checkout)
    checkouts.record(checkout, "tiny", "passed")
    assert first_kata(checkout, catalog) == "second"
    actions.reset(checkout, catalog["tiny"], print)
    assert first_kata(checkout, catalog) == "tiny"


def test_a_history_that_cannot_be_read_begins_at_the_first(checkout, catalog):
    """The error stops nothing."""
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
    """It is pickled on its way to another process."""
    import pickle

    job = Job(1, "tiny", tmp_path, stage=2)
    assert pickle.loads(pickle.dumps(job)) == job
