"""What helps people to work on the repository: editors, hooks, templates and CI agree with the files that they speak of."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from dojo.core.version import VERSION

ROOT = Path(__file__).resolve().parents[3]
INSTALL = "python3 -m venv .venv && . .venv/bin/activate && pip install -q -r requirements.txt && kata"
CHECK = "pip install -q -r requirements-dev.txt && tox"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def test_ci_runs_the_two_commands():
    """The very commands that people read; a browser comes before them."""
    lines = read(".ci/run").splitlines()
    assert lines[-3:] == ["bash .ci/browser", f"{INSTALL} || exit", f"{CHECK} || exit"]
    for command in (INSTALL, CHECK):
        assert f"$ {command}\n" in read("README.md")


@pytest.mark.parametrize("script", ["run", "browser"])
def test_ci_scripts_are_bash(script):
    """A missing `fi` would show only in a run."""
    subprocess.run(["bash", "-n", ROOT / ".ci" / script], check=True)


@pytest.mark.parametrize(
    ("programs", "says"),
    [
        (("chromium", "chromedriver", "apt-get"), ""),
        ((), "there is no apt-get here"),
        (("apt-get", "sudo-refuses"), "apt-get needs root or sudo without a password"),
        (("apt-get-fails",), "apt-get could not install"),
    ],
)
def test_a_browser_that_cannot_be_installed_costs_one_line(programs, says, tmp_path):
    """And never the run: it ends with 0."""
    stand_ins = {
        "id": "echo 0",
        "chromium": "exit 0",
        "chromedriver": "exit 0",
        "apt-get": "echo must not be called >&2; exit 1",
        "apt-get-fails": "exit 100",
        "sudo-refuses": "exit 1",
    }
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for program in ("id", *programs):
        name = program.removesuffix("-fails").removesuffix("-refuses")
        text = "echo 1000" if program == "id" and "sudo-refuses" in programs else stand_ins[program]
        (bin_folder / name).write_text(f"#!{shutil.which('bash')}\n{text}\n")
        (bin_folder / name).chmod(0o755)
    (bin_folder / "env").symlink_to(shutil.which("env"))
    done = subprocess.run(
        [shutil.which("bash"), ROOT / ".ci" / "browser"],
        env={"PATH": str(bin_folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == (1 if says else 0)
    assert says in done.stdout


def test_pre_commit_has_the_versions_of_the_requirements():
    """Two versions of a formatter undo each other's work."""
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", read("requirements-dev.txt"), re.MULTILINE))
    hooks = [hook for repo in yaml.safe_load(read(".pre-commit-config.yaml"))["repos"] for hook in repo["hooks"]]
    assert {hook["id"] for hook in hooks} == {"ruff-check", "ruff-format", "zizmor"}
    for hook in hooks:
        (dependency,) = hook["additional_dependencies"]
        tool, _, version = dependency.partition("==")
        assert hook["entry"].split()[0] == tool
        assert version == pins[tool], f"{hook['id']} has {dependency}; requirements-dev.txt has {pins[tool]}"


def test_the_editor_finds_the_tests_at_once():
    """VS Code's test explorer: pytest, the tests of the katas, and no kata hidden."""
    settings = json.loads(read(".vscode/settings.json"))
    assert settings["python.testing.pytestEnabled"] is True
    (folder,) = settings["python.testing.pytestArgs"]
    assert [folder] == PYPROJECT["tool"]["pytest"]["ini_options"]["testpaths"]
    assert not any("katas" in pattern for pattern in settings.get("files.exclude", {}))
    recommended = json.loads(read(".vscode/extensions.json"))["recommendations"]
    container = json.loads(read(".devcontainer/devcontainer.json"))
    assert set(container["customizations"]["vscode"]["extensions"]) <= set(recommended)


def test_the_container_is_set_up_by_the_readmes_first_command():
    """On the oldest Python that is supported, with the small build of torch."""
    container = json.loads(read(".devcontainer/devcontainer.json"))
    assert container["postCreateCommand"] == INSTALL
    assert container["image"].endswith(":" + PYPROJECT["project"]["requires-python"].removeprefix(">="))
    assert container["containerEnv"]["PIP_EXTRA_INDEX_URL"].endswith("/cpu")


def test_ci_names_each_python_that_is_supported():
    """The oldest is pyproject.toml's."""
    ci = yaml.load(read(".github/workflows/ci.yml"), Loader=yaml.BaseLoader)
    pythons = ci["jobs"]["tox"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == PYPROJECT["project"]["requires-python"]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]
    assert INSTALL in "\n".join(step.get("run", "") for step in ci["jobs"]["macos"]["steps"])


def test_the_changelog_tells_of_this_version_and_the_next():
    """The newest first; the version is the trainer's."""
    headings = re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", VERSION]


def test_the_security_policy_names_every_level():
    """In the order of the grader, and the folder where an attack becomes a test."""
    from dojo.grading.results import LEVELS

    policy = read("SECURITY.md")
    assert tuple(re.findall(r"^\| `(\w+)` \|", policy, re.MULTILINE)) == LEVELS
    assert (ROOT / re.search(r"`(dojo/tests/\S+/attacks/)`", policy)[1]).is_dir()


def test_the_package_is_marked_as_typed():
    """Without `py.typed` a type checker takes everything from it for Any; hatch packs the whole folder into the wheel."""
    assert (ROOT / "dojo" / "py.typed").is_file()
    assert "dojo" in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
