"""requirements*.txt: each pins exactly what it is for, and a learner's commands run on requirements.txt alone."""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
BROUGHT_ALONG = "# What those bring along."
PLATFORMS = {
    "linux": {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"},
    "darwin": {"sys_platform": "darwin", "platform_system": "Darwin", "os_name": "posix"},
    "win32": {"sys_platform": "win32", "platform_system": "Windows", "os_name": "nt"},
}
# Where each file must be complete. The checks of the repository do not run on Windows; plain pytest does.
LEARNER = [(platform, python) for platform in PLATFORMS for python in ("3.11", "3.12", "3.13", "3.14")]
DEVELOPER = [(platform, python) for platform, python in LEARNER if platform != "win32"]
# Tools and libraries that a learner can do without, and that once were in the first command's installation.
NOT_FOR_LEARNERS = {
    "ruff",
    "mypy",
    "tox",
    "zizmor",
    "import-linter",
    "coverage",
    "pytest-cov",
    "pytest-xdist",
    "selenium",
    "pexpect",
    "distributed",
    "dask",
    "mcp",
    "nicegui",
    "fastapi",
    "pydantic",
    "jsonschema",
    "pyyaml",
    "nbval",
    "jupytext",
    "nbclient",
    "nbformat",
    "ipykernel",
    "ipython",
    "jupyter-client",
    "matplotlib",
    "pillow",
    "safetensors",
    "transformers",
    "diffusers",
    "peft",
    "loralib",
}


def lines_of(file: str) -> list[str]:
    return (ROOT / file).read_text(encoding="utf-8").splitlines()


def pins_of(file: str) -> list[Requirement]:
    """The packages that `file` names itself, without what it includes."""
    return [Requirement(line) for line in lines_of(file) if line and not line.startswith(("#", "-"))]


def direct_names(file: str) -> set[str]:
    above = lines_of(file)[: lines_of(file).index(BROUGHT_ALONG)]
    return {canonicalize_name(Requirement(line).name) for line in above if line and not line.startswith(("#", "-"))}


def names(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(requirement).name) for requirement in requirements} - {"katas"}


def environment(platform: str, python: str) -> dict[str, str]:
    return {**PLATFORMS[platform], "python_version": python, "python_full_version": f"{python}.0"}


@cache
def requirements_of(name: str) -> tuple[Requirement, ...]:
    """What the installed distribution `name` asks for; nothing for one that only another platform needs.

    Nothing for this project either: pyproject.toml may be newer than its installation, and the tests read that.
    """
    if name == "katas":
        return ()
    try:
        return tuple(map(Requirement, metadata.requires(name) or ()))
    except metadata.PackageNotFoundError:
        return ()


def required_by(name: str, extras: frozenset[str], platform: str, python: str) -> Iterator[Requirement]:
    for requirement in requirements_of(name):
        marker = requirement.marker
        if name == "torch" and marker and "platform_system" in str(marker):
            continue  # CUDA's libraries: only some builds need them, and torch pins them itself
        environments = [{**environment(platform, python), "extra": extra} for extra in extras or {""}]
        if marker is None or any(marker.evaluate(each) for each in environments):
            yield requirement


def closure(direct: list[str], platform: str, python: str) -> set[str]:
    """The names of `direct` and of everything that those need, on that platform and Python."""
    waiting = [(canonicalize_name(r.name), frozenset(r.extras)) for r in map(Requirement, direct)]
    done = set()
    while waiting:
        package = waiting.pop()
        if package not in done:
            done.add(package)
            needed = required_by(*package, platform, python)
            waiting += [(canonicalize_name(r.name), frozenset(r.extras)) for r in needed]
    return {name for name, _ in done} - {"katas"}


def pinned(files: list[str], platform: str, python: str) -> set[str]:
    return {
        canonicalize_name(pin.name)
        for file in files
        for pin in pins_of(file)
        if pin.marker is None or pin.marker.evaluate(environment(platform, python))
    }


