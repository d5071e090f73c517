"""Tasks in forked children: whatever becomes of a child, the parent gets an answer and nothing is left over."""

import faulthandler
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from dojo.engine.pool import TaskDied, run_forked
from dojo.tests.checkouts import REPOSITORY, heed_ctrl_c

# These tests fork at once: no torch work with several threads may come before them (conftest.py sees to it).


def answers(*tasks, jobs=2, seconds=20.0):
    return [answer for _, answer in sorted(run_forked(tasks, jobs=jobs, seconds=seconds), key=lambda pair: pair[0])]


def alive(pid):
    """Whether a process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(pid, within=30.0):
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def wait_for(file, within=60.0):
    end = time.monotonic() + within
    while not file.exists() and time.monotonic() < end:
        time.sleep(0.01)
    return int(file.read_text())


def crash(number):
    faulthandler.disable()  # pytest's would fill the screen
    os.kill(os.getpid(), number)


def hang():
    while True:
        time.sleep(1)


def test_results_come_back_with_their_index():
    """In the order in which they end, each saying whose it is."""
    found = dict(run_forked([partial(int, n) for n in "123"], jobs=2, seconds=20))
    assert found == {0: 1, 1: 2, 2: 3}


def test_no_tasks_is_no_work():
    """A kata without mutants."""
    assert answers() == []


def test_a_childs_changes_stay_its_own():
    """Each trial imports another kata under the same name."""

    def change():
        os.environ["KATA_TEST_FORK"] = "changed"
        os.chdir("/")
        return os.getcwd()

    before = os.getcwd()
    assert answers(change) == ["/"]
    assert os.getcwd() == before
    assert "KATA_TEST_FORK" not in os.environ


def test_an_exception_is_an_answer():
    """With its class and sentence."""
    assert answers(partial(int, "x"), partial(int, "5")) == [
        TaskDied("ValueError: invalid literal for int() with base 10: 'x'"),
        5,
    ]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("now")], ids=["exit", "interrupt"])
def test_exits_and_interrupts_are_answers_too(error):
    """A mutant that calls sys.exit() is dead like any other."""

    def task():
        raise error

    assert answers(task) == [TaskDied(f"{type(error).__name__}: {error}")]


def test_a_result_that_cannot_travel_is_an_answer():
    """Not a wait for ever."""
    (answer,) = answers(lambda: lambda: 1)
    assert isinstance(answer, TaskDied)


def test_a_hanging_child_is_stopped_at_its_time():
    """An endless loop costs `seconds`, and the others go on meanwhile."""
    assert answers(hang, partial(int, "1"), partial(int, "2"), seconds=1.5) == [TaskDied("timed out after 1.5 s"), 1, 2]


def test_a_child_that_ignores_signals_is_stopped_too():
    """Python loops that swallow every exception, or a handler of its own."""

    def stubborn():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        hang()

    assert answers(stubborn, seconds=0.3) == [TaskDied("timed out after 0.3 s")]


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGKILL, signal.SIGABRT], ids=lambda n: n.name)
def test_a_crash_is_an_answer_that_names_the_signal(number):
    """A wrong stride or an exhausted memory ends the child, not the proof."""
    assert answers(partial(crash, number), partial(int, "7")) == [TaskDied(f"killed by {number.name}"), 7]


@pytest.mark.parametrize("code", [0, 7])
def test_a_child_that_ends_without_a_result_has_failed(code):
    """`os._exit(0)` is no success."""
    assert answers(lambda: os._exit(code)) == [TaskDied(f"exited with {code} and no result")]


@pytest.mark.parametrize("end", ["returns", "exits", "crashes", "hangs"])
def test_what_a_child_has_started_ends_with_it(tmp_path, end):
    """A grandchild that outlives its parent would slow everything that is measured later."""
    file = tmp_path / "pid"

    def task():
        grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        (tmp_path / "tmp").write_text(str(grandchild.pid))
        (tmp_path / "tmp").rename(file)
        if end == "exits":
            os._exit(0)
        if end == "crashes":
            crash(signal.SIGSEGV)
        if end == "hangs":
            hang()

    answers(task, seconds=2 if end == "hangs" else 20)
    assert gone(int(file.read_text()))


def test_a_forked_grandchild_that_holds_the_pipe_ends_with_its_parent(tmp_path):
    """It inherits the pipe, so the parent cannot wait for the pipe to close; its time still comes."""
    file = tmp_path / "pid"

    def task():
        if pid := os.fork():
            file.write_text(str(pid))
            os._exit(0)
        hang()

    (answer,) = answers(task, seconds=2)
    assert isinstance(answer, TaskDied)
    assert gone(int(file.read_text()))


def test_a_big_result_arrives_whole():
    """Larger than any pipe's buffer, from several children at once."""
    found = answers(*[lambda: b"x" * 30_000_000] * 3, jobs=3)
    assert [len(answer) for answer in found] == [30_000_000] * 3


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_than_jobs_run_at_once(tmp_path, jobs):
    """Each holds a file while it runs, and counts the files it sees."""

    def task():
        mine = tmp_path / str(os.getpid())
        mine.touch()
        time.sleep(0.05)
        seen = len(list(tmp_path.iterdir()))
        mine.unlink()
        return seen

    assert max(answers(*[task] * 7, jobs=jobs)) <= jobs


def test_who_stops_listening_stops_the_children(tmp_path):
    """A generator that is closed early, as by an exception in the loop over it."""
    file = tmp_path / "pid"

    def task():
        file.write_text(str(os.getpid()))
        hang()

    run = run_forked([partial(int, "1"), task, hang], jobs=2, seconds=60)
    assert next(run) == (0, 1)
    pid = wait_for(file)
    run.close()
    assert gone(pid)


def test_ctrl_c_leaves_no_children(tmp_path):
    """Someone who gives up on `kata dev verify` gets the machine back at once."""
    program = f"""
import os, pathlib, time
from dojo.engine.pool import run_forked

def task(name):
    pathlib.Path({str(tmp_path)!r}, name + ".tmp").write_text(str(os.getpid()))
    pathlib.Path({str(tmp_path)!r}, name + ".tmp").rename(pathlib.Path({str(tmp_path)!r}, name))
    time.sleep(60)

list(run_forked([lambda: task("a"), lambda: task("b")], jobs=2, seconds=60))
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
        stderr=subprocess.DEVNULL,
    )
    pids = [wait_for(tmp_path / name) for name in "ab"]
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(timeout=60) != 0
    assert all(map(gone, pids))
