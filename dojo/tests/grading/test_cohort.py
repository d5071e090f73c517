"""A class: each distinct file is graded once, an interrupted run goes on, and the page shows frequent mistakes."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from dojo.cli.main import main
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import find_checkout
from dojo.grading import grader as grader_module
from dojo.grading.cohort import plan as plan_module
from dojo.grading.cohort import run, summary
from dojo.grading.cohort.plan import Plan, ResultStore, find_submissions, read_class
from dojo.grading.cohort.similarity import find_similar
from dojo.grading.reports import read_report
from dojo.grading.results import EXIT_WITH_FAULTS, CaseResult, KataResult
from dojo.grading.sandbox.faults import GraderFault
from dojo.grading.submission.intake import SubmittedFile
from dojo.grading.submission.read import UnreadableSubmission
from dojo.tests.grading.submissions import make_class

pytestmark = pytest.mark.skipif(os.name == "nt", reason="submissions run in forked processes")
CHECKOUT = find_checkout(Path(__file__).parent)
KATAS = ["noise_schedules", "lora_memory"]
ONLY = [f"--only={name}" for name in KATAS]


def command(*arguments):
    return [sys.executable, "-m", "dojo.cli.main", "grade-cohort", *map(str, arguments)]


def grade_cohort(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, cwd=CHECKOUT.root, timeout=600)


def scores(out):
    reports = sorted((out / "submissions").glob("*/report.json"))
    return {path.parent.name: json.loads(path.read_text())["score"] for path in reports}


@pytest.fixture(scope="module")
def classroom(tmp_path_factory):
    """Twelve submissions, one of them empty, graded once."""
    folder = tmp_path_factory.mktemp("class")
    make_class(CHECKOUT, folder, 11, KATAS, seed=3)
    (folder / "student-empty").mkdir()
    out = tmp_path_factory.mktemp("out")
    done = grade_cohort(folder, "--out", out, *ONLY)
    assert done.returncode == 0, done.stderr
    return folder, out


def test_each_submission_has_its_report(classroom):
    folder, out = classroom
    by_name = scores(out)
    assert set(by_name) == {path.name for path in folder.iterdir()}
    assert by_name["student-empty"] == 0
    assert max(by_name.values()) == 20
    lines = (out / "cohort.csv").read_text().splitlines()
    assert len(lines) == 13
    assert lines[0].startswith('"submission","score","max_score","noise_schedules points"')


def test_a_second_run_grades_nothing_and_gives_the_same_scores(classroom):
    folder, out = classroom
    before = {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.json")}
    csv = (out / "cohort.csv").read_text()
    done = grade_cohort(folder, "--out", out, *ONLY, "--jobs=1")
    assert "0 to grade" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.json")} == before
    assert (out / "cohort.csv").read_text() == csv


def test_a_run_that_is_killed_goes_on(classroom, tmp_path):
    """Stored results are used, and a damaged one counts as not graded."""
    folder, out = classroom
    (tmp_path / "seed").write_text((out / "seed").read_text())
    process = subprocess.Popen(command(folder, "--out", tmp_path, *ONLY), stderr=subprocess.DEVNULL, cwd=CHECKOUT.root)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "results").rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = list((tmp_path / "results").rglob("*.json"))
    assert kept
    kept[0].write_text(kept[0].read_text()[:50])
    done = grade_cohort(folder, "--out", tmp_path, *ONLY)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path) == scores(out)


def test_a_dask_cluster_grades_the_same_and_survives_a_lost_worker(classroom, tmp_path, monkeypatch):
    """One of two workers is killed while it grades, and the other one grades its shard."""
    distributed = pytest.importorskip("distributed")
    folder, out = classroom
    plan = read_class(CHECKOUT, find_submissions(folder)[0], KATAS)
    secret = (out / "seed").read_text().strip().encode()
    settings = run.GraderSettings(str(CHECKOUT.root), tuple(KATAS), secret, name_mistakes=False)
    done = []
    monkeypatch.setattr(run, "SHARD_FILES", 4)  # three shards or more, for two workers
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    with cluster, settings.make_grader(1) as grader:
        store = ResultStore(tmp_path, grader)
        victim = next(iter(cluster.workers.values()))

        def step():
            if not done:
                os.kill(victim.pid, signal.SIGKILL)
            done.append(1)

        run.run_on_dask(settings, plan, store, step, cluster.scheduler_address, 2)
        graded = dict(run.collect_results(grader, plan, store))
    assert not run.ungraded(plan, store)
    assert {name: round(sum(r.points for r in results), 2) for name, results in graded.items()} == scores(out)


def test_a_shard_that_fails_on_a_cluster_twice_is_an_error(classroom, tmp_path, monkeypatch):
    """The other shards count, and the next run tries it again."""
    distributed = pytest.importorskip("distributed")
    folder, _ = classroom
    plan = read_class(CHECKOUT, find_submissions(folder)[0], KATAS)
    settings = run.GraderSettings(str(CHECKOUT.root), tuple(KATAS), b"a secret", name_mistakes=False)

    def grade_shard(settings, files):
        if files[0].kata == KATAS[0]:
            raise OSError("no space")
        return [
            (run.result_to_json(KataResult(file.kata, "pass", 10.0, 10.0, ())), (file.kata, file.sha256))
            for file in files
        ]

    monkeypatch.setattr(run, "grade_shard", grade_shard)
    cluster = distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None, silence_logs=50
    )
    with cluster, settings.make_grader(1) as grader:
        store = ResultStore(tmp_path, grader)
        run.run_on_dask(settings, plan, store, lambda: None, cluster.scheduler_address, 1)
        graded = dict(run.collect_results(grader, plan, store))
    statuses = {result.status for name, results in graded.items() for result in results if result.id == KATAS[0]}
    assert "error" in statuses
    assert "pass" not in statuses


def test_a_fault_of_the_grader_is_an_error_and_is_tried_again(tmp_path):
    """It is in the report of this run, and no result is stored for the next."""
    grader = SimpleNamespace(
        upstream_sha256="", seed=SimpleNamespace(commitment=""), selftest=SimpleNamespace(layers=()), name_mistakes=True
    )
    plan = Plan({"ada": {"tiny": SubmittedFile("tiny", None, "ab", "ok")}}, {}, {("tiny", "ab"): b"x = 1"})
    store = ResultStore(tmp_path, grader)
    ((_, (missing,)),) = run.collect_results(grader, plan, store)
    assert missing.status == "error"
    fault = KataResult(
        "tiny", "error", 0.0, 10.0, (CaseResult("a", False, "The grader failed."),), "ab", "The grader failed."
    )
    store.save(("tiny", "ab"), fault)
    assert list(run.collect_results(grader, plan, store)) == [("ada", (fault,))]
    assert run.ungraded(plan, ResultStore(tmp_path, grader)) == [("tiny", "ab")]


@pytest.fixture
def faulty(tmp_path, monkeypatch):
    """A class of which one file cannot be graded: the command's result and the folder with what it wrote."""
    right = CHECKOUT.reference("noise_schedules").read_text()
    for name, text in {"ada": right, "bob": right + "# FAULT\n", "cleo": right + "# the same\n"}.items():
        (tmp_path / "class" / name).mkdir(parents=True)
        (tmp_path / "class" / name / "noise_schedules.py").write_text(text)
    judge = grader_module.judge

    def judge_or_fail(sandbox, key, source, sha256):
        if "FAULT" in source:
            raise GraderFault("the warm process did not start")
        return judge(sandbox, key, source, sha256)

    monkeypatch.setattr(grader_module, "judge", judge_or_fail)
    arguments = ["grade-cohort", str(tmp_path / "class"), "--out", str(tmp_path / "out"), ONLY[0], "--jobs=1"]
    return lambda: CliRunner().invoke(main, arguments), tmp_path / "out"


