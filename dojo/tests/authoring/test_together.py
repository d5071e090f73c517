"""Many wrong answers in one child: what is refused there, and what has to be tried alone."""

from functools import partial

import pytest

from dojo.authoring.verify import together
from dojo.authoring.verify.mutants import Mutant
from dojo.authoring.verify.slips import Slip
from dojo.authoring.verify.together import try_together
from dojo.authoring.verify.trials import MistakeTrial, MutantTrial, Trials
from dojo.core.mistakes import Mistake
from dojo.engine.pool import run_forked
from dojo.engine.warm_pytest import with_warm_pytest
from dojo.tests.checkouts import SOLUTION, TESTS, add_kata, in_child, make_checkout

CLEAN = '''

def test_nobody_was_here():
    """Fails after code that leaves something behind."""
    import builtins

    double(1)
    assert not hasattr(builtins, "left_behind")
'''


@pytest.fixture
def checkout(tmp_path):
    checkout = make_checkout(tmp_path / "checkout")
    add_kata(checkout, tests={**TESTS, "test_2_edges.py": TESTS["test_2_edges.py"] + CLEAN})
    return checkout


def results(checkout, *wrong):
    """What one child finds of these answers."""

    def in_warm():
        found = []

        def body(warm):
            trials = Trials(warm, checkout, "tiny", [])
            runs = run_forked([partial(trials.try_right, SOLUTION, 0, True)], jobs=1, seconds=60)
            trials.traces = next(run for _, run in runs).traces
            tried = run_forked([partial(try_together, trials, wrong)], jobs=1, seconds=60)
            found.extend(next(result for _, result in tried))

        with_warm_pytest(checkout, body)
        return found

    return in_child(in_warm, timeout_s=300)


def mutant(old, new):
    source = SOLUTION.replace(old, new)
    assert source != SOLUTION
    line = SOLUTION[: SOLUTION.index(old)].count("\n") + 1
    return (Mutant(f"{old} -> {new}", source, range(line, line + 1)),)


def mistake(old, new, caught_by):
    return Mistake("wrong", "it is wrong", ((old, new),), caught_by), SOLUTION.replace(old, new)


def test_wrong_answers_are_refused_one_after_the_other(checkout):
    """Each by a test that can see it."""
    slip = (Slip("double returns None", SOLUTION.replace("return x * 2", "return None")),)
    first, second, third, fourth = results(
        checkout,
        mutant("x + by", "x - by"),
        mistake("x * 2", "x * x", "test_double_is_twice_as_much"),
        slip,
        mutant("x < 0", "x > 0"),
    )
    assert isinstance(first, MutantTrial)
    assert first.killed_by.startswith("test_shift")
    assert isinstance(second, MistakeTrial)
    assert second.caught
    assert third == ""
    assert fourth.killed_by


def test_what_is_not_refused_or_no_change_of_a_body_is_left_open(checkout):
    """It is tried alone: a survivor, another default, a mistake that its test does not catch."""
    assert results(
        checkout,
        mutant("x * 2", "x + x"),
        mutant("by: int = 3", "by: int = 4"),
        mistake("x + by", "x - by", "test_double_is_twice_as_much"),
    ) == [None, None, None]


def test_a_refusal_counts_only_if_the_reference_passes_right_after(checkout):
    """Otherwise what the answer left behind, or an earlier one, may be at fault: the rest is tried elsewhere."""
    leaves = "__import__('builtins').left_behind = 1\n    return x * 2"
    before, polluter, after = results(
        checkout, mutant("x + by", "x - by"), mutant("return x * 2", leaves), mutant("x + by", "x * by")
    )
    assert before.killed_by
    assert polluter is None
    assert after is None


def test_an_endless_loop_is_refused_by_its_computing_time(checkout):
    """And the next answer is tried in the same child."""
    endless, after = results(checkout, mutant("return x + by", "while True: pass"), mutant("x + by", "x - by"))
    assert endless.killed_by.startswith("test_shift")
    assert after.killed_by


def test_a_child_that_has_worked_long_leaves_the_rest_to_others(checkout, monkeypatch):
    """So that the time limit of a trial is never met by many together."""
    monkeypatch.setattr(together, "CPU_S", 0.0)
    assert results(checkout, mutant("x + by", "x - by")) == [None]
