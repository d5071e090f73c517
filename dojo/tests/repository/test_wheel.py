"""The wheel: what is in it, and a workspace from `kata init` to a grade, with nothing of a clone.

The libraries are those of this environment, which takes seconds instead of a gigabyte of torch.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from dojo.core.answers import STALE
from dojo.core.catalog import load_catalog
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.tests.checkouts import REPOSITORY

BUILT_FROM = ("dojo", "katas", "solutions", "tests", "pyproject.toml", "hatch_build.py", "README.md", "LICENSE")
KATA = "top_k_sampling"


def run(*command: object, cwd: Path, code: int = 0) -> str:
    """What the command prints; its exit code has to be `code`."""
    names = ("KATA", "PYTEST", "PYTHONPATH", "TOX_", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={**environment, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in BUILT_FROM:
        path = REPOSITORY / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__", "attacks"))
        else:
            shutil.copy(path, source)
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", folder)
    run(sys.executable, "-m", "pip", "wheel", *options, ".", cwd=source)
    (built,) = folder.glob("katas-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of programs of an environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    run(folder / "bin" / "python", "-m", "pip", "install", "--no-deps", "--quiet", wheel, cwd=folder)
    site = folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_the_wheel_puts_one_name_into_an_environment(wheel):
    """`dojo`, without its tests. The katas lie in share/, where no submission that is graded may read."""
    names = ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("katas-")} == {"dojo"}
    assert not [name for name in names if name.startswith("dojo/tests/") or "__pycache__" in name]
    data = [name.partition(".data/data/share/katas/")[2] for name in names if ".data/" in name]
    katas = [kata.name for kata in load_catalog(Checkout(REPOSITORY)).katas]
    for kata in katas:
        assert {f"katas/{kata}.py", f"solutions/{kata}.py", f"tests/{kata}/probe.py"} <= set(data)


def test_a_workspace_does_what_a_clone_does(installed, tmp_path):
    """From an empty folder to a grade; the folder is git's to keep, and nothing is written outside it."""
    kata, python = installed / "kata", installed / "python"
    assert "kata init" in run(kata, cwd=tmp_path, code=2)
    work = tmp_path / "mine"
    assert "cd mine && kata" in run(kata, "init", "mine", cwd=tmp_path)
    assert "is a workspace already" in run(kata, "init", cwd=work, code=2)
    share = installed.parent / "share" / "katas"
    before = {path for path in share.rglob("*") if "__pycache__" not in path.parts}
    assert f"answers/{KATA}.py" in run(kata, "show", KATA, cwd=work)
    assert "not started" in run(kata, "test", KATA, cwd=work, code=1)
    reference = (share / "solutions" / f"{KATA}.py").read_text(encoding="utf-8")
    mistake = load_mistakes(Checkout(REPOSITORY).mistakes(KATA)).named[0]
    answer = work / "answers" / f"{KATA}.py"
    answer.write_text(mistake.apply(reference), encoding="utf-8")
    wrong = run(python, "-m", "pytest", "-q", "-x", f"tests/{KATA}", cwd=work, code=1)
    assert "katas: answers/ (yours)" in wrong
    assert f"::{mistake.caught_by}" in wrong
    assert mistake.says in wrong
    assert "answers/" in run(kata, "debug", KATA, cwd=work, code=1)
    answer.write_text(reference, encoding="utf-8")
    assert "Solved." in run(kata, "test", KATA, cwd=work)
    assert "1 of " in run(kata, "list", cwd=work)
    graded = run(kata, "grade", ".", "--only", KATA, "--out", tmp_path / "grade", cwd=work)
    assert "10 of 10 points" in graded
    assert {path for path in share.rglob("*") if "__pycache__" not in path.parts} == before
    clutter = {".benchmarks", ".pytest_cache", "__pycache__"}
    assert sorted({path.name for path in work.iterdir()} - clutter) == [
        ".dojo", ".gitignore", "README.md", "answers", "conftest.py", "katas.toml", "pytest.ini",
    ]  # fmt: skip


def test_a_newer_wheel_brings_newer_stubs(installed, tmp_path):
    """They are merged into the answers, as in a clone; here the installed stub changes in the place of a wheel."""
    kata = installed / "kata"
    run(kata, "init", cwd=tmp_path)
    answer = tmp_path / "answers" / "mutability.py"
    answer.write_text(answer.read_text(encoding="utf-8") + "\n# mine\n", encoding="utf-8")
    share = installed.parent / "share" / "katas"
    files = [share / folder / "mutability.py" for folder in ("katas", "solutions")]
    before = [file.read_text(encoding="utf-8") for file in files]
    first_line = before[0].splitlines()[0]
    for file, text in zip(files, before, strict=True):
        file.write_text(text.replace(first_line, f"{first_line} Newer.", 1), encoding="utf-8")
    try:
        assert STALE.format(katas="mutability") in run(kata, "list", cwd=tmp_path)
        assert f"+{first_line} Newer." in run(kata, "update", cwd=tmp_path)
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text, encoding="utf-8")
    assert answer.read_text(encoding="utf-8").startswith(f"{first_line} Newer.")
    assert answer.read_text(encoding="utf-8").endswith("# mine\n")
    assert "is as it was before the update" in run(kata, "update", "--undo", cwd=tmp_path)
    assert "Newer." not in answer.read_text(encoding="utf-8")
