"""`kata grade` as a teacher meets it: scores, reasons, reports, levels. The attacks have a suite of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dojo.cli.main import main
from dojo.core.errors import UserError
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import find_checkout
from dojo.grading import grader as grader_module
from dojo.grading import reports
from dojo.grading.grader import Grader
from dojo.grading.reports import read_report
from dojo.grading.results import EXIT_WITH_FAULTS, FORMAT_FILES, LEVELS, ONLY_MARKS, CaseResult, KataResult
from dojo.grading.sandbox import sandbox, selftest
from dojo.grading.sandbox.faults import GraderFault, KilledFromOutside
from dojo.grading.sandbox.isolation import LAYERS
from dojo.grading.sandbox.sandbox import Sandbox
from dojo.grading.sandbox.session import Session
from dojo.grading.scoring import score, seeds
from dojo.grading.scoring.score import failed_everywhere
from dojo.grading.scoring.seeds import Seed
from dojo.grading.submission import policy
from dojo.grading.submission.intake import SubmittedFile

pytestmark = pytest.mark.skipif(os.name == "nt", reason="submissions run in forked processes")
CHECKOUT = find_checkout(Path(__file__).parent)
KATAS = ["noise_schedules", "top_k_sampling"]
SECRET = b"a secret of this test"
WRONG = "def linear_betas(*args, **options):\n    return 1\n"


@pytest.fixture(scope="module")
def grader():
    with Grader(CHECKOUT, KATAS, Seed(SECRET), jobs=1) as grader:
        yield grader


def reference(kata):
    return CHECKOUT.reference(kata).read_text()


def graded(grader, text, kata="noise_schedules"):
    return grader.grade_file(SubmittedFile(kata, text.encode(), "0" * 64, "ok"))


def test_the_reference_scores_full(grader):
    for kata in KATAS:
        result = graded(grader, reference(kata), kata)
        assert (result.status, result.points, result.reason) == ("pass", result.max_points, "")
        assert all(case.passed and not case.reason for case in result.cases)


def test_other_right_answers_score_full(grader):
    """There are several right ways to write each kata."""
    for kata in KATAS:
        for path in CHECKOUT.alternatives(kata):
            assert graded(grader, path.read_text(), kata).status == "pass", path


def test_a_mistake_costs_its_cases_and_is_named(grader):
    """Partial credit, and the name of the mistake in the reason."""
    mistake = load_mistakes(CHECKOUT.mistakes("top_k_sampling")).named[0]
    result = graded(grader, mistake.apply(reference("top_k_sampling")), "top_k_sampling")
    assert result.status == "fail"
    assert 0 < result.points < result.max_points
    assert mistake.name in result.mistakes
    assert mistake.name in result.reason


def test_the_stub_is_not_attempted(grader):
    result = graded(grader, CHECKOUT.stub("noise_schedules").read_text())
    assert (result.status, result.points) == ("not_attempted", 0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 / 0\n", "cannot be imported: ZeroDivisionError: division by zero (line 1)"),
        ("x = 1\n", "there is no linear_betas in the file (the stub has it)"),
        ("import os\nos._exit(0)\n", "while it was imported it ended the process (exit code 0)"),
        ("def __getattr__(name):\n    import os\n    os.abort()\n", "aborted the interpreter (SIGABRT)"),
        ("def __getattr__(name):\n    return lambda *a, **k: None\n", "what linear_betas returned: AttributeError: 'NoneType' object"),
        ("def __getattr__(name):\n    def always(*a, **k):\n        raise ValueError\n    return always\n", "raised ValueError"),
        ("def __getattr__(name):\n    return lambda *a, **k: a[0]\n", "expected"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_answer_scores_nothing_and_says_why(grader, text, says):
    """Always raising, or returning the input, gets some cases right; those count only beside a right result."""
    result = graded(grader, text)
    assert result.points == 0
    assert result.status == "fail"
    assert says in " ".join(case.reason for case in result.cases)


def test_a_case_that_could_be_guessed_counts_only_beside_one_that_could_not(grader):
    key = grader.answer_key("top_k_sampling")
    assert key.guessable
    assert {case.name for case in key.cases} - key.guessable
    lazy = "def __getattr__(name):\n    def always(*a, **k):\n        raise ValueError\n    return always\n"
    result = graded(grader, lazy, "top_k_sampling")
    assert any("could be guessed, and too little else is right" in case.reason for case in result.cases)


def test_one_seed_gives_one_report(grader):
    """So a grade can be repeated afterwards. Another seed gives other inputs."""

    def report(by):
        mistake = load_mistakes(CHECKOUT.mistakes("noise_schedules")).named[0]
        return [(case.id, case.reason) for case in graded(by, mistake.apply(reference("noise_schedules"))).cases]

    def report_of_another(secret):
        with Grader(CHECKOUT, ["noise_schedules"], Seed(secret), name_mistakes=False) as another:
            return report(another)

    first = report(grader)
    assert first == report_of_another(SECRET)
    assert first != report_of_another(b"another one")


def test_a_seed_is_committed_to_and_not_revealed():
    seed = Seed(b"x" * 32)
    assert seed.commitment == Seed(b"x" * 32).commitment != Seed(b"y" * 32).commitment
    assert "xxx" not in repr(seed)
    assert seed.number("cases", "ddpm") != seed.number("cases", "ddim")
    assert 0 <= seed.number("cases", "ddpm") < 2**63


def test_a_seed_file_must_hold_a_secret(tmp_path):
    short = tmp_path / "seed"
    short.write_text("7\n")
    for file in (short, tmp_path / "none"):
        with pytest.raises(UserError, match="openssl rand"):
            seeds.choose(None, file)


def raising(*faults):
    """A function that raises these, one at each call, and then the last one for ever; and the list of its calls."""
    calls = []

    def fail(*arguments, **options):
        calls.append(arguments)
        raise faults[min(len(calls), len(faults)) - 1]

    return fail, calls


@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("start", GraderFault("the warm process did not start")), ("isolation", GraderFault("it did not open")),
        ("load", GraderFault("the pipe broke")), ("case", KilledFromOutside("somebody killed it")),
        ("case", OSError(28, "no space")), ("comparison", ZeroDivisionError("ours")), ("policy", UserError("no parser")),
        ("policy", OSError(11, "no process")),
    ],
)  # fmt: skip
def test_a_fault_of_the_grader_is_an_error_and_no_failure(grader, monkeypatch, place, fault):
    """Wherever it strikes: never a pass, never a failed submission, and never an exception that stops the others."""
    owner, name = {
        "start": (Sandbox, "_session"), "isolation": (sandbox, "_await_isolation"), "load": (Session, "load"),
        "case": (Session, "observe"), "comparison": (score, "_kata_result"), "policy": (policy, "review_each"),
    }[place]  # fmt: skip
    file = SubmittedFile("noise_schedules", reference("noise_schedules").encode(), "0" * 64, "ok")
    grader.answer_key("noise_schedules")
    with monkeypatch.context() as patched:
        fail, calls = raising(fault)
        patched.setattr(owner, name, fail)
        (refusal,) = grader.refusals([file])
        result = grader.grade_file(file, refusal)
    assert calls
    assert (result.status, result.points) == ("error", 0)
    assert "The grader failed: " in result.reason
    assert str(fault) in result.reason
    assert "no fault of the submission" in result.reason
    assert len(result.cases) > 5
    assert not any(case.passed for case in result.cases)
    report = grader.report("ada", {kata: file for kata in KATAS}, (result,), 1.0)
    assert read_report(json.dumps(report.as_dict()).encode()) == report
    assert graded(grader, reference("noise_schedules")).status == "pass"


@pytest.mark.parametrize("place", ["_await_isolation", "_session", "_receive"])
def test_a_fault_that_passes_is_no_error(grader, monkeypatch, place):
    """The grader tries again once, with a new fork server."""
    owner = sandbox if place == "_await_isolation" else Sandbox
    right, failed = getattr(owner, place), []

    def fail_once(*arguments):
        if not failed:
            failed.append(place)
            raise GraderFault("a moment of weakness")
        return right(*arguments)

    monkeypatch.setattr(owner, place, fail_once)
    assert graded(grader, reference("noise_schedules")).status == "pass"
    assert failed


def test_an_answer_key_that_fails_once_is_made_again(monkeypatch):
    """Else a whole class would have no result of this kata."""
    make, failed = grader_module.make_answer_key, []

    def fail_once(*arguments):
        if not failed:
            failed.append(1)
            raise GraderFault("a moment of weakness")
        return make(*arguments)

    monkeypatch.setattr(grader_module, "make_answer_key", fail_once)
    with Grader(CHECKOUT, ["noise_schedules"], Seed(b"a secret"), name_mistakes=False) as grader:
        assert graded(grader, reference("noise_schedules")).status == "pass"
    assert failed


@pytest.mark.parametrize(("without", "status"), [((), "error"), (("seccomp",), "fail")])
def test_only_without_seccomp_can_a_submission_have_ended_the_fork_server(monkeypatch, without, status):
    """Then one that does so twice is to blame. Else somebody else has, and it is no mark."""
    with Grader(CHECKOUT, ["noise_schedules"], Seed(b"a secret"), name_mistakes=False, without=without) as grader:
        grader.answer_key("noise_schedules")
        fail, calls = raising(KilledFromOutside("the process that forks the workers was killed"))
        monkeypatch.setattr(Session, "observe", fail)
        result = graded(grader, reference("noise_schedules"))
        assert (result.status, result.points, len(calls)) == (status, 0, 2)


def test_a_second_fork_server_starts_only_when_two_are_needed(monkeypatch):
    """The sandbox that was used last is used next: starting another one takes seconds, and one kata needs one."""
    start, starts = Sandbox._start, []

    def count(self):
        starts.append(self)
        start(self)

    monkeypatch.setattr(Sandbox, "_start", count)
    with Grader(CHECKOUT, ["noise_schedules"], Seed(b"a secret"), jobs=3) as grader:
        assert graded(grader, reference("noise_schedules")).status == "pass"
        mistake = load_mistakes(CHECKOUT.mistakes("noise_schedules")).named[0]
        assert graded(grader, mistake.apply(reference("noise_schedules"))).mistakes
    assert len(starts) == 1


def test_the_self_test_reports_what_holds(grader):
    """On Linux everything that a hostile kata tries is refused, as root and as any other user."""
    self_test = grader.selftest
    assert set(self_test.layer_states()) == set(LAYERS)
    if sys.platform == "linux" and not self_test.why_off:
        assert self_test.level == "isolated"
    assert LEVELS.index(self_test.level) >= LEVELS.index("sealed")
    with pytest.raises(UserError, match=r"reaches level 'sealed'.*Nothing was graded"):
        selftest.require(selftest.SelfTest("sealed", (), {}, {"start a process": "done"}), "isolated")


@pytest.mark.parametrize("layer", ["landlock", "seccomp", "namespaces"])
def test_right_answers_pass_with_any_layer_off(layer):
    """Systems differ in the layers that they have; the verdict must not."""
    with Grader(CHECKOUT, ["noise_schedules"], Seed(b"a secret"), without=(layer,), name_mistakes=False) as grader:
        assert graded(grader, reference("noise_schedules")).status == "pass"
        assert grader.selftest.layer_states()[layer] != "on"


def kata(*arguments, cwd=None):
    command = [sys.executable, "-m", "dojo.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd or CHECKOUT.root, timeout=300)


def test_the_command_writes_the_report_and_the_formats(tmp_path):
    katas = tmp_path / "handed-in" / "katas"
    katas.mkdir(parents=True)
    (katas / "noise_schedules.py").write_text("\ufeff" + reference("noise_schedules"), encoding="utf-8")
    (katas / "top_k_sampling.py").write_text("def top_k_filter(:\n")
    only = [f"--only={name}" for name in (*KATAS, "ddpm")]
    done = kata("grade", katas.parent, "--out", tmp_path / "out", *only, "--format", "junit", "--format", "gradescope")
    assert done.returncode == 0, done.stderr
    assert "10 of 30 points" in done.stdout
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    entries = {entry["id"]: entry for entry in report["katas"]}
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "noise_schedules": "pass", "top_k_sampling": "refused", "ddpm": "not_attempted",
    }  # fmt: skip
    assert report["schema"] == "kata-grade/1"
    assert (report["score"], report["max_score"]) == (10, 30)
    assert len(entries["ddpm"]["cases"]) > 20, "every case that was expected is in the table"
    assert "line 1" in entries["top_k_sampling"]["reason"]
    assert {"junit.xml", "results.json"} <= set(os.listdir(tmp_path / "out"))


def invoke(tmp_path, *arguments):
    return CliRunner().invoke(
        main, ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), "--jobs=1", *arguments]
    )


@pytest.mark.parametrize("name", sorted(FORMAT_FILES))
def test_a_grading_in_which_anything_is_an_error_does_not_end_with_0(tmp_path, monkeypatch, name):
    """It is told on stderr. A platform that would take the score for a mark gets no file, the others get one that says so."""
    (tmp_path / "in" / "katas").mkdir(parents=True)
    for kata in KATAS:
        (tmp_path / "in" / "katas" / f"{kata}.py").write_text(reference(kata))
    failing = GraderFault("the reference was hit by lightning")
    failed = failed_everywhere("top_k_sampling", ["a"], "error", f"The grader failed: {failing}.", "0" * 64)
    passed = KataResult("noise_schedules", "pass", 10.0, 10.0, (CaseResult("a", True),), "0" * 64)
    monkeypatch.setattr(Grader, "grade_file", lambda self, file, refusal: passed if file.kata == passed.id else failed)
    done = invoke(tmp_path, *(f"--only={kata}" for kata in KATAS), f"--format={name}")
    assert done.exit_code == EXIT_WITH_FAULTS
    assert "top_k_sampling: The grader failed: the reference was hit by lightning." in done.stderr
    assert "1 kata could not be graded: this is no mark." in done.stderr
    assert read_report((tmp_path / "out" / "report.json").read_bytes()).faults == (failed,)
    file = tmp_path / "out" / FORMAT_FILES[name]
    assert file.exists() == (name not in ONLY_MARKS)
    if name == "exercism":
        assert json.loads(file.read_text())["status"] == "error"
    if name in ONLY_MARKS:
        assert f"{file.name} was not written" in done.stderr


def test_a_format_that_cannot_be_made_is_a_sentence(tmp_path, monkeypatch):
    """report.json is complete by then. Another format can be made of it."""
    (tmp_path / "in" / "katas").mkdir(parents=True)
    (tmp_path / "in" / "katas" / "noise_schedules.py").write_text(WRONG)

    def fail(*_):
        raise KeyError("commit")

    monkeypatch.setattr(reports, "render_formats", fail)
    done = invoke(tmp_path, "--only=noise_schedules", "--format=junit", "--no-naming")
    assert done.exit_code == 2
    assert "report.json is complete, and another format could not be made of it (KeyError: 'commit')" in done.stderr
    assert read_report((tmp_path / "out" / "report.json").read_bytes()).score == 0


def test_a_failed_grading_exits_with_2_and_leaves_no_old_score(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.json").write_text('{"score": 290}')
    done = kata("grade", tmp_path / "nowhere", "--out", out, "--only", "noise_schedules")
    assert done.returncode == 2
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads((out / "report.json").read_text())["score"] == 0


def test_the_references_are_never_the_submissions(tmp_path):
    """The current folder may be a submission that is a whole checkout with changed references: they are not used."""
    for folder in ("katas", "solutions", "tests/noise_schedules"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "katas" / "catalog.toml").write_text(CHECKOUT.catalog.read_text())
    (tmp_path / "katas" / "noise_schedules.py").write_text(WRONG)
    (tmp_path / "solutions" / "noise_schedules.py").write_text(WRONG)
    done = kata(
        "grade", ".", "--out", tmp_path.parent / f"{tmp_path.name}-out", "--only", "noise_schedules", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "0 of 10 points" in done.stdout


def test_the_reports_do_not_go_into_the_submission(tmp_path):
    done = kata("grade", tmp_path, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "submission's own folder" in done.stderr


def test_naming_ends_when_no_process_can_be_started():
    """After Ctrl-C, for example: trying again for ever would never end the grading."""
    with Grader(CHECKOUT, ["noise_schedules"], Seed(b"a secret")) as grader:
        key = grader.answer_key("noise_schedules")
        for sandbox in grader._sandboxes:
            sandbox.stop()
        named = load_mistakes(CHECKOUT.mistakes("noise_schedules")).named
        with pytest.raises(GraderFault, match="no process for the named mistakes"):
            grader._evidence_of_mistakes(key, named)


@pytest.mark.parametrize("fault", [GraderFault("the sandbox did not open"), OSError(28, "No space left on device")])
@pytest.mark.parametrize("command", ["grade", "grade-cohort"])
def test_a_grader_that_cannot_start_prints_a_sentence(tmp_path, monkeypatch, command, fault):
    """Exit code 2, and a report that holds no score."""
    (tmp_path / "class" / "in" / "katas").mkdir(parents=True)
    (tmp_path / "class" / "in" / "katas" / "noise_schedules.py").write_text(WRONG)
    monkeypatch.setattr(selftest, "run_selftest", raising(fault)[0])
    folder = tmp_path / "class" / "in" if command == "grade" else tmp_path / "class"
    done = CliRunner().invoke(main, [command, str(folder), "--out", str(tmp_path / "out"), "--only", "noise_schedules"])
    assert done.exit_code == 2
    assert f"Nothing could be graded: {'the sandbox' if isinstance(fault, OSError) else fault}" in done.output
    assert str(fault) in done.output
    if command == "grade":
        assert str(fault) in json.loads((tmp_path / "out" / "report.json").read_text())["error"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the layers")
def test_a_machine_that_offers_less_refuses_to_grade(tmp_path):
    """--require refuses before anything is graded, not afterwards."""
    (tmp_path / "in" / "katas").mkdir(parents=True)
    (tmp_path / "in" / "katas" / "noise_schedules.py").write_text(WRONG)
    lacking = ["--without", "seccomp", "--require", "isolated", "--only", "noise_schedules"]
    done = kata("grade", tmp_path / "in", "--out", tmp_path / "out", *lacking)
    assert done.returncode == 2
    assert "Nothing was graded" in done.stderr
    assert "start a process" in done.stderr
