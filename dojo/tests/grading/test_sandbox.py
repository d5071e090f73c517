"""What a worker may import and read, and how the grader reports a sandbox that does not start."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dojo.core.paths import find_checkout
from dojo.grading.sandbox import paths, selftest
from dojo.grading.sandbox.isolation import LAYERS, why_unavailable
from dojo.grading.sandbox.sandbox import GraderFault, Sandbox
from dojo.grading.sandbox.session import Task
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
