"""Which katas a run tests, and that every run shows it."""

import os
import subprocess
import sys

import pytest

from dojo.engine.file_watcher import Fingerprints
from dojo.engine.target import child_environment
from dojo.tests import checkouts


def header(session):
    return next((line for line in session.output.splitlines() if line.startswith("katas: ")), "")


def python(checkout, code, **environment):
    """Runs `code` in a fresh interpreter at the root of the checkout."""
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(checkout.root), "PYTHONDONTWRITEBYTECODE": "", **environment}
    return subprocess.run(command, cwd=checkout.root, env=environment, capture_output=True, text=True, timeout=60)


def test_plain_pytest_tests_the_learners_katas(checkout):
    """Without any option."""
    session = checkouts.pytest_in(checkout)
    assert header(session).startswith("katas: answers/ (yours), hash ")
    assert set(session.verdicts().values()) == {"not started"}


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("2", "2")])
def test_torch_gets_one_thread_unless_told(checkout, given, used):
    """Threads that wait for each other make a run slow on a busy machine."""
    code = f"import os\n    assert os.environ['OMP_NUM_THREADS'] == '{used}'\n    return x * 2"
    checkouts.solve(checkout, "return x * 2", code)
    environment = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    command = [sys.executable, "-m", "pytest", "-q", "--no-history"]
    run = subprocess.run(
        command,
        cwd=checkout.root,
        env=environment | ({"OMP_NUM_THREADS": given} if given else {}),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "6 passed" in run.stdout


def test_the_garbage_collector_leaves_alone_what_was_imported(checkout):
    """torch's objects are many, and walking over them is most of what a short run computes."""
    code = "import gc\n    assert gc.isenabled() and all(found is not globals() for found in gc.get_objects())\n    return x * 2"
    checkouts.solve(checkout, "return x * 2", code)
    assert "6 passed" in checkouts.pytest_in(checkout, "-q").output


@pytest.mark.parametrize("absolute", [False, True], ids=["relative", "absolute"])
@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_run_can_be_pointed_at_the_reference(checkout, way, absolute):
    """By a relative or an absolute path."""
    directory = str(checkout.solutions) if absolute else "solutions"
    session = (
        checkouts.pytest_in(checkout, f"--katas={directory}")
        if way == "option"
        else checkouts.pytest_in(checkout, KATAS_DIR=directory)
    )
    assert session.code == 0
    assert header(session).startswith("katas: solutions/ (reference), hash ")


def test_the_option_wins_over_the_variable(checkout):
    """The variable may have been exported long ago."""
    session = checkouts.pytest_in(checkout, "--katas=answers", KATAS_DIR="solutions")
    assert header(session).startswith("katas: answers/ (yours)")
    assert set(session.verdicts().values()) == {"not started"}


def test_an_empty_variable_is_no_choice(checkout):
    """CI files write `KATAS_DIR: ""`; that means the default, not the current folder."""
    assert header(checkouts.pytest_in(checkout, KATAS_DIR="")).startswith("katas: answers/ (yours)")


def test_a_folder_outside_the_checkout_is_shown_in_full(checkout, tmp_path):
    """The log of a run on submissions shows where they are."""
    folder = tmp_path / "handed in"
    folder.mkdir()
    (folder / "tiny.py").write_text(checkouts.SOLUTION)
    session = checkouts.pytest_in(checkout, f"--katas={folder}")
    assert session.code == 0
    assert header(session).startswith(f"katas: {folder}/ (another folder), hash ")


@pytest.mark.parametrize("quiet", ["-q", "-qq", "--no-header"])
def test_the_header_line_is_never_hidden(checkout, quiet):
    """A run that passes proves nothing unless it shows whose code it tested. One line is enough."""
    session = checkouts.pytest_in(checkout, quiet, "--katas=solutions")
    assert session.output.count("katas: solutions/ (reference), hash ") == 1


def test_the_header_names_the_seed_and_changes_with_the_code(checkout):
    """Runs with equal hashes have tested equal code."""
    before = header(checkouts.pytest_in(checkout, "--kata-seed=7"))
    checkouts.solve(checkout)
    after = header(checkouts.pytest_in(checkout, "--kata-seed=7"))
    assert before.endswith("seed 7")
    assert after.endswith("seed 7")
    assert before != after


@pytest.mark.parametrize("way", ["option", "variable"])
def test_a_missing_folder_is_a_usage_error(checkout, way):
    """A typing error must not lead to other code. 4 is pytest's exit code for a wrong command line."""
    session = (
        checkouts.pytest_in(checkout, "--katas=solution")
        if way == "option"
        else checkouts.pytest_in(checkout, KATAS_DIR="solution")
    )
    assert session.code == 4
    assert "solution is not a folder" in session.output
    assert "Traceback" not in session.output


@pytest.mark.parametrize(
    "statement", ["import solutions.tiny", "from solutions.tiny import double", "from solutions import tiny"]
)
def test_a_kata_that_imports_the_reference_fails(checkout, statement):
    """With a sentence that tells why."""
    checkout.answer("tiny").write_text(statement + "\n\n\ndef shift(x, by=3):\n    return x + by\n")
    session = checkouts.pytest_in(checkout)
    assert session.code not in (0, 4)
    assert "is the answer: a kata may not import it" in session.output
    assert "answers/tiny.py, line 1" in session.output


def test_importing_the_reference_inside_a_function_fails_too(checkout):
    """When the function runs."""
    checkouts.solve(checkout, "return x * 2", "from solutions.tiny import double as answer\n    return answer(x)")
    session = checkouts.pytest_in(checkout)
    assert session.verdicts()["test_double_is_twice_as_much[1]"] == "failed"
    assert session.verdicts()["test_shift_moves_up"] == "passed"
    assert "is the answer: a kata may not import it" in session.message("test_double_is_twice_as_much[1]")


def test_a_kata_may_import_another_kata(checkout):
    """Both come from the folder under test."""
    (checkout.solutions / "base.py").write_text("def twice(x):\n    return x * 2\n")
    checkout.reference("tiny").write_text(
        "from katas.base import twice\n" + checkouts.SOLUTION.replace("return x * 2", "return twice(x)")
    )
    assert checkouts.pytest_in(checkout, "--katas=solutions").code == 0


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_only_the_kata_under_test_matters(checkout):
    """Editors leave links to nowhere, people make folders, and a named pipe would be waited for."""
    checkouts.solve(checkout)
    (checkout.answers / ".#tiny.py").symlink_to("nobody@nowhere.1234")
    (checkout.answers / "folder.py").mkdir()
    (checkout.answers / "binary.py").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(checkout.answers / "pipe.py")
    session = checkouts.pytest_in(checkout)
    assert session.code == 0
    assert "6 passed" in session.output
    assert set(Fingerprints(checkout.answers)._digests) >= {"tiny", "binary"}


def test_a_folder_in_the_place_of_the_kata_is_named(checkout):
    """It is no missing file."""
    checkout.answer("tiny").unlink()
    checkout.answer("tiny").mkdir()
    session = checkouts.pytest_in(checkout)
    assert "answers/tiny.py is a folder, but a kata is a file." in session.output
    assert "kata reset tiny" in session.output


def test_two_saves_within_a_second_run_the_newer_code(checkout):
    """Python uses a .pyc file if size and whole second are the same; two quick saves would run the older code."""
    show = "from katas.tiny import double; print(double(3))"
    for new in ("x * 7", "x * 8"):
        checkouts.solve(checkout, "x * 2", new)
        os.utime(checkout.answer("tiny"), (1_700_000_000, 1_700_000_000))
        assert python(checkout, show, **child_environment(checkout, checkout.answers)).stdout == f"{3 * int(new[-1])}\n"
    assert not list(checkout.answers.glob("__pycache__/tiny*"))


def test_child_processes_see_the_same_katas(checkout):
    """A test may start an interpreter, in whatever folder."""
    (checkout.root / "dojo").symlink_to(checkouts.REPOSITORY / "dojo")  # as in every checkout
    (checkout.tests("tiny") / "test_1_core.py").write_text(
        "import subprocess, sys\n\n\n"
        "def test_child(tmp_path):\n"
        "    show = 'import katas.tiny; print(katas.tiny.__file__)'\n"
        "    command = [sys.executable, '-S', '-c', show]  # -S: not by way of an installation\n"
        "    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)\n"
        f"    assert run.stdout.strip() == {str(checkout.reference('tiny'))!r}, run\n"
    )
    assert checkouts.pytest_in(checkout, "--katas=solutions", PYTHONPATH="").code == 0


def test_a_notebooks_kernel_sees_the_target(checkout):
    """Notebooks run in a folder of their own; with --katas=solutions they must show the reference."""
    pytest.importorskip("nbval")
    nbformat = pytest.importorskip("nbformat")
    cell = f"import katas.tiny\nassert katas.tiny.__file__ == {str(checkout.reference('tiny'))!r}, katas.tiny.__file__"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbformat.write(notebook, checkout.root / "notebooks" / "walk.ipynb")
    options = ["-p", "nbval.plugin", "--nbval-lax", "--nbval-current-env"]
    session = checkouts.pytest_in(checkout, "--katas=solutions", *options, "notebooks", PYTHONPATH="")
    assert "1 passed" in session.output, session.output
