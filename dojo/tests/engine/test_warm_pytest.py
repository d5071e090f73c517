"""Pytest that starts once: each fork collects and runs on a source of its own."""

from functools import partial

import pytest

from dojo.engine.pool import TaskDied, run_forked
from dojo.engine.warm_pytest import with_warm_pytest
from dojo.tests.checkouts import SOLUTION, TESTS, add_kata, in_child, make_checkout

CONFTEST = """
import pytest

@pytest.fixture(autouse=True)
def by_hand():
    yield


@pytest.fixture
def four():
    return 4
"""
USES = "\n\ndef test_{}(four):\n    assert four == 4\n"


def runs(checkout, *options, source=SOLUTION, seconds=60):
    """The results of runs with these options, each in a fork of one warm pytest."""

    def in_warm():
        results = {}

        def body(warm):
            tasks = [partial(warm.run, "tiny", source, **chosen) for chosen in options]
            results.update(run_forked(tasks, jobs=1, seconds=seconds))

        with_warm_pytest(checkout, body)
        return [results[number] for number in range(len(options))]

    return in_child(in_warm, timeout_s=300)


@pytest.fixture
def checkout(tmp_path):
    checkout = make_checkout(tmp_path / "checkout")
    tests = {file: text + USES.format(f"four_in_{file[5]}") for file, text in TESTS.items()}
    add_kata(checkout, tests={**tests, "conftest.py": CONFTEST})
    return checkout


def names(run):
    return [outcome.test for outcome in run.outcomes]


def test_fixtures_of_a_conftest_hold_in_every_file(checkout):
    """Also where the files are collected one after the other."""
    (run,) = runs(checkout, {"trace": True})
    assert run.failures == ()
    assert {"test_four_in_1", "test_four_in_2", "test_shift_moves_up"} <= set(names(run))
    assert len(run.traces) == len(run.outcomes)


def test_chosen_tests_run_first_and_alone_if_asked(checkout):
    """In the given order."""
    (core, edges) = checkout.test_files("tiny")
    first = [("test_shift_moves_by_three_unless_told", edges), ("test_shift_moves_up", core)]
    alone, all_tests = runs(checkout, {"first": first, "others": False}, {"first": first})
    assert names(alone) == names(all_tests)[:2] == [name for name, _ in first]
    assert len(names(all_tests)) == len(set(names(all_tests))) == 8


def test_a_chosen_test_is_collected_without_the_others_of_its_file(checkout, tmp_path):
    """They are when they are due: collecting them all takes longer than most tests do."""
    log = tmp_path / "collected"
    file = checkout.tests("tiny") / "conftest.py"
    file.write_text(
        f"{CONFTEST}\ndef pytest_generate_tests(metafunc):\n"
        f"    print(metafunc.function.__name__, file=open({str(log)!r}, 'a'))\n"
    )
    (_, edges) = checkout.test_files("tiny")
    first = [("test_shift_moves_by_three_unless_told", edges)]
    (run,) = runs(checkout, {"first": first, "others": False})
    assert names(run) == log.read_text().split() == ["test_shift_moves_by_three_unless_told"]
    log.unlink()
    (run,) = runs(checkout, {"first": first})
    collected = log.read_text().split()
    assert len(collected) == len(set(collected)) < len(names(run)) == 8  # one has parameters


def test_a_source_may_import_another_kata(checkout):
    """It gets the reference."""
    add_kata(checkout, "other")
    (run,) = runs(checkout, {}, source=f"from katas.other import double as twice\n{SOLUTION}")
    assert len(names(run)) == 8
    assert run.failures == ()


def test_a_run_ends_where_it_is_told_to(checkout):
    """At the first failure, say."""
    (run,) = runs(
        checkout, {"stops": lambda outcome: outcome.verdict == "failed"}, source=SOLUTION.replace("x * 2", "x * 3")
    )
    assert [outcome.verdict for outcome in run.outcomes] == ["passed", "failed"]


def test_each_test_knows_the_lines_that_it_runs(checkout):
    """Those of the kata's file, but not those that importing it runs."""
    (run,) = runs(checkout, {"trace": True})
    lines = SOLUTION.splitlines()
    run_by = {test: {lines[number - 1].strip() for number in trace.lines} for test, trace in run.traces.items()}
    assert run_by["test_shift_moves_up"] == {"return x + by"}
    assert run_by["test_a_negative_number_is_an_error"] == {"if x < 0:", 'raise ValueError("x is negative")'}


def test_an_endless_loop_ends_with_its_computing_time(checkout):
    """Long before the run's own limit, and however busy the machine is."""
    (run,) = runs(
        checkout,
        {"cpu_limits_s": {"test_shift_moves_up": 0.2}},
        source=SOLUTION.replace("return x + by", "while True:\n        pass"),
    )
    assert run == TaskDied("killed by SIGPROF")