@pytest.mark.parametrize(("platform", "python"), LEARNER)
def test_requirements_pin_what_a_learner_needs_and_nothing_else(platform, python):
    """A missing pin is a version that nobody has tried; one that is left over is a download for nothing."""
    assert pinned(["requirements.txt"], platform, python) == closure(PROJECT["dependencies"], platform, python)


@pytest.mark.parametrize(("platform", "python"), DEVELOPER)
def test_the_developers_requirements_pin_what_the_checks_need(platform, python):
    """Together with the learner's, which they include. What only Python 3.11 needs is pinned for all."""
    direct = [
        *PROJECT["dependencies"],
        *EXTRAS["notebooks"],
        *EXTRAS["cohort"],
        *EXTRAS["tutor"],
        *EXTRAS["room"],
        *EXTRAS["dev"],
    ]
    pins = pinned(["requirements.txt", "requirements-dev.txt"], platform, python)
    assert closure(direct, platform, python) <= pins
    assert pins <= closure(direct, platform, "3.11")


def test_learners_get_no_tools_of_developers():
    """The reason for two files."""
    assert not {canonicalize_name(pin.name) for pin in pins_of("requirements.txt")} & NOT_FOR_LEARNERS


def test_each_file_builds_on_the_one_before():
    """So that one command installs everything, in versions that fit."""
    assert "-e ." in lines_of("requirements.txt")
    assert "-r requirements.txt" in lines_of("requirements-dev.txt")
    assert "-r requirements-dev.txt" in lines_of("requirements-peers.txt")


def test_the_direct_pins_are_pyprojects_dependencies():
    """Above the line on what they bring along; markdown-it-py is a developer's tool that rich brings anyway."""
    assert direct_names("requirements.txt") == names(PROJECT["dependencies"])
    developers = names([*EXTRAS["notebooks"], *EXTRAS["cohort"], *EXTRAS["tutor"], *EXTRAS["room"], *EXTRAS["dev"]])
    assert direct_names("requirements-dev.txt") | {"markdown-it-py"} == developers
    assert direct_names("requirements-peers.txt") == names(EXTRAS["peers"])


def test_the_pins_fit_each_other_and_pyprojects_ranges():
    """pip would say so too, after a download of a gigabyte."""
    versions = {canonicalize_name(pin.name): str(pin.specifier).removeprefix("==") for pin in developers_pins()}
    wanted = [Requirement(text) for text in [*PROJECT["dependencies"], *chain.from_iterable(EXTRAS.values())]]
    for name in versions:
        wanted += required_by(name, frozenset(), "linux", "3.11")
    checked = [(str(r), versions[canonicalize_name(r.name)]) for r in wanted if canonicalize_name(r.name) in versions]
    assert len(checked) > 100
    assert [(text, version) for text, version in checked if not Requirement(text).specifier.contains(version)] == []


def developers_pins() -> list[Requirement]:
    return [*pins_of("requirements.txt"), *pins_of("requirements-dev.txt")]


def test_every_pin_names_one_version():
    """A range is pyproject's."""
    for file in ("requirements.txt", "requirements-dev.txt", "requirements-peers.txt"):
        for pin in pins_of(file):
            assert re.fullmatch(r"==[\w.]+", str(pin.specifier)), f"{file}: {pin}"


# What runs on requirements.txt alone


def foreign_modules() -> list[str]:
    """The importable names of everything that is installed here and not in requirements.txt.

    Asked of a fresh interpreter: setuptools, once imported, puts the libraries that it brings along on sys.path.
    """
    learners = {canonicalize_name(pin.name) for pin in pins_of("requirements.txt")} | {"katas", "pip"}
    script = "import json; from importlib import metadata; print(json.dumps(metadata.packages_distributions()))"
    owners_of = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
    return [
        module for module, owners in owners_of.items() if not {canonicalize_name(owner) for owner in owners} & learners
    ]


