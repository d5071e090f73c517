"""`kata dev bench`: its figures are right, it notes what it leaves out, and it times nothing before all ways agree."""

import json
import subprocess
import sys
from functools import partial
from types import ModuleType

import pytest
import torch
from click.testing import CliRunner

from dojo.authoring.bench import command, results
from dojo.authoring.bench.results import Measurement
from dojo.authoring.bench.table import counted, digits, growth, timed
from dojo.authoring.bench.timing import paces, race
from dojo.authoring.bench.worker import load_source
from dojo.cli.main import main
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.testing.bench import Bench, load_plan
from dojo.tests.checkouts import REPOSITORY, solve

REAL = Checkout(REPOSITORY)
BENCHES = sorted(REPOSITORY.glob("tests/*/bench.py"))

TINY = '''
"""Shifting."""

from functools import partial

from dojo.testing.bench import work


@work(numbers=64, sweep={"numbers": (128, 256)}, grows={"numbers": 1})
def shift(bench, numbers):
    """Each number moved up."""
    x = bench.randn(numbers)
    bench.katas(lambda kata: partial(kata.shift, x))
    bench.way("naive: two sums", lambda: x + 1 + 2)
    bench.peer("no_such_library", lambda: None)
    bench.floor(bytes=2 * x.nbytes)
'''


@pytest.fixture
def benched(checkout):
    """The checkout with a bench file for its one kata."""
    checkout.bench("tiny").write_text(TINY)
    return checkout


def measure(checkout, **options):
    """Returns the report of a bench of all katas; quick unless `options` say otherwise."""
    settings = {"peers": False, "device": "cpu", "threads": [1], "sweep": False, "seconds": 0.0, **options}
    return command.bench(checkout, load_catalog(checkout), [], progress=lambda sentence: None, **settings)


def measurement(way="reference", **more):
    """A made-up measurement."""
    size = {"numbers": 64}
    names = {"kata": "tiny", "work": "shift", "says": "Moved up", "size": size, "swept": "", "threads": 1, "way": way}
    figures = {"seconds": 1e-3, "ratio": 1.0, "low": 0.9, "high": 1.1, "rounds": 5, "floor": 0.0}
    return Measurement(**{**names, **figures, "counts": "bytes", "bytes": 512, "flops": 0, "operators": 1, **more})


@pytest.mark.parametrize("path", BENCHES, ids=lambda path: path.parent.name)
def test_the_references_and_the_naive_ways_agree(path):
    """In every bench file, at its small sizes, all ways do the same work."""
    torch.set_num_threads(1)
    plan = load_plan(path)
    files = {"reference": REAL.reference(path.parent.name)}
    files |= {name: REAL.alternative(path.parent.name, name) for name in plan.alternatives}
    modules = {name: load_source(name, file) for name, file in files.items()}
    for work in plan.works:
        bench = work.set_up(Bench(modules), work.tiny)
        assert next(iter(bench.ways)) == "reference"
        assert bench.bytes or bench.flops or path.parent.name == "noise_schedules"  # there is a floor
        bench.agree()


def test_ways_take_turns_and_the_first_is_the_measure():
    """Each round runs every way, forwards and then backwards; the first way's ratio to itself is 1."""
    order = []
    ways = {name: partial(order.append, name) for name in "ab"}
    paces = race(ways, threads=1, seconds=0.0)
    assert paces["a"].ratio == paces["a"].low == paces["a"].high == 1.0
    assert paces["b"].rounds == 5
    runs = "".join(name for name, before in zip(order, ["", *order], strict=False) if name != before)
    assert runs.startswith("abab")  # once each to learn how long they take, then the first round
    assert "abba" in runs.replace("bb", "b").replace("ab" * 2, "abba", 1)


def test_ratios_are_of_pairs_so_a_slow_moment_does_not_count():
    """A machine that slows down tenfold for one round changes neither the median nor the quartiles."""
    pace = paces({"a": [1.0, 1.0, 10.0, 1.0, 1.0], "b": [2.0, 2.0, 20.0, 2.0, 2.0]})["b"]
    assert (pace.low, pace.ratio, pace.high) == (2.0, 2.0, 2.0)
    assert pace.seconds == 2.0


def shift_at(checkout, old, new):
    """The tiny bench at its realistic size, with one change."""
    checkout.bench("tiny").write_text(TINY.replace(old, new))
    (work,) = load_plan(checkout.bench("tiny")).works
    return work.set_up(Bench({"reference": load_source("tiny", checkout.reference("tiny"))}), work.size)


def test_a_way_that_gives_another_result_is_named(benched):
    """A fast wrong answer is worth nothing."""
    with pytest.raises(UserError, match=r"'naive: two sums' gives another result than 'reference'.*Nothing was timed"):
        shift_at(benched, "x + 1 + 2", "x - 3").agree()


def test_a_way_that_raises_is_named(benched):
    """One sentence instead of a traceback of the measuring process."""
    with pytest.raises(UserError, match="'naive: two sums' raises TypeError"):
        shift_at(benched, "x + 1 + 2", "x + 'x'").agree()


def test_a_file_without_work_is_refused(benched):
    """The sentence names the file that describes works."""
    benched.bench("tiny").write_text("x = 1\n")
    with pytest.raises(UserError, match="holds no @work"):
        load_plan(benched.bench("tiny"))