def test_a_fault_of_the_grader_is_no_mark_in_a_class(faulty):
    """It is told with its reason, is in neither the median nor a column of points, and the command does not end with 0."""
    grade, out = faulty
    done = grade()
    assert done.exit_code == EXIT_WITH_FAULTS
    assert "bob, noise_schedules: The grader failed: the warm process did not start." in done.output
    assert "1 file could not be graded, which is no mark and not in the median." in done.output
    assert "Median 10 of 10 points" in done.output
    report = read_report((out / "submissions" / "bob" / "report.json").read_bytes())
    assert [(kata.status, kata.points) for kata in report.katas] == [("error", 0.0)]
    rows = {row["submission"]: row for row in csv.DictReader((out / "cohort.csv").open())}
    assert (rows["bob"]["score"], rows["bob"]["noise_schedules points"]) == ("", "")
    assert (rows["ada"]["score"], rows["ada"]["noise_schedules points"]) == ("10.0", "10.0")
    assert "1 could not be graded in full, by a fault of the grader" in (out / "index.html").read_text()


def test_a_report_that_cannot_be_written_keeps_no_other_from_being_written(faulty, monkeypatch):
    grade, out = faulty
    (out / "submissions").mkdir(parents=True)
    (out / "submissions" / "ada").write_text("a file where a folder should be")
    done = grade()
    assert done.exit_code == EXIT_WITH_FAULTS
    assert "submissions/ada/report.json cannot be written" in done.output
    assert (out / "submissions" / "cleo" / "report.json").exists()
    assert (out / "cohort.csv").exists()


def test_a_submission_that_may_not_be_read_is_an_error(tmp_path, monkeypatch):
    """A student who handed nothing in gets nothing; what the teacher's user may not read is no mark."""
    for name in ("ada", "bob"):
        (tmp_path / name).mkdir()

    def read(folder, *_, **__):
        raise UnreadableSubmission("may not be read") if folder.name == "ada" else UserError("holds no kata")

    monkeypatch.setattr(plan_module, "read_submission", read)
    plan = read_class(CHECKOUT, find_submissions(tmp_path)[0], KATAS)
    statuses = {name: {file.status for file in files.values()} for name, files in plan.submissions.items()}
    assert statuses == {"ada": {"error"}, "bob": {"not_attempted"}}


