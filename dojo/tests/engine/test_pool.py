"""Tasks in forked children: however a child ends, the parent gets a result or TaskDied, and no process is left behind."""

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
from dojo.tests.checkouts import REPOSITORY, heed_ctrl_c, wait_for_pid

# These tests fork without preload(). dojo/tests/conftest.py makes sure that torch has used one thread only.


def answers(*tasks, jobs=2, seconds=20.0):
    return [answer for _, answer in sorted(run_forked(tasks, jobs=jobs, seconds=seconds), key=lambda pair: pair[0])]


def alive(pid):
    """Whether a process still runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def has_ended(pid, within=30.0):
    """Waits for the process to end; False if it does not."""
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


def crash(number):
    faulthandler.disable()  # pytest's would fill the screen
    os.kill(os.getpid(), number)


def hang():
    while True:
        time.sleep(1)


def test_results_come_back_with_their_index():
    """They come in the order in which the tasks end."""
    results = dict(run_forked([partial(int, n) for n in "123"], jobs=2, seconds=20))
    assert results == {0: 1, 1: 2, 2: 3}


def test_no_tasks_give_no_results():
    """A kata without mutants."""
    assert answers() == []


def test_changes_of_a_child_do_not_reach_the_parent():
    """Each trial imports another kata under the same name."""

    def change():
        os.environ["KATA_TEST_FORK"] = "changed"
        os.chdir("/")
        return os.getcwd()

    before = os.getcwd()
    assert answers(change) == ["/"]
    assert os.getcwd() == before
    assert "KATA_TEST_FORK" not in os.environ


def test_an_exception_is_a_task_that_died():
    """With its class and message."""
    assert answers(partial(int, "x"), partial(int, "5")) == [
        TaskDied("ValueError: invalid literal for int() with base 10: 'x'"),
        5,
    ]


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("now")], ids=["exit", "interrupt"])
def test_exits_and_interrupts_are_tasks_that_died(error):
    """A mutant that calls sys.exit() is killed like any other."""

    def task():
        raise error

    assert answers(task) == [TaskDied(f"{type(error).__name__}: {error}")]


def test_a_result_that_cannot_be_pickled_is_a_task_that_died():
    """The parent does not wait for ever."""
    (answer,) = answers(lambda: lambda: 1)
    assert isinstance(answer, TaskDied)


def test_a_hanging_child_is_stopped_at_its_time():
    """An endless loop takes `seconds`, and the other tasks go on meanwhile."""
    assert answers(hang, partial(int, "1"), partial(int, "2"), seconds=1.5) == [TaskDied("timed out after 1.5 s"), 1, 2]


def test_a_child_that_ignores_signals_is_stopped_too():
    """SIGKILL cannot be ignored."""

    def stubborn():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        hang()

    assert answers(stubborn, seconds=0.3) == [TaskDied("timed out after 0.3 s")]


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "SIGKILL"), (40, "signal 40")]
)
def test_a_crash_is_reported_with_its_signal(number, name):
    """A wrong stride or exhausted memory ends the child, and the proof goes on."""
    assert answers(partial(crash, number), partial(int, "7")) == [TaskDied(f"killed by {name}"), 7]


@pytest.mark.parametrize("code", [0, 7])
def test_a_child_that_ends_without_a_result_died(code):
    """Also after `os._exit(0)`."""
    assert answers(lambda: os._exit(code)) == [TaskDied(f"exited with {code} and no result")]


@pytest.mark.parametrize("end", ["returns", "exits", "crashes", "hangs"])
def test_processes_that_a_child_has_started_end_with_it(tmp_path, end):
    """A grandchild that goes on would slow everything that is measured later."""
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
    assert has_ended(int(file.read_text()))


def test_a_forked_grandchild_that_holds_the_pipe_ends_with_its_parent(tmp_path):
    """It inherits the pipe, which therefore does not close; the time limit ends both."""
    file = tmp_path / "pid"

    def task():
        if pid := os.fork():
            file.write_text(str(pid))
            os._exit(0)
        hang()

    (answer,) = answers(task, seconds=2)
    assert isinstance(answer, TaskDied)
    assert has_ended(int(file.read_text()))


def test_a_big_result_arrives_whole():
    """Larger than any pipe's buffer, from several children at once."""
    results = answers(*[lambda: b"x" * 30_000_000] * 3, jobs=3)
    assert [len(answer) for answer in results] == [30_000_000] * 3


@pytest.mark.parametrize("jobs", [1, 3])
def test_no_more_than_jobs_run_at_once(tmp_path, jobs):
    """Each task has a file while it runs, and counts the files."""

    def task():
        mine = tmp_path / str(os.getpid())
        mine.touch()
        time.sleep(0.05)
        running = len(list(tmp_path.iterdir()))
        mine.unlink()
        return running

    assert max(answers(*[task] * 7, jobs=jobs)) <= jobs


def test_closing_the_generator_stops_the_children(tmp_path):
    """As an exception in the loop over it does."""
    file = tmp_path / "pid"

    def task():
        file.write_text(str(os.getpid()))
        hang()

    run = run_forked([partial(int, "1"), task, hang], jobs=2, seconds=60)
    assert next(run) == (0, 1)
    pid = wait_for_pid(file)
    run.close()
    assert has_ended(pid)


def test_ctrl_c_leaves_no_children(tmp_path):
    """`kata dev verify` can be stopped at once."""
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
    pids = [wait_for_pid(tmp_path / name) for name in "ab"]
    os.killpg(parent.pid, signal.SIGINT)
    assert parent.wait(timeout=60) != 0
    assert all(map(has_ended, pids))


def test_ctrl_c_in_the_moment_of_a_start_leaves_no_child(tmp_path):
    """The child runs already, and is not yet one of those that the pool knows to be running."""
    program = f"""
import multiprocessing, os, pathlib, signal, time
from dojo.engine.pool import run_forked

file = pathlib.Path({str(tmp_path / "pid")!r})
start = multiprocessing.context.ForkProcess.start

def start_and_interrupt(process):
    start(process)
    file.write_text(str(process.pid))
    os.kill(os.getpid(), signal.SIGINT)

multiprocessing.context.ForkProcess.start = start_and_interrupt
list(run_forked([lambda: time.sleep(60)], jobs=1, seconds=60))
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environment, preexec_fn=heed_ctrl_c, stderr=subprocess.DEVNULL, timeout=60)
    assert ended.returncode != 0
    assert has_ended(wait_for_pid(tmp_path / "pid"))
