"""What a worker may import and read, and how the grader reports a sandbox that does not start."""

import errno
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dojo.core.paths import find_checkout
from dojo.engine import processes as engine_processes
from dojo.grading.sandbox import forkserver, limits, paths, selftest
from dojo.grading.sandbox.faults import CannotIsolate, DidNotStart, GraderFault, KilledFromOutside
from dojo.grading.sandbox.isolation import LAYERS, why_unavailable
from dojo.grading.sandbox.sandbox import Sandbox
from dojo.grading.sandbox.session import Ended, Task
from dojo.testing.probes import Case

pytestmark = pytest.mark.skipif(os.name == "nt", reason="submissions run in forked processes")
ROOT = find_checkout(Path(__file__).parent).root
AVAILABLE = tuple(name for name in LAYERS if not why_unavailable()[name])
PROBE = "def cases(rng):\n    yield from ()\ndef run(kata, case):\n    return {'result': kata.attempt(case.path)}\n"
SUBMISSION = """
def attempt(path):
    if path == "library":
        import a_library_of_the_grader
        return a_library_of_the_grader.VALUE
    try:
        with open(path) as file:
            return file.read()
    except OSError as error:
        return type(error).__name__
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A folder with a package that is on sys.path, but not in this environment."""
    package = tmp_path / "libraries" / "a_library_of_the_grader"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("from .value import VALUE\n")
    (package / "value.py").write_text("VALUE = 'it loads'\n")
    monkeypatch.syspath_prepend(package.parent)
    return package.parent


def attempts(sandbox, *files, layers=AVAILABLE):
    with sandbox.run(Task("made_up", SUBMISSION, PROBE, layers=layers)) as session:
        assert session.load() is None
        cases = [Case(str(file), of="attempt", path=str(file)) for file in files]
        return [session.observe(case, 0)["result"] for case in cases]


@pytest.mark.skipif("landlock" not in AVAILABLE, reason="needs Landlock")
@pytest.mark.parametrize("without", ["", "namespaces"])
def test_a_worker_imports_the_graders_libraries_and_reads_nothing_of_the_checkout(
    without, library, tmp_path, monkeypatch
):
    """Also where the checkout, its folders and what holds it are on sys.path."""
    for folder in (ROOT.parent, ROOT, ROOT / "solutions", ROOT / "tests", tmp_path / "handed-in"):
        monkeypatch.syspath_prepend(folder)
    handed_in = tmp_path / "handed-in" / "answer.py"
    handed_in.parent.mkdir()
    handed_in.write_text("of another student")
    kata = "noise_schedules"
    closed = (ROOT / "solutions" / f"{kata}.py", ROOT / "tests" / kata / "probe.py", ROOT / "README.md")
    layers = tuple(name for name in AVAILABLE if name != without)
    with Sandbox(private=(handed_in.parent,)) as sandbox:
        assert attempts(sandbox, "library", layers=layers) == ["it loads"]
        for result in attempts(sandbox, *closed, handed_in, layers=layers):
            assert result in ("PermissionError", "FileNotFoundError")  # with namespaces, what is hidden is not there


def test_a_workers_import_path_leaves_out_what_would_open_something_private(library, tmp_path, monkeypatch):
    work = tmp_path / "work"
    (work / "vendor").mkdir(parents=True)
    home, submission = tmp_path / "home", tmp_path / "class" / "handed-in"
    submission.mkdir(parents=True)
    (submission / "torch").mkdir()
    home.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(home))
    (tmp_path / "a link").symlink_to(ROOT / "solutions")
    refused = [
        "", "no such folder", str(work), str(home), str(home.parent), tempfile.gettempdir(), str(ROOT),
        str(ROOT.parent), str(ROOT / "solutions"), str(ROOT / ".dojo"), str(tmp_path / "a link"), str(submission),
        str(submission.parent), str(submission / "torch"), "/",
    ]  # fmt: skip
    before = paths.import_path()
    monkeypatch.setattr(sys, "path", [*refused, str(work / "vendor"), *sys.path])
    entries = paths.import_path(private=(submission,))
    assert entries == [before[0], str(work / "vendor"), *before[1:]]
    assert str(library) in entries
    readable = paths.readable_paths(entries)
    assert {str(library), str(work / "vendor"), str(ROOT / "dojo"), sys.prefix} <= set(readable)
    assert not {str(ROOT), *refused} & set(readable)


def test_an_environment_in_the_checkout_is_imported_from_unless_it_is_handed_in(tmp_path, monkeypatch):
    """tox's environment for the adapters stands on the packages of the one that tox is in."""
    installed, handed_in = tmp_path / ".venv" / "site-packages", tmp_path / "class" / "site-packages"
    for folder in (installed, handed_in, tmp_path / "solutions"):
        folder.mkdir(parents=True)
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    monkeypatch.setattr(sys, "path", [str(handed_in), str(tmp_path / "solutions"), str(installed)])
    assert paths.import_path(private=(tmp_path / "class",)) == [str(tmp_path), str(installed)]


