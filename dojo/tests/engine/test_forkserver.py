"""The fork server: whatever a kata does, it sends a verdict or JobDied, runs the next job, and leaves no process behind."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dojo.core.outcome import MAX_MESSAGE_CHARS, Diagnosis
from dojo.engine import processes
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Comparing, Diagnosed, FirstFailure, Job, JobDied, Ready, Running, Verdict
from dojo.tests import checkouts

NUMBERS = iter(range(1, 10_000))
HANG_S = 120.0  # a test that waits so long fails
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and prctl")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One checkout for the module; each test saves its kata in a folder of its own."""
    checkout = checkouts.make_checkout(tmp_path_factory.mktemp("forkserver") / "checkout")
    checkouts.add_kata(checkout)
    return checkout


@pytest.fixture(scope="module")
def server(home):
    """One fork server for the module: it has to survive every test."""
    with ForkServer(home) as forkserver:
        yield forkserver


@pytest.fixture
def run(server, home, tmp_path):
    """Runs a tiny kata and returns the messages about it. After the test the next job has to work."""

    def runs(source, **job):
        return run_in(server, home, tmp_path, source, **job)

    yield runs
    (verdict,) = [m for m in runs(checkouts.SOLUTION) if isinstance(m, Verdict)]
    assert verdict.all_passed, "the job after it"


def run_in(forkserver, home, folder, source, **job):
    (folder / "tiny.py").write_text(source)
    number = next(NUMBERS)
    forkserver.submit(Job(number, "tiny", folder, **job))
    return answers(forkserver, number)


def answers(forkserver, number, within=HANG_S):
    """All messages about one job: up to its verdict, or up to the diagnoses if some test failed."""
    messages, end = [], time.monotonic() + within
    while time.monotonic() < end:
        for message in forkserver.messages(0.5):
            if isinstance(message, Ready) or message.number != number:
                continue
            messages.append(message)
            if isinstance(message, JobDied | Diagnosed):
                return messages
            if isinstance(message, Verdict) and not any(o.verdict == "failed" for o in message.outcomes):
                return messages
    raise AssertionError(f"no verdict, only {messages}")


def does(statements):
    """A tiny whose `double` runs some statements before it answers rightly."""
    lines = "".join(f"    {line}\n" for line in statements.strip().splitlines())
    return checkouts.SOLUTION.replace("    # kata: begin\n    if x < 0", f"    # kata: begin\n{lines}    if x < 0", 1)


def last(messages, kind):
    (message,) = [m for m in messages if isinstance(m, kind)]
    return message


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def has_ended(pid, within=HANG_S):
    """Waits for the process to end; False if it does not."""
    end = time.monotonic() + within
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.01)
    return not alive(pid)


# verdicts


def test_a_right_answer_passes(run):
    """Every test is announced, then the verdict comes, with the digest of what was tested."""
    messages = run(checkouts.SOLUTION)
    verdict = last(messages, Verdict)
    assert verdict.all_passed
    assert verdict.passed == len(verdict.counted) == len([m for m in messages if isinstance(m, Running)]) == 6
    assert verdict.expected == {"tiny": 6}
    assert len(verdict.source) == 16


def test_a_first_failure_comes_at_once_and_the_diagnosis_last(run):
    """The learner reads the failure while the other tests still run."""
    messages = run(checkouts.SOLUTION.replace("x * 2", "x * x"))
    kinds = [type(m) for m in messages if not isinstance(m, Running)]
    assert kinds == [FirstFailure, Verdict, Comparing, Diagnosed]
    assert last(messages, Comparing).mistakes == 2
    assert last(messages, FirstFailure).outcome.message.startswith("double(1)")
    assert last(messages, Diagnosed).diagnoses == (Diagnosis("squares", "x is multiplied by itself", True),)


@pytest.mark.parametrize("then", ["while True: pass", "os._exit(0)"])
def test_a_kata_that_dies_while_it_is_diagnosed_keeps_its_verdict(run, then):
    """It hangs on an input that only the probe has. The empty diagnosis is sent all the same: the run can be recorded."""
    source = does(f"import os\nif 'PYTEST_CURRENT_TEST' not in os.environ:\n    {then}").replace("x * 2", "x * x")
    messages = run(source, seconds=2)
    assert last(messages, Verdict).passed == 4
    assert last(messages, Diagnosed).diagnoses == ()