def test_a_complete_run_measures_describes_and_draws(benched, tmp_path):
    """With two numbers of threads, a sweep and a library that is missing; writes JSON and pictures."""
    report = measure(benched, threads=[1, 2], sweep=True, peers=True)
    assert [(f.threads, f.swept, f.size["numbers"]) for f in report.measurements if f.way == "reference"] == [
        (1, "", 64),
        (1, "numbers", 128),
        (1, "numbers", 256),
        (2, "", 64),
    ]
    assert {f.way for f in report.measurements} == {"reference", "naive: two sums"}
    assert all(f.bytes == 2 * 4 * f.size["numbers"] for f in report.measurements if f.way == "reference")
    assert report.notes == ["no_such_library is not installed and was left out: pip install -r requirements-peers.txt"]
    assert not report.problems
    assert report.machine["libraries"]["torch"] == torch.__version__
    files = command.write(report, tmp_path / "out")
    assert [file.name for file in files] == ["bench.json", "ratios.svg", "growth.svg"]
    content = json.loads(files[0].read_text())
    assert list(content) == ["device", "machine", "ceilings", "found", "notes", "problems"]
    assert len(content["found"]) == len(report.measurements)
    assert content["machine"]["cores"] >= 1
    assert "  tiny shift: numbers 128 to 256: 2.0 times the bytes" in growth(report)[1]


def test_without_matplotlib_the_figures_are_written_and_a_note_says_how_to_get_it(tmp_path, monkeypatch):
    """The measurements took minutes; they are not lost for want of pictures."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "dojo.authoring.bench.plot", raising=False)
    report = results.BenchReport("cpu", measurements=[measurement()])
    assert [file.name for file in command.write(report, tmp_path)] == ["bench.json"]
    assert report.notes == ["matplotlib is not installed, so nothing was drawn: pip install -e '.[notebooks]'"]


def test_your_own_code_takes_part_once_it_passes(benched):
    """A stub is left out in silence, a wrong answer with a note; a right one is measured beside the reference."""
    report = results.BenchReport("cpu")
    assert command.learner_file(benched, "tiny", report, print) is None
    assert report.notes == []
    solve(benched, "return x + by", "return x - by")
    assert command.learner_file(benched, "tiny", report, print) is None
    assert "tests do not pass yet" in report.notes[0]
    solve(benched)
    assert {f.way for f in measure(benched).measurements} == {"reference", "yours", "naive: two sums"}


def test_nothing_is_timed_before_all_ways_agree(benched):
    """The report has the sentence of the measuring process."""
    benched.bench("tiny").write_text(TINY.replace("x + 1 + 2", "x - 3"))
    report = measure(benched)
    assert report.measurements == []
    assert report.problems[0].startswith("tiny: 'naive: two sums' gives another result")


def test_a_measuring_process_that_dies_costs_its_own_kata_only(benched):
    """The rest is measured by another process."""
    benched.bench("tiny").write_text(TINY.replace("x + 1 + 2", "__import__('os')._exit(3)"))
    (problem,) = measure(benched).problems
    assert problem == "tiny: the measuring process ended with 3; its figures are not complete."


def test_katas_without_a_bench_file_are_refused(benched):
    """The sentence lists those that have one."""
    with pytest.raises(UserError, match=r"mutability has no bench file .* These have one: .*top_k_sampling"):
        command.choose_katas(REAL, load_catalog(REAL), ["mutability"])


@pytest.mark.parametrize("text", ["", "0", "1,x", "1,,2", "-1"])
def test_wrong_numbers_of_threads_are_refused(text):
    """Before anything starts."""
    with pytest.raises(UserError, match="--threads takes numbers"):
        command.thread_counts(text)
    assert command.thread_counts("1,2,1") == [1, 2]


def test_the_command_prints_a_table(benched, tmp_path):
    """Ratios to the reference, the floor, and where the figures are."""
    done = CliRunner().invoke(main, ["dev", "bench", "tiny", "--quick", "--seconds", "0", "--out", str(tmp_path / "o")])
    assert done.exit_code == 0, done.output
    for text in ("tiny each number moved up: numbers 64", "reference", "naive: two sums", "the floor", "bench.json"):
        assert text in done.output


def test_figures_are_short():
    """Three digits and a unit; ratios with at most three digits."""
    assert [timed(s) for s in (1.5, 2.5e-3, 1e-7, 0)] == ["1.5 s", "2.5 ms", "100 ns", ""]
    assert [digits(r) for r in (0.5, 15.37, 152.2)] == ["0.50", "15.4", "152"]
    assert [counted(measurement(bytes=b)) for b in (0, 12, 2_500_000)] == ["", "12 B", "2.5 MB"]
    assert counted(measurement(counts="flops", flops=3 * 10**9)) == "3 GFLOP"


def test_the_parent_of_the_measurements_stays_without_torch():
    """The command starts at once, and no thread of its own disturbs the measurements."""
    code = "import sys, dojo.cli.main, dojo.authoring.bench.command, dojo.authoring.bench.table; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_what_is_compared_with_is_there_also_where_only_yours_is_timed():
    """tests/test_speed.py times the katas under test and no reference beside them."""
    reference, yours = ModuleType("reference"), ModuleType("yours")
    assert Bench({"reference": reference, "yours": yours}).reference is reference
    assert Bench({"yours": yours}).reference is yours
