"""The workflows are valid and pinned, and each job has only the permissions that it needs."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml

from dojo.cli.grade import grade
from dojo.grading.reports import FORMATS
from dojo.tests.grading.made_up_reports import as_bytes, every_status

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TEXTS = {file.stem: file.read_text(encoding="utf-8") for file in FILES}
# BaseLoader keeps `on` a word; YAML 1.1 reads it as true.
WORKFLOWS = {name: yaml.load(text, Loader=yaml.BaseLoader) for name, text in TEXTS.items()}
JOBS = [(name, job) for name, workflow in WORKFLOWS.items() for job in workflow["jobs"]]
INSTALL = "python3 -m venv .venv && . .venv/bin/activate && pip install -q -r requirements.txt && kata"
GUIDE = (ROOT / "docs" / "grading.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"^( *)```(\w+)\n(.*?)^\1```$", GUIDE, re.MULTILINE | re.DOTALL)
GRADE = WORKFLOWS["grade"]["jobs"]


def steps(job):
    return job["steps"]


def commands(job):
    return "\n".join(step.get("run", "") for step in steps(job))


def actions(job):
    return [step["uses"].partition("@")[0] for step in steps(job) if "uses" in step]


def bash(script, folder, **environment):
    """Runs a script with the options that GitHub uses."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def step_of(job, name):
    return next(step["run"] for step in steps(job) if step.get("name") == name)