def test_an_untouched_file_is_not_started(run, home):
    """The stub's own sentences, and no failure."""
    verdict = last(run(home.answer("tiny").read_text()), Verdict)
    assert {o.verdict for o in verdict.outcomes} == {"not started"}
    assert not verdict.all_passed


def test_a_syntax_error_is_an_outcome_that_says_the_line(run):
    """Half-written code is saved all the time."""
    (outcome,) = last(run("def double(x:\n"), Verdict).outcomes
    assert outcome.verdict == "error"
    assert "line 1" in outcome.message


def test_a_conftest_that_was_edited_counts_at_once(run, home):
    """The worker that was forked ahead has read the old one."""
    conftest = home.tests("tiny") / "conftest.py"
    try:
        for test in ("test_shift_moves_up", "test_a_negative_number_is_an_error"):
            conftest.write_text(
                f"def pytest_collection_modifyitems(items):\n    items[:] = [i for i in items if i.name == {test!r}]\n"
            )
            assert [o.test for o in last(run(checkouts.SOLUTION), Verdict).outcomes] == [test]
            time.sleep(1)  # for the fork
    finally:
        conftest.unlink()


def test_what_a_shell_sets_for_pytest_is_left_out(home, tmp_path, monkeypatch):
    """Options of plugins that are not loaded here would break every run."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-n 2 --cov=katas")
    monkeypatch.setenv("PYTEST_PLUGINS", "no_such_plugin")
    with ForkServer(home) as forkserver:
        assert last(run_in(forkserver, home, tmp_path, checkouts.SOLUTION), Verdict).all_passed


def test_only_the_stages_asked_for_run(run):
    """A drill opens them one after another."""
    verdict = last(run(checkouts.SOLUTION, stage=1), Verdict)
    assert {o.stage for o in verdict.outcomes} == {1}
    assert verdict.all_passed


def test_a_newer_job_ends_the_running_one(server, home, tmp_path):
    """Two saves in a row: only the newer one is answered."""
    slow, quick = tmp_path / "slow", tmp_path / "quick"
    for folder, source in ((slow, does("import time\ntime.sleep(600)")), (quick, checkouts.SOLUTION)):
        folder.mkdir()
        (folder / "tiny.py").write_text(source)
    first, second = next(NUMBERS), next(NUMBERS)
    server.submit(Job(first, "tiny", slow, seconds=600))
    server.submit(Job(second, "tiny", quick))
    assert last(answers(server, second), Verdict).all_passed


def test_many_jobs_at_once_leave_the_last(server, home, tmp_path):
    """Someone who keeps the save key down."""
    (tmp_path / "tiny.py").write_text(checkouts.SOLUTION)
    numbers = [next(NUMBERS) for _ in range(20)]
    for number in numbers:
        server.submit(Job(number, "tiny", tmp_path))
    assert last(answers(server, numbers[-1]), Verdict).all_passed


# katas that misbehave: (the statements, part of JobDied.why)

DIES = {
    "hangs": ("while True: pass", "was still running after 1.5 s"),
    "hangs and takes no signal": (
        "import signal, time\nfor n in (1, 2, 3, 15): signal.signal(n, signal.SIG_IGN)\nwhile True: time.sleep(1)",
        "was still running after 1.5 s",
    ),
    "exits with 0": ("import os\nos._exit(0)", "ended the process (exit code 0)"),
    "exits with 3": ("import os\nos._exit(3)", "ended the process (exit code 3)"),
    "reads address 0": ("import ctypes\nctypes.string_at(0)", "crashed the interpreter (SIGSEGV)"),
    "aborts": ("import os\nos.abort()", "aborted the interpreter (SIGABRT)"),
    "is killed": ("import os\nos.kill(os.getpid(), 9)", "was killed (SIGKILL)"),
    "is ended by a signal without a name": ("import os\nos.kill(os.getpid(), 40)", "was ended by signal 40"),
    "is interrupted": ("raise KeyboardInterrupt", "ended after 0 of 6 tests: it was interrupted"),
    "ends pytest": ("import pytest\nif x == 1: pytest.exit('enough')", "ended after 1 of 6 tests: it was interrupted"),
    "breaks the standard library": ("import time\ntime.monotonic = None", "broke the test run itself (TypeError: "),
    "closes every file": ("import os\nos.closerange(0, 256)", "closed a file that is not its own"),
    "closes what is not its own": ("import os\nos.closerange(3, 256)", "closed a file that is not its own"),
    "writes garbage everywhere": (
        "import os\nfor n in range(3, 256):\n    try: os.write(n, b'garbage\\n' * 9)\n    except OSError: pass",
        "the trainer's pipe",
    ),
    "writes a short message that is none": (
        "import os\nfor n in range(3, 256):\n    try: os.write(n, b'\\0\\0\\0\\4abcd')\n    except OSError: pass",
        "the trainer's pipe",
    ),
    "writes half a message and hangs": (
        "import os\nfor n in range(3, 256):\n    try: os.write(n, b'\\0\\0\\1\\0abcd')\n    except OSError: pass\nwhile True: pass",
        "was still running after 1.5 s",
    ),
}


@pytest.mark.parametrize("case", DIES)
def test_a_kata_without_a_verdict_is_a_job_that_died(run, case):
    """With the reason, and the test that was running."""
    statements, why = DIES[case]
    died = last(run(does(statements), seconds=1.5 if "hangs" in case else 60), JobDied)
    assert why in died.why
    assert died.test.startswith("test_double_is_twice_as_much") or "broke the test run" in why


@pytest.mark.parametrize(
    "loop", ["while True: pass", "while True:\n    try:\n        while True: pass\n    except Exception: pass"]
)
def test_an_endless_loop_is_a_failed_test_that_names_the_line(run, loop):
    """The other tests are skipped, and nothing runs the code again for a diagnosis."""
    messages = run(does(loop), seconds=60, cpu_seconds=1.0)
    verdict = last(messages, Verdict)
    failed = [outcome for outcome in verdict.outcomes if outcome.verdict == "failed"]
    assert [outcome.test for outcome in failed] == ["test_double_is_twice_as_much[0]"]
    assert re.search(r"tiny\.py, line 1\d, was still running after 1 s of computing", failed[0].message)
    assert {outcome.verdict for outcome in verdict.outcomes} == {"failed", "skipped"}
    assert not verdict.all_passed


STILL_RIGHT = {
    "prints megabytes": "print('x' * 5_000_000)",
    "prints more than it may": "import sys\nfor _ in range(20):\n    try: print('x' * 5_000_000)\n    except OSError: pass",
    "forks and goes on twice": "import os\nos.fork()",
    "clears the environment": "import os\nos.environ.clear()",
    "changes the folder": "import os\nos.chdir('/')",
    "leaves threads running": "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()",
    "leaves a process": "import subprocess, sys\nsubprocess.Popen(['sleep', '600'])",
    "ignores Ctrl-C and hides its output": "import sys, io\nsys.stdout = sys.stderr = io.StringIO()",
    "leaves an exit handler": "import atexit, os\natexit.register(lambda: os._exit(7))",
}


@pytest.mark.parametrize("case", STILL_RIGHT)
def test_a_right_answer_with_side_effects_is_right(run, case):
    """None of them reaches the trainer."""
    assert last(run(does(STILL_RIGHT[case])), Verdict).all_passed


ERRORS = {
    "takes a big piece of memory": ("bytearray(1 << 40)", "MemoryError"),
    "takes memory until there is none": ("held = []\nwhile True: held.append(bytes(1 << 28))", "MemoryError"),
    "fills a file": (
        "open('/tmp/kata-forkserver-big', 'wb').write(bytes(1 << 27))",
        "printed or wrote more than 64 MiB",
    ),
    "exits": ("import sys\nsys.exit(3)", "SystemExit"),
    "has no end": ("return double(x)", "RecursionError"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_a_kata_that_exceeds_a_limit_fails_with_an_error(run, case, tmp_path):
    """A failure like any other, which is sent at once."""
    statements, error = ERRORS[case]
    messages = run(does(statements.replace("/tmp/kata-forkserver-big", str(tmp_path / "big"))))
    assert error in last(messages, FirstFailure).outcome.message
    assert isinstance(last(messages, Verdict), Verdict)


def test_memory_that_is_never_freed_ends_in_a_verdict_or_a_dead_job(run):
    """A list that grows at the top of the module starves pytest too."""
    source = f"held = []\n{does('while True: held.append(bytes(1 << 24))')}"
    assert isinstance(run(source)[-1], Verdict | Diagnosed | JobDied)


def test_exit_at_import_is_an_outcome(run):
    """`sys.exit()` at the end of a script that became a kata."""
    (outcome,) = last(run(f"{checkouts.SOLUTION}\nimport sys\nsys.exit('bye')\n"), Verdict).outcomes
    assert outcome.verdict == "error"
    assert "SystemExit" in outcome.message


def test_a_message_of_megabytes_is_cut(run):
    """It would be drawn again at every key."""
    messages = run(does("raise ValueError('x' * 1_000_000)"))
    assert len(last(messages, FirstFailure).outcome.message) < 2 * MAX_MESSAGE_CHARS
    assert max(len(o.message) for o in last(messages, Verdict).outcomes) < 2 * MAX_MESSAGE_CHARS


ODD = {  # (the statements, what the failing test says)
    "half a surrogate pair": ("raise ValueError('a\\ud800b')", "raised ValueError: a\\ud800b\n"),
    "control characters": ("raise ValueError('a\\x00\\x1b[2J\\rb')", "raised ValueError: a\\x00\\x1b[2J\\x0db\n"),
    "50 MB": ("raise ValueError('x' * 50_000_000)", "raised ValueError: xxx"),
    "no text": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "raised Odd: (no text: its __str__ raised ValueError)",
    ),
    "a text that is none": (
        "class Odd(Exception):\n    def __str__(self): return 5\nraise Odd",
        "raised Odd: (no text: its __str__ raised TypeError)",
    ),
    "a flood of prints": ("while True: print('x' * 1_000_000)", "line 10, printed or wrote more than 64 MiB"),
    "a large file": (
        "import tempfile\nwith tempfile.TemporaryFile() as f:\n    while True: f.write(bytes(2**20))",
        "printed or wrote more than 64 MiB",
    ),
    "a breakpoint": (
        "breakpoint()",
        "stopped at a breakpoint, and nobody can type into a debugger here. To debug: kata test tiny -x",
    ),
    "a breakpoint of pdb": ("import pdb\npdb.set_trace()", "stopped at a breakpoint"),
    "input": ("input('x? ')", "line 10, waits for input, and nobody can type during a run: delete input()"),
    "cancelled": ("import asyncio\nraise asyncio.CancelledError('no')", "raised CancelledError: no"),
    "no sentence": ("raise ValueError", "line 10, raised ValueError\n"),
}


@pytest.mark.parametrize("case", ODD)
def test_whatever_a_kata_raises_or_prints_is_a_sentence(run, case):
    """And no more than that: the run goes on, and ends with its verdict and the (empty) diagnosis."""
    statements, says = ODD[case]
    messages = run(does(statements))
    outcome = last(messages, FirstFailure).outcome
    assert says in outcome.message
    outcome.message.encode()  # can be printed and stored
    assert not [m for m in messages if isinstance(m, JobDied)]


def test_what_a_kata_prints_comes_with_the_test(run):
    """Apart from what is printed while the file is imported, which runs once for all tests."""
    messages = run("print('importing')\n" + does("print('x is', x, '\\x1b[2J')").replace("x * 2", "x * x"))
    first = last(messages, FirstFailure).outcome
    assert first.printed == "x is 1 \\x1b[2J\n"
    verdict = last(messages, Verdict)
    assert verdict.printed == "importing\n"
    printed = {o.test: o.printed for o in verdict.outcomes}
    assert printed["test_double_is_twice_as_much[5]"] == "x is 5 \\x1b[2J\n"
    assert printed["test_shift_moves_up"] == ""


def test_what_was_printed_before_an_import_failed_is_kept(run):
    """It may say why."""
    (outcome,) = last(run("print('so far')\nraise ValueError"), Verdict).outcomes
    assert (outcome.verdict, outcome.printed) == ("error", "so far\n")


def test_a_flood_of_prints_is_cut(run):
    """Each test's own."""
    verdict = last(run(does("print('x' * 1_000_000)")), Verdict)
    assert max(len(o.printed) for o in verdict.outcomes) < 2 * MAX_MESSAGE_CHARS