def test_the_page_shows_frequent_mistakes(classroom):
    _, out = classroom
    page = (out / "index.html").read_text()
    assert "A class of 12" in page
    assert "student-empty" in page
    named: list[str] = []
    for report in (out / "submissions").glob("*/report.json"):
        for kata in json.loads(report.read_text())["katas"]:
            named = named or [name for name in kata["mistakes"] if f"×: {name}" in page]
    assert named


def test_every_folder_gets_a_unique_name(tmp_path):
    """Also folders whose names are not UTF-8, have 240 bytes, or differ only by a blank."""
    names = [b"alice", b"alice ", b"\xff", b"\\udcff", b"\xff" * 60, b"a" * 240, b"name~" + b"x"]
    # Names that some file systems take for one, or do not allow.
    names += [
        b"ADA",
        b"Ada",
        b"ada",
        "Ren\u00e9".encode(),
        "Rene\u0301".encode(),
        b"carl",
        b"carl.",
        b"a:b",
        b"a?b",
        b"straSSe",
    ]
    names += ["stra\u00dfe".encode(), b"alice~" + hashlib.sha256(b"alice ").hexdigest()[:16].encode()]
    for name in names:
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / "handed_in.zip").write_bytes(b"")
    submissions, others = find_submissions(tmp_path)
    assert len(submissions) == len(names) == len({path.name for path in submissions.values()})
    assert all(len(name) < 120 and name.isprintable() for name in submissions)
    alike = {unicodedata.normalize("NFKC", name).casefold().rstrip(". ") for name in submissions}
    assert len(alike) == len(names)
    assert not set("".join(submissions)) & set('<>:"|?*\\')
    assert {"alice", "ADA", "carl"} <= set(submissions)
    assert others == ["handed_in.zip"]
    with pytest.raises(UserError, match="Unpack the archives"):
        find_submissions(_only_a_zip(tmp_path))


def test_folders_that_nobody_has_made_are_no_submissions(tmp_path):
    """File managers, file systems and archivers add them."""
    for name in ("ada", "__MACOSX", "lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir", ".git"):
        (tmp_path / name).mkdir()
    assert find_submissions(tmp_path) == ({"ada": tmp_path / "ada"}, [])


def test_a_bulk_download_of_files_is_told_what_to_do(tmp_path):
    (tmp_path / "ada_LATE_1234_5678_ddpm.py").touch()
    with pytest.raises(UserError, match="Make a folder for each student"):
        find_submissions(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "007",
        "1e5",
        "1E+5",
        "3-4",
        "3/4",
        "2024-01-02",
        "1.50",
        "12:30",
        "mar1",
        "Sep-3",
        "1234567890123456789",
        "TRUE",
        "50%",
        "=A1",
        "+1",
        "-1",
        "@x",
        "1,000",
    ],
)
def test_a_spreadsheet_changes_no_name(text):
    """It would show another number, a day, a formula's result; the apostrophe makes the cell a text."""
    assert summary.csv_cell(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["ada", "0", "7", "20241234", "s007", "3-4 people", "a=b", "march hare", "1e5x", "e5", "", "May Li", "Jan"]
)
def test_a_name_that_a_spreadsheet_leaves_alone_stays_as_it_is(text):
    assert summary.csv_cell(text) == text


def test_names_in_one_cell_can_be_told_apart():
    """A name may have blanks and commas, and no slash."""
    made = summary.CohortSummary({}, {}, "", 0, [], {}, [("tiny", ["ada b", "c, d", "007"])], [])
    rows = list(csv.reader(summary.similar_as_csv(made).splitlines()))
    assert rows[1] == ["tiny", "1", "ada b / c, d / 007", ""]


def _only_a_zip(folder):
    inner = folder / "alice"
    (inner / "x.zip").write_bytes(b"")
    return inner


def test_folder_names_are_neither_formulas_nor_markup():
    """A submission may choose the name of its folder."""
    assert summary.csv_cell("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    plan = Plan({}, {"<script>x</script>": "no <b>"}, {})
    page = summary.as_page(summary.summarise(CHECKOUT, load_catalog(CHECKOUT), plan, {}, "fenced"))
    assert "<script>x" not in page
    assert "<b>no" not in page


def test_a_copy_with_other_names_is_reported_and_the_published_answer_is_not():
    """Renaming and comments change no fingerprint. Fingerprints of published texts do not count."""
    original = CHECKOUT.reference("early_stopping").read_text()
    copied = original.replace("patience", "waits").replace("best", "top_value") + "# mine\n"
    other = CHECKOUT.reference("data_pipeline").read_text()
    pairs = find_similar("x", {"a": original, "b": copied, "c": other}, [])
    assert [(pair.a, pair.b) for pair in pairs] == [("a", "b")]
    assert find_similar("x", {"a": original, "b": copied}, [original]) == []
