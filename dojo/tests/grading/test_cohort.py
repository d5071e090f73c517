"""A class: each distinct file is graded once, a run that was ended goes on, and the page says what recurs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import find_checkout
from dojo.grading.cohort import plan, summary
from dojo.grading.cohort import run as engine
from dojo.grading.cohort.similarity import alike
from dojo.tests.grading.submissions import make_class

pytestmark = pytest.mark.skipif(os.name == "nt", reason="submissions are fenced by forks")
CHECKOUT = find_checkout(Path(__file__).parent)
KATAS = ["noise_schedules", "lora_memory"]
ONLY = [f"--only={name}" for name in KATAS]


def command(*arguments):
    return [sys.executable, "-m", "dojo.cli.main", "grade-cohort", *map(str, arguments)]


def run(*arguments):
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
    done = run(folder, "--out", out, *ONLY)
    assert done.returncode == 0, done.stderr
    return folder, out


def test_each_submission_has_its_report(classroom):
    folder, out = classroom
    found = scores(out)
    assert set(found) == {path.name for path in folder.iterdir()}
    assert found["student-empty"] == 0
    assert max(found.values()) == 20
    lines = (out / "cohort.csv").read_text().splitlines()
    assert len(lines) == 13
    assert lines[0].startswith('"submission","score","max_score","noise_schedules points"')


def test_a_second_run_grades_nothing_and_says_the_same(classroom):
    folder, out = classroom
    before = {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.json")}
    csv = (out / "cohort.csv").read_text()
    done = run(folder, "--out", out, *ONLY)
    assert "0 to grade" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.json")} == before
    assert (out / "cohort.csv").read_text() == csv


def test_a_run_that_is_killed_goes_on(classroom, tmp_path):
    """Wherever it was: what is graded is kept, what was half written counts as not graded."""
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
    done = run(folder, "--out", tmp_path, *ONLY)
    assert done.returncode == 0, done.stderr
    assert scores(tmp_path) == scores(out)


def test_a_dask_cluster_grades_the_same_and_survives_a_lost_worker(classroom, tmp_path, monkeypatch):
    """Two workers; one is killed while it grades, and what it had goes to the other."""
    distributed = pytest.importorskip("distributed")
    folder, out = classroom
    the_plan = plan.read(CHECKOUT, plan.find(folder)[0], KATAS)
    secret = (out / "seed").read_text().strip().encode()
    order = engine.Order(str(CHECKOUT.root), tuple(KATAS), secret, naming=True)
    done = []
    monkeypatch.setattr(engine, "SHARD", 2)
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    with cluster, order.grader(1) as grader:
        results = plan.Results(tmp_path, grader)
        victim = next(iter(cluster.workers.values()))

        def step():
            if not done:
                os.kill(victim.pid, signal.SIGKILL)
            done.append(1)

        engine.run_on_dask(order, the_plan, results, step, cluster.scheduler_address, 2)
        together = dict(engine.together(grader, the_plan, results))
    assert not engine.waiting(the_plan, results)
    assert {name: round(sum(r.points for r in found), 2) for name, found in together.items()} == scores(out)


def test_the_page_tells_what_recurs(classroom):
    _, out = classroom
    page = (out / "index.html").read_text()
    assert "A class of 12" in page
    assert "student-empty" in page
    named: list[str] = []
    for report in (out / "submissions").glob("*/report.json"):
        for kata in json.loads(report.read_text())["katas"]:
            named = named or [name for name in kata["mistakes"] if f"×: {name}" in page]
    assert named


def test_every_folder_has_a_name_of_its_own(tmp_path):
    """Names of other encodings, of 240 bytes, or that look alike: each is one submission, and none takes another's place."""
    names = [b"alice", b"alice ", b"\xff", b"\\udcff", b"\xff" * 60, b"a" * 240, b"name~" + b"x"]
    for name in names:
        os.mkdir(os.fsencode(tmp_path) + b"/" + name)
    (tmp_path / "handed_in.zip").write_bytes(b"")
    found, others = plan.find(tmp_path)
    assert len(found) == len(names) == len({path.name for path in found.values()})
    assert all(len(name) < 120 and name.isprintable() for name in found)
    assert others == ["handed_in.zip"]
    with pytest.raises(UserError, match="Unpack the archives"):
        plan.find(_only_a_zip(tmp_path))


def _only_a_zip(folder):
    inner = folder / "alice"
    (inner / "x.zip").write_bytes(b"")
    return inner


def test_names_that_would_compute_or_mark_up_do_not(tmp_path):
    """Folder names are the submissions' to choose."""
    assert summary.cell("=HYPERLINK(1)") == "'=HYPERLINK(1)"
    the_plan = plan.Plan({}, {"<script>x</script>": "no <b>"}, {})
    page = summary.as_page(summary.summarise(CHECKOUT, load_catalog(CHECKOUT), the_plan, {}, "fenced"))
    assert "<script>x" not in page
    assert "<b>no" not in page


def test_a_copy_with_other_names_is_noted_and_the_published_answer_is_not():
    """Renaming and comments hide nothing; what everybody may read is nobody's own."""
    original = CHECKOUT.reference("early_stopping").read_text()
    copied = original.replace("patience", "waits").replace("best", "top_value") + "# mine\n"
    other = CHECKOUT.reference("data_pipeline").read_text()
    found = alike("x", {"a": original, "b": copied, "c": other}, [])
    assert [(pair.a, pair.b) for pair in found] == [("a", "b")]
    assert alike("x", {"a": original, "b": copied}, [original]) == []