def test_a_run_that_breaks_is_told_every_time(run):
    """Also by the worker that was forked ahead of its job: the second run must not wait for its verdict for ever."""
    for _ in range(2):
        died = last(run("import time\ntime.monotonic = None\n"), JobDied)
        assert died.why.startswith("broke the test run itself (TypeError: ")
        time.sleep(1)  # for the fork


# processes that a kata leaves behind


@linux
@pytest.mark.parametrize("session", ["false", "true"], ids=["its group", "a session of its own"])
def test_processes_that_a_kata_starts_end_with_it(server, home, tmp_path, session):
    """Also one that calls setsid, as a daemon does."""
    source = does(f"""
import subprocess
if x == 0:
    child = subprocess.Popen(["sleep", "600"], start_new_session={session.title()})
    open({str(tmp_path / "pid")!r}, "w").write(str(child.pid))
""")
    run_in(server, home, tmp_path, source)
    run_in(server, home, tmp_path, checkouts.SOLUTION)
    assert has_ended(int((tmp_path / "pid").read_text()))


@linux
def test_a_kata_that_kills_the_fork_server_died_and_the_next_job_works(home, tmp_path):
    """The job is not run again: it would kill each new server. No process is left after close()."""
    before = set(processes.children())  # not those further down: other tests' fork server forks workers of its own
    with ForkServer(home) as forkserver:
        messages = run_in(
            forkserver, home, tmp_path, does("import os, time\nos.kill(os.getppid(), 9)\ntime.sleep(600)")
        )
        assert "ended the trainer's own process" in last(messages, JobDied).why
        assert last(messages, JobDied).test in (
            "",
            *(m.test for m in messages if isinstance(m, Running)),
        )  # empty if the server was killed before it had relayed any message
        assert last(run_in(forkserver, home, tmp_path, checkouts.SOLUTION), Verdict).all_passed
        # An idle fork server is replaced too.
        os.kill(forkserver.process.pid, signal.SIGKILL)
        while not (messages := forkserver.messages(1)):
            pass
        assert messages[-1].number == 0
    assert all(has_ended(pid) for pid in set(processes.children()) - before if not is_tracker(pid))