@pytest.fixture
def light(tmp_path) -> dict[str, str]:
    """Environment variables with which Python, and its children, find no module beyond requirements.txt."""
    (tmp_path / "light").mkdir()
    (tmp_path / "light" / "sitecustomize.py").write_text(
        "import sys\n\n"
        f"MISSING = frozenset({foreign_modules()!r})\n\n"
        "class NotInstalled:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name.partition('.')[0] in MISSING:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n\n"
        "sys.meta_path.insert(0, NotInstalled)\n"
    )
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("KATA", "PYTEST", "COV_", "COVERAGE"))
    }
    path = os.pathsep.join([str(tmp_path / "light"), str(ROOT)])
    return {**kept, "PYTHONPATH": path, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


def run(light: dict[str, str], *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=light, capture_output=True, text=True, timeout=120, check=False)


def test_the_fixture_hides_what_is_installed(light):
    """Or the tests below would prove nothing."""
    assert "No module named 'ruff'" in run(light, "-c", "import ruff").stderr
    assert run(light, "-c", "import torch, pytest, sklearn, rich, jinja2").returncode == 0


def test_every_module_of_the_trainer_loads_but_those_of_extras(light):
    """`kata bench` imports matplotlib last, and says so where it is missing, as `kata mcp` does; a notebook has IPython."""
    script = (
        "import importlib, pkgutil, dojo\n"
        "for module in pkgutil.walk_packages(dojo.__path__, 'dojo.'):\n"
        "    if not module.name.endswith('__main__'):\n"
        "        try:\n"
        "            importlib.import_module(module.name)\n"
        "        except ModuleNotFoundError as error:\n"
        "            print(module.name, error.name)\n"
    )
    loaded = run(light, "-c", script)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines() == [
        "dojo.authoring.bench.plot matplotlib",
        "dojo.authoring.sentences babel",
        "dojo.notebook.magics IPython",
        *(
            f"dojo.room.{module} nicegui"
            for module in (
                "editor",
                "frame",
                "interview_page",
                "kata_page",
                "list_page",
                "server",
                "session_page",
                "start_pages",
            )
        ),
        "dojo.tutor.server mcp",
    ]


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("list", 0),
        ("show tiny", 0),
        ("hint tiny", 0),
        ("test tiny", 1),  # its stub is not written
        ("due", 0),
        ("history tiny", 0),
        ("report", 0),
        ("check katas/tiny.py", 0),
        ("verify tiny", 1),  # it has fewer mistakes than a kata should
        (f"grade {ROOT / 'solutions'} --out graded --only clip_loss", 0),
    ],
)
def test_a_learners_commands_need_nothing_else(command, code, checkout, light):
    """On a kata of two functions; the grader takes the repository's own katas."""
    result = run(light, "-m", "dojo.cli.main", *command.split(), cwd=checkout.root)
    assert result.returncode == code, result.stdout + result.stderr
    assert "No module named" not in result.stdout + result.stderr


def test_plain_pytest_needs_nothing_else(light):
    """Although pyproject.toml speaks of nbval, which is not there."""
    result = run(light, "-m", "pytest", "-q", "--katas=solutions", "tests/clip_loss")
    assert result.returncode == 0, result.stdout + result.stderr


def imported_modules(file: Path) -> set[str]:
    """The first names of everything that `file` imports, late imports included."""
    modules = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
    return modules


def test_what_is_imported_is_declared():
    """A library that comes along by luck is gone with the next version of what brought it."""
    files = [
        *(file for file in (ROOT / "dojo").rglob("*.py") if "tests" not in file.relative_to(ROOT).parts),
        *(ROOT / "solutions").glob("*.py"),
        *(file for file in (ROOT / "tests").rglob("*.py") if "peers" not in file.parts),
        ROOT / "conftest.py",
    ]
    modules = set().union(*map(imported_modules, files)) - sys.stdlib_module_names - {"dojo", "katas", "tests"}
    owners = metadata.packages_distributions()
    imported = {canonicalize_name(owner) for module in modules for owner in owners.get(module, [module])}
    optional = names([*EXTRAS["notebooks"], *EXTRAS["cohort"], *EXTRAS["tutor"], *EXTRAS["room"], *EXTRAS["peers"]])
    # nbval and ipykernel bring the first two; the third is for the check of the links, which is the repository's own
    assert imported - names(PROJECT["dependencies"]) - optional <= {
        "babel",
        "nbformat",
        "jupyter-client",
        "markdown-it-py",
    }