@pytest.mark.skipif("landlock" not in AVAILABLE, reason="needs Landlock")
def test_a_module_is_banned_before_anything_has_imported_its_package(library):
    """Such as scipy.stats, which nothing of the grader's imports."""
    task = Task("made_up", SUBMISSION, PROBE, banned=("a_library_of_the_grader.value",), layers=AVAILABLE)
    with Sandbox() as sandbox, sandbox.run(task) as session:
        assert session.load() is None
        raised = session.observe(Case("library", of="attempt", path="library"), 0)["raised"]
    assert raised.name == "RuntimeError"
    assert "does not allow a_library_of_the_grader.value" in raised.note


def test_a_ban_of_what_is_no_operator_is_the_policys_alone():
    """relu6 is a function in Python, which calls an operator that has another name."""
    task = Task("made_up", SUBMISSION, PROBE, banned=("relu6", "no_such_operator"), layers=AVAILABLE)
    with Sandbox() as sandbox, sandbox.run(task) as session:
        assert session.load() is None


def test_a_worker_imports_first_what_the_grader_imports_first(library):
    """Two versions of a library: the worker must have the one that the grader has."""
    entries = [str(Path(entry).resolve()) for entry in sys.path if entry and os.path.exists(entry)]
    worker = paths.import_path()[1:]
    assert worker == [entry for entry in dict.fromkeys(entries) if entry in worker]


def test_a_fork_server_that_cannot_import_says_what(tmp_path, monkeypatch):
    """Where torch lies in a folder that is left out, for example."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch_cpu.so is missing')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("KATA_FORK", "1")
    with Sandbox() as sandbox, pytest.raises(GraderFault, match=r"did not start: ImportError: libtorch_cpu.so is"):
        attempts(sandbox, "library")


def test_references_that_can_be_read_lower_the_level(tmp_path, monkeypatch):
    """A checkout below /usr, for example: all of /usr is readable."""
    (tmp_path / "solutions").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "solutions")
    with Sandbox() as sandbox:
        sandbox._start()
        monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
        result = selftest.run_selftest(sandbox)
    assert result.attempts["read the references"] == "done"
    assert result.level in ("sealed", "bare")


def test_the_sandbox_starts_from_any_folder_and_imports_nothing_from_it(tmp_path):
    """The current folder may be a submission with a torch.py of its own."""
    (tmp_path / "torch.py").write_text("raise SystemExit('the submission was imported')\n")
    program = (
        "import sys; sys.path.remove(''); import torch; sys.path.insert(0, '')\n"
        "from dojo.grading.sandbox.sandbox import Sandbox\n"
        "with Sandbox() as sandbox:\n    sandbox._start()\n    print('started')\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=200, env=environment
    )
    assert (done.returncode, done.stdout) == (0, "started\n"), done.stderr


IDIOMS = """
import functools, inspect, io, pickle, sys, typing
from dataclasses import dataclass
import torch
from torch import nn


@dataclass
class Pair:
    first: "int"