def is_tracker(pid):
    """Whether it is multiprocessing's resource tracker, which ends with this process."""
    try:
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


@linux
def test_everything_ends_when_the_caller_is_killed(home, tmp_path):
    """The terminal window is closed by force while a kata hangs."""
    (tmp_path / "tiny.py").write_text(
        does(f"import os\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\nwhile True: pass")
    )
    program = f"""
import time
from pathlib import Path
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import Job
from dojo.core.paths import Checkout
if __name__ == "__main__":
    forkserver = ForkServer(Checkout(Path({str(home.root)!r})))
    forkserver.submit(Job(1, "tiny", Path({str(tmp_path)!r}), seconds=600))
    print(forkserver.process.pid, flush=True)
    time.sleep(600)
"""
    script = tmp_path / "caller.py"
    script.write_text(program)
    caller = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(checkouts.REPOSITORY)}
    )
    forkserver = int(caller.stdout.readline())
    worker = checkouts.wait_for_pid(tmp_path / "pid", HANG_S)
    caller.kill()
    caller.communicate()
    assert has_ended(forkserver)
    assert has_ended(worker)


def test_a_fork_server_that_cannot_start_is_reported_once(home, tmp_path, monkeypatch):
    """A broken torch: it is not started again and again."""
    broken = tmp_path / "path"
    broken.mkdir()
    (broken / "jaxtyping.py").write_text("import os\nos._exit(1)\n")
    monkeypatch.setenv("PYTHONPATH", f"{broken}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    with ForkServer(home) as forkserver:
        monkeypatch.setattr(sys, "path", [str(broken), *sys.path])
        forkserver._start()
        died = last(run_in(forkserver, home, tmp_path, checkouts.SOLUTION), JobDied)
        assert "did not begin" in died.why
        assert forkserver.messages(0.2) == []


def test_a_spawned_worker_gives_the_same_verdict(home, tmp_path, monkeypatch):
    """Where fork is unsafe, each worker imports torch for itself."""
    monkeypatch.setenv("KATA_FORK", "0")
    with ForkServer(home) as forkserver:
        while not (messages := forkserver.messages(1)):
            pass
        assert messages[0] == Ready("spawn")
        messages = run_in(forkserver, home, tmp_path, checkouts.SOLUTION.replace("x * 2", "x * x"), seconds=HANG_S)
        assert last(messages, Diagnosed).diagnoses[0].mistake == "squares"
