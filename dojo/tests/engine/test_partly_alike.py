"""Diagnosis: code that agrees with a named mistake in most of its cases is told so, if it is clear with which."""

from types import SimpleNamespace

from dojo.core.mistakes import Mistake
from dojo.core.outcome import Outcome
from dojo.engine.diagnosis import diagnose
from dojo.engine.known import compared
from dojo.testing import probes
from dojo.testing.probes import Case, Probe, gather


def run(kata, case):
    return {"y": kata.square(case.x)}


def square(x):
    if x > 90:
        raise ValueError("too large")
    return x * x


PROBE = Probe(lambda rng: (Case(f"x={x}", of="square", x=x) for x in (2, 3, 5, -1, -4, 99)), run)
DOUBLES, OF_NEGATIVES, UNCHECKED = (
    Mistake(name, f"says {name}", (), f"test_{name}") for name in ("doubles", "of negatives", "unchecked")
)


def evidence(f):
    return gather(PROBE, SimpleNamespace(square=f, __file__=__file__), 0)


def doubles(x):
    return 2 * x if x <= 90 else square(x)


WRONG = {
    DOUBLES: evidence(doubles),  # differs in all but x=2
    OF_NEGATIVES: evidence(lambda x: -square(x) if x < 0 else square(x)),
    UNCHECKED: evidence(lambda x: x * x),
}


def diagnosed(f, wrong=WRONG, outcomes=()):
    found = diagnose(probes.cases(PROBE, 0), evidence(f), compared(evidence(square), wrong), outcomes)
    return [(diagnosis.mistake, diagnosis.whole) for diagnosis in found]


def test_three_of_four_cases_are_enough():
    """Somebody else's way to write it differs in one."""
    assert diagnosed(lambda x: 7 if x == -4 else doubles(x)) == [("doubles", False)]


def test_two_of_four_cases_are_not():
    """Two results agree by chance more easily."""
    assert diagnosed(lambda x: 7 if x < 0 else doubles(x)) == []


def test_code_that_is_right_where_the_mistake_is_wrong_is_not_like_it():
    """Then it does something else, however many results agree."""
    assert diagnosed(lambda x: 16 if x == -4 else doubles(x)) == []


def test_a_missing_error_waits_for_the_results():
    """An argument check is not told first while results are wrong."""
    assert diagnosed(lambda x: x * x + 1 if x < 90 else x * x) == []


def test_two_mistakes_that_agree_as_often_are_not_told():
    """One of the two sentences would be wrong."""
    rival = Mistake("rival", "says something else", (), "test_rival")
    wrong = {**WRONG, rival: evidence(lambda x: 8 if x == -1 else doubles(x))}
    assert diagnosed(lambda x: 7 if x == -1 else doubles(x), wrong) == []
    twin = Mistake("twin", DOUBLES.says, (), "test_twin")
    assert diagnosed(lambda x: 7 if x == -1 else doubles(x), {**WRONG, twin: wrong[rival]}) == [("doubles", False)]


def test_a_mistake_whose_test_passes_is_not_told():
    """Nor is one that a later stage catches."""
    partly = lambda x: 7 if x == -4 else doubles(x)  # noqa: E731
    passes, fails = Outcome("test_doubles", "kata", 1, "passed"), Outcome("test_other", "kata", 1, "failed")
    assert diagnosed(partly, outcomes=[passes, fails]) == []
    later = Outcome("test_doubles", "kata", 2, "failed")
    assert diagnosed(partly, outcomes=[fails, later]) == []
    assert diagnosed(partly, outcomes=[Outcome("test_doubles", "kata", 1, "failed")]) == [("doubles", False)]