def test_the_linter_finds_nothing():
    """zizmor looks for injection through inputs, credentials on disk, unpinned actions and wide permissions."""
    zizmor = shutil.which("zizmor", path=str(Path(sys.executable).parent))
    assert zizmor, "zizmor is not installed here: pip install -r requirements-dev.txt"
    linted = subprocess.run(
        [zizmor, "--offline", "--no-progress", "--persona=auditor", "--strict-collection", str(FILES[0].parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert linted.returncode == 0, linted.stdout


def test_there_are_three_workflows():
    """The project's own CI, a learner's practice, a teacher's grading."""
    assert sorted(WORKFLOWS) == ["ci", "grade", "practice"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_permissions_are_given_to_single_jobs_only(name):
    """`permissions: {}` at the top. A job that needs more lists it."""
    assert WORKFLOWS[name]["permissions"] == {}
    for job in WORKFLOWS[name]["jobs"].values():
        assert job["permissions"] in ({}, {"contents": "read"})
        assert int(job["timeout-minutes"]) <= 60


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_actions_are_pinned_by_commit(name, job):
    """The owner of an action can move a tag, but not a commit."""
    for step in steps(WORKFLOWS[name]["jobs"][job]):
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", step["uses"])
            assert f"{step['uses']} # v" in TEXTS[name]
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] == "false"


def test_one_action_has_one_version():
    """Two pins of one action mean that an update was forgotten."""
    pins = set(re.findall(r"uses: (actions/[a-z-]+@[0-9a-f]{40} # v[\d.]+)", "\n".join(TEXTS.values())))
    assert len({pin.partition("@")[0] for pin in pins}) == len(pins)


def test_installation_is_the_readmes_first_command():
    """CI runs the same command as a learner, so the README is tested."""
    assert INSTALL in (ROOT / "README.md").read_text(encoding="utf-8")
    assert INSTALL in commands(WORKFLOWS["practice"]["jobs"]["practice"])
    assert INSTALL in commands(GRADE["grade"])


def test_practice_is_labelled_as_no_grade():
    """In the workflow's and the job's name, and at the top of the summary."""
    practice = WORKFLOWS["practice"]
    assert practice["name"] == practice["jobs"]["practice"]["name"] == "Practice: not a grade"
    assert "# Practice: not a grade" in commands(practice["jobs"]["practice"])
    assert "pull_request_target" not in TEXTS["practice"]


def test_the_job_that_runs_the_submission_has_nothing_to_steal():
    """It has no permission, no secret, no checkout with a token, and no cache that another job would load."""
    assert GRADE["grade"]["permissions"] == {}
    assert "secrets." not in yaml.dump(GRADE["grade"])
    assert "actions/checkout" not in actions(GRADE["grade"])
    assert not any("cache" in step.get("with", {}) for step in steps(GRADE["grade"]))


def test_the_submission_runs_in_one_job_alone():
    """The job with the token runs none of its code, and the job that publishes does not get it."""
    assert [name for name, job in GRADE.items() if "kata grade" in commands(job)] == ["grade"]
    assert "python" not in commands(GRADE["fetch"])
    assert "outputs.submission" not in yaml.dump(GRADE["publish"])
    assert not {"actions/checkout", "actions/setup-python"} & set(actions(GRADE["publish"]))
    assert "pip" not in commands(GRADE["publish"])


def test_artifact_names_contain_the_submission():
    """A run may grade a class, and two artifacts of one name are an error."""
    for job in GRADE.values():
        for step in steps(job):
            if step.get("uses", "").startswith("actions/upload-artifact@"):
                assert re.fullmatch(r"[a-z-]+-\$\{\{ \w+\.\w+\.outputs\.name \}\}", step["with"]["name"])


def test_artifacts_are_downloaded_by_number():
    """The job that ran the submission could upload another artifact of the same name."""
    for job in GRADE.values():
        for step in steps(job):
            if step.get("uses", "").startswith("actions/download-artifact@"):
                assert "name" not in step["with"]
                assert re.fullmatch(r"(\$\{\{ needs\.\w+\.outputs\.\w+ \}\},?)+", step["with"]["artifact-ids"])


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_scripts_contain_no_expressions(name, job):
    """`${{ inputs.x }}` in a script runs the text of x as code. Through `env` it is a value."""
    assert "${{" not in commands(WORKFLOWS[name]["jobs"][job])


def test_both_ways_to_start_grading_have_the_same_inputs():
    """GitHub needs them written twice."""
    call, dispatch = (WORKFLOWS["grade"]["on"][way]["inputs"] for way in ("workflow_call", "workflow_dispatch"))
    assert list(call) == list(dispatch)
    for name in call:
        assert call[name].get("default") == dispatch[name].get("default")
    assert set(call["formats"]["default"].split()) <= set(FORMATS)


@pytest.mark.parametrize(("name", "job"), JOBS)
def test_every_script_is_bash(name, job):
    """A syntax error would otherwise show only in a run."""
    for step in steps(WORKFLOWS[name]["jobs"][job]):
        if "run" in step:
            checked = subprocess.run(["bash", "-n"], input=step["run"], capture_output=True, text=True, check=False)
            assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("SUBMISSION", "ada"),
        ("SUBMISSION", "a/b; echo x"),
        ("UPSTREAM", "a/b/c"),
        ("UPSTREAM_REF", "main"),
        ("UPSTREAM_REF", "0" * 39),
        ("ONLY", "ddpm --seed=1"),
        ("ONLY", "$(id)"),
        ("FORMATS", "junit\n--out=/etc"),
    ],
)
def test_odd_inputs_are_refused_with_a_sentence(field, value, tmp_path):
    """Before anything is fetched."""
    script = step_of(GRADE["fetch"], "Check what was asked for")
    good = {"SUBMISSION": "ada/katas", "UPSTREAM": "o/u.v-w", "UPSTREAM_REF": "a" * 40, "ONLY": "", "FORMATS": "junit"}
    good["GITHUB_OUTPUT"] = str(tmp_path / "output")
    assert bash(script, tmp_path, **good).returncode == 0
    assert (tmp_path / "output").read_text() == "name=ada--katas\n"
    refused = bash(script, tmp_path, **{**good, field: value})
    assert refused.returncode == 1
    assert "must look like" in refused.stdout


@pytest.mark.parametrize("layout", ["katas", "answers", "loose", "empty", "a link"])
def test_a_submission_is_packed_as_it_is(layout, tmp_path):
    """A link stays a link, so that the grader refuses it. Other files of the repository are not packed."""
    (tmp_path / "upstream" / ".git").mkdir(parents=True)
    (tmp_path / "upstream" / "README.md").write_text("katas")
    handed_in = tmp_path / "submission"
    (handed_in / ".git").mkdir(parents=True)
    (handed_in / "conftest.cfg").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    if layout == "katas":
        (handed_in / "katas").mkdir()
        (handed_in / "katas" / "ddpm.py").symlink_to("/etc/passwd")
    elif layout == "answers":
        (handed_in / "answers").mkdir()
        (handed_in / "answers" / "ddpm.py").write_text("x = 1\n")
    elif layout == "loose":
        (handed_in / "-rf.py").write_text("x = 1\n")
    elif layout == "a link":
        (handed_in / "katas").symlink_to(tmp_path / "elsewhere")
    packed = bash(step_of(GRADE["fetch"], "Pack both"), tmp_path)
    assert packed.returncode == 0, packed.stderr
    listed = bash("tar -tvf packed/submission.tar", tmp_path).stdout
    assert "conftest" not in listed
    assert ".git" not in listed + bash("tar -tf packed/upstream.tar", tmp_path).stdout
    links = {"katas": "katas/ddpm.py -> /etc/passwd", "a link": f"katas -> {tmp_path}/elsewhere"}
    assert links.get(layout, "katas/") in listed
    assert ("-rf.py" in listed) == (layout == "loose")
    assert ("answers/ddpm.py" in listed) == (layout == "answers")


def test_the_publishing_script_checks_and_renders(tmp_path):
    """The script of the workflow, on a valid and on a forged report."""
    packed, unchecked = tmp_path / "packed", tmp_path / "unchecked"
    packed.mkdir()
    unchecked.mkdir()
    script = step_of(GRADE["publish"], "Check the report and render it")
    files = [
        "dojo/__init__.py",
        "dojo/core/__init__.py",
        "dojo/core/errors.py",
        "dojo/grading/__init__.py",
        "dojo/grading/results.py",
        "dojo/grading/reports",
    ]
    subprocess.run(["tar", "-cf", packed / "upstream.tar", "-C", ROOT, *files], check=True)
    (unchecked / "report.json").write_bytes(as_bytes(every_status()))
    environment = {"FORMATS": "summary junit", "GITHUB_OUTPUT": str(tmp_path / "output")}
    done = bash(script, tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in (tmp_path / "report").iterdir()) == ["junit.xml", "report.json", "summary.md"]
    assert (tmp_path / "output").read_text().splitlines()[0] == "score=13.33"

    shutil.rmtree(tmp_path / "report")
    shutil.rmtree(tmp_path / "upstream")
    (unchecked / "report.json").write_text('{"schema": "kata-grade/1", "score": 1000}')
    refused = bash(script, tmp_path, **environment)
    assert refused.returncode == 2
    assert "not a report that `kata grade` wrote" in refused.stderr
    assert not list((tmp_path / "report").iterdir())


def recipes(language):
    return [textwrap.dedent(text) for _, tongue, text in RECIPES if tongue == language]


def test_the_guides_files_can_be_parsed():
    """A teacher copies them unchanged."""
    assert {language for _, language, _ in RECIPES} == {"bash", "python", "yaml", "dockerfile"}
    for text in recipes("bash"):
        checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
    for text in recipes("python"):
        compile(text, "autograder.py", "exec")
    for text in recipes("yaml"):
        job = yaml.load(text, Loader=yaml.BaseLoader)["jobs"]["grade"]
        call = WORKFLOWS["grade"]["on"]["workflow_call"]
        assert set(job["with"]) <= set(call["inputs"])
        assert set(job["secrets"]) <= set(call["secrets"])
        assert {name for name, field in call["inputs"].items() if field.get("required") == "true"} <= set(job["with"])


def test_the_guides_commands_have_the_options_that_there_are():
    """Each option of `kata grade` in the recipes and in the workflow exists."""
    existing = {option for parameter in grade.params for option in parameter.opts}
    calls = re.findall(r"kata\"?,? ?\"?grade\b(.*?)(?:\n *\n|$)", GUIDE + commands(GRADE["grade"]), re.DOTALL)
    used = {option for call in calls for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", call.split("```")[0])}
    assert {"--only", "--out", "--format", "--require"} <= used
    assert used <= existing


def test_the_guide_names_every_format():
    """With the file that it writes."""
    for name, (file, _) in FORMATS.items():
        assert f"| `{name}` | `{file}` |" in GUIDE