class Layer(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + 1


@torch.jit.script
def scripted(x: torch.Tensor, times: int) -> torch.Tensor:
    for _ in range(times):
        x = x + x
    return x


def attempt(idiom):
    return {
        "torch.jit.script": lambda: scripted(torch.ones(1), 3).item(),
        "a scripted module": lambda: torch.jit.script(Layer())(torch.ones(1)).item(),
        "the source of a function": lambda: inspect.getsource(attempt).splitlines()[0],
        "the source of a class": lambda: inspect.getsource(Pair).splitlines()[-1].strip(),
        "pickle": lambda: pickle.loads(pickle.dumps(Pair(3))).first,
        "torch.save": lambda: saved(Layer())(torch.ones(1)).item(),
        "type hints": lambda: typing.get_type_hints(Pair)["first"].__name__,
        "its own module": lambda: sys.modules[__name__].attempt is attempt,
        "its name": lambda: f"{__name__} {Pair.__module__}",
    }[idiom]()


def saved(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)
"""


@pytest.fixture(scope="module")
def idioms():
    with (
        Sandbox() as sandbox,
        sandbox.run(Task("tiny", IDIOMS, PROBE, layers=AVAILABLE)) as session,
    ):
        assert session.load() is None
        yield session


@pytest.mark.parametrize(
    ("idiom", "value"),
    [
        ("torch.jit.script", 8.0), ("a scripted module", 2.0), ("the source of a function", "def attempt(idiom):"),
        ("the source of a class", 'first: "int"'), ("pickle", 3), ("torch.save", 2.0), ("type hints", "int"),
        ("its own module", True), ("its name", "katas.tiny katas.tiny"),
    ],
)  # fmt: skip
def test_what_works_in_practice_works_in_the_sandbox(idioms, idiom, value):
    """In practice a kata is a file that is imported as katas.NAME; much of Python looks such a module up by its name."""
    assert idioms.observe(Case(idiom, of="attempt", path=idiom), 0) == {"result": value}


def test_a_kernel_without_pidfd_can_grade(monkeypatch):
    """gVisor, and Linux before 5.3: the end of a job is polled for, and the fork server lives on."""

    def no_such_call(pid):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", no_such_call)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pid = os.fork()
        if not pid:
            time.sleep(0.1)
            os._exit(3)
        assert forkserver._wait(forkserver._Channel(theirs), pid, 1, "") == (3, False)
        pid = os.fork()
        if not pid:
            time.sleep(600)
        ours.send(b'{"kill": 1}\n')
        assert forkserver._wait(forkserver._Channel(theirs), pid, 1, "") == (128 + signal.SIGKILL, False)


def test_children_are_found_where_the_kernel_keeps_no_list_of_them(tmp_path, monkeypatch):
    """gVisor has no /proc/self/task/N/children."""
    for pid, parent in ((70, os.getpid()), (71, 1), (72, os.getpid())):
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (a) b) S {parent} 1 1\n")
    monkeypatch.setattr(engine_processes, "PROC", tmp_path)
    assert sorted(engine_processes.children()) == [70, 72]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space")
@pytest.mark.parametrize(("gigabytes", "fits"), [(1, True), (5, False)])
def test_the_limit_of_memory_is_what_a_submission_adds(gigabytes, fits):
    """torch for CUDA maps 3.3 GB before a submission runs; a right answer may still use one for a moment."""
    program = (
        "import mmap, resource, torch\n"
        "from dojo.grading.sandbox import limits\n"
        "libraries = mmap.mmap(-1, int(3.3 * 2**30), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
        "limits.apply(60)\n"
        f"mmap.mmap(-1, {gigabytes} * 2**30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode == 0) == fits, done.stderr
    assert fits or "Cannot allocate memory" in done.stderr


def observe(sandbox, source, before=lambda: None):
    """The evidence of one case, after `before` has been called in the grader's process."""
    with sandbox.run(Task("made_up", source, PROBE, layers=AVAILABLE)) as session:
        assert session.load() is None
        before()
        return session.observe(Case("a", of="attempt", path="/dev/null"), 0)


def test_a_fork_server_that_is_killed_from_outside_is_no_fault_of_the_submission():
    """Memory may have run out. The job does not count, and the next one gets a new fork server."""
    waits = "import time\ndef attempt(path):\n    time.sleep(5)\n"
    with Sandbox() as sandbox:
        with pytest.raises(KilledFromOutside, match="was killed, perhaps because the machine ran out of memory"):
            observe(sandbox, waits, before=lambda: sandbox._server.kill())
        assert attempts(sandbox, "/dev/null") == [""]


def test_a_worker_that_the_kernel_killed_for_lack_of_memory_is_no_fault_of_the_submission(monkeypatch):
    """The workers are killed first; one that merely kills itself is told apart."""
    suicide = "import os\ndef attempt(path):\n    os.kill(os.getpid(), 9)\n"
    kills = iter(range(100))
    with Sandbox() as sandbox:
        with pytest.raises(Ended, match=r"was killed \(SIGKILL\)"):
            observe(sandbox, suicide)
        monkeypatch.setattr(limits, "oom_kills", lambda: next(kills))
        with pytest.raises(GraderFault, match="the machine ran out of memory; grade with fewer --jobs"):
            observe(sandbox, suicide)


def test_a_machine_that_has_no_room_is_a_fault_of_the_graders(monkeypatch):
    """No process, no folder, no descriptor: whatever the system refuses while a job is set up."""

    def no_room(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    with Sandbox() as sandbox:
        monkeypatch.setattr(tempfile, "mkdtemp", no_room)
        with (
            pytest.raises(GraderFault, match=r"could not be set up: .*No space left"),
            sandbox.run(Task("made_up", SUBMISSION, PROBE)),
        ):
            pass


@pytest.mark.parametrize(
    ("faults", "outcome"),
    [
        ([GraderFault("a job failed")], ("isolated", LAYERS)),
        ([CannotIsolate("no namespaces")], ("fenced", tuple(name for name in LAYERS if name != "namespaces"))),
        ([GraderFault("x"), GraderFault("x")], ("fenced", tuple(name for name in LAYERS if name != "namespaces"))),
        ([DidNotStart("busy")], ("isolated", LAYERS)),
        ([DidNotStart("no torch"), DidNotStart("no torch")], None),
    ],
)
def test_no_layer_is_given_up_for_a_fault_that_passes(monkeypatch, faults, outcome):
    """A job that failed once is tried again with the same layers; only what fails twice, or is refused, is left off."""
    waiting = list(faults)

    def attempt(sandbox, layers, references):
        if waiting:
            raise waiting.pop(0)
        return {} if "namespaces" in layers else {"run as the grader's user": "done"}

    monkeypatch.setattr(selftest, "_run_attempts", attempt)
    monkeypatch.setattr(selftest, "why_unavailable", lambda: dict.fromkeys(LAYERS, ""))
    if outcome is None:
        with pytest.raises(DidNotStart):
            selftest.run_selftest(Sandbox())
    else:
        result = selftest.run_selftest(Sandbox())
        assert (result.level, result.layers) == outcome
