"""Diagnosis: which named mistakes some code behaves like, and the cache of the evidence that this needs."""

from types import SimpleNamespace

import pytest

from dojo.core.mistakes import Mistake
from dojo.engine import diagnosis
from dojo.engine.diagnosis import diagnose, diagnose_partly, known_evidence
from dojo.engine.evidence import gather_variants
from dojo.testing import probes
from dojo.testing.probes import Case, Probe, Raised, gather
from dojo.tests.checkouts import SOLUTION


def mistake(name):
    return Mistake(name, f"says {name}", (), "test_x")


# which mistakes


def two(double=lambda x: x * 2, shift=lambda x: x + 3):
    return SimpleNamespace(double=double, shift=shift)


def unwritten(x):
    raise NotImplementedError("write me")


def run(kata, case):
    return {"y": getattr(kata, case.of)(case.x)}


PROBE = Probe(lambda rng: (Case(f"{of} {x}", of=of, x=x) for of in ("double", "shift") for x in (0, 2, 5)), run)
SQUARES, ADDS_TWO, DOWN = mistake("squares"), mistake("adds two"), mistake("moves down")


def evidence(kata):
    return gather(PROBE, kata, 0)


RIGHT = evidence(two())
WRONG = {
    SQUARES: evidence(two(double=lambda x: x * x)),
    ADDS_TWO: evidence(two(double=lambda x: x + 2)),
    DOWN: evidence(two(shift=lambda x: x - 3)),
}


def diagnosed(kata, wrong=WRONG):
    return diagnose(probes.cases(PROBE, 0), evidence(kata), RIGHT, wrong)


def test_a_right_answer_has_no_diagnosis():
    """Nothing is wrong with it."""
    assert diagnosed(two()) == []


def test_a_named_mistake_is_recognised():
    """However it is written: only its evidence counts."""
    assert diagnosed(two(double=lambda x: x**2)) == [SQUARES]


def test_another_mistake_is_not_recognised():
    """It agrees with none of them in every case, and some cases are not enough."""
    assert diagnosed(two(double=lambda x: x * x if x < 5 else 7)) == []


def test_a_function_that_is_not_started_hides_nothing():
    """A learner writes functions one after another, and the first may be wrong."""
    assert diagnosed(two(double=lambda x: x * x, shift=unwritten)) == [SQUARES]
    assert diagnosed(two(double=unwritten, shift=unwritten)) == []


def test_a_function_that_is_wrong_in_another_way_hides_nothing():
    """The cases of each function are compared separately."""
    assert diagnosed(two(double=lambda x: 17, shift=lambda x: x - 3)) == [DOWN]


def test_two_mistakes_in_two_functions_are_both_recognised():
    """In the order of the functions."""
    assert diagnosed(two(double=lambda x: x + 2, shift=lambda x: x - 3)) == [ADDS_TWO, DOWN]


def test_of_mistakes_with_equal_evidence_the_first_counts():
    """Both would be two sentences for one fault."""
    twin = mistake("also squares")
    assert diagnosed(two(double=lambda x: x * x), {**WRONG, twin: WRONG[SQUARES]}) == [SQUARES]


def test_a_mistake_that_explains_two_functions_goes_before_two_that_explain_one_each():
    """A wrong helper that both use is one mistake."""
    both = mistake("both")
    wrong = {**WRONG, both: evidence(two(double=lambda x: x * x, shift=lambda x: x - 3))}
    assert diagnosed(two(double=lambda x: x * x, shift=lambda x: x - 3), wrong) == [both]


def test_a_mistake_that_raises_is_recognised_by_its_exception():
    """Such as k beyond the vocabulary."""

    def strict(x):
        if x == 5:
            raise IndexError
        return x * 2

    raising = mistake("raises")
    wrong = {**WRONG, raising: evidence(two(double=strict))}
    assert wrong[raising]["double 5"] == {"raised": Raised("IndexError", False)}
    assert diagnosed(two(double=strict), wrong) == [raising]


def test_two_mistakes_in_one_function_are_recognised_in_part():
    """Neither fits every case, but each fits all cases in which it differs from the reference."""
    zero, five = mistake("wrong at 0"), mistake("wrong at 5")
    wrong = {
        zero: evidence(two(double=lambda x: x * 2 or 1)),
        five: evidence(two(double=lambda x: x * 2 + (x == 5))),
        SQUARES: WRONG[SQUARES],
    }
    observed = evidence(two(double=lambda x: 1 if x == 0 else x * 2 + (x == 5)))
    assert diagnose(probes.cases(PROBE, 0), observed, RIGHT, wrong) == []
    assert diagnose_partly(observed, RIGHT, wrong, []) == [zero, five]


def test_an_explained_case_needs_no_second_mistake():
    """One fault, one sentence."""
    observed = evidence(two(double=lambda x: x * x))
    assert diagnose_partly(observed, RIGHT, WRONG, [SQUARES]) == []
    assert diagnose_partly(evidence(two()), RIGHT, WRONG, []) == []


# the cache


def known_of(checkout, seed=0):
    return known_evidence(checkout, "tiny", probes.load_probe(checkout.probe("tiny")), seed)


@pytest.fixture
def gathered(monkeypatch):
    """One entry for each time that evidence was gathered."""
    calls = []
    monkeypatch.setattr(diagnosis, "gather_variants", lambda *arguments: calls.append(1) or gather_variants(*arguments))
    return calls


def test_evidence_is_gathered_once(checkout, gathered):
    """The second failing run reads what the first one has written."""
    first = known_of(checkout)
    assert len(gathered) == 1
    second = known_of(checkout)
    assert len(gathered) == 1
    assert probes.same(list(first[1].values()), list(second[1].values()))
    assert list(first[1]) == list(second[1])


@pytest.mark.parametrize("changed", ["reference", "mistakes", "probe", "seed"])
def test_every_change_gives_new_evidence(checkout, gathered, changed):
    """Stale evidence would lead to the wrong mistake."""
    known_of(checkout)
    if changed == "reference":
        checkout.reference("tiny").write_text(SOLUTION + "\n# a comment\n")
    elif changed == "mistakes":
        file = checkout.mistakes("tiny")
        file.write_text(file.read_text().replace('new = "x * x"', 'new = "x * 3"'))
    elif changed == "probe":
        file = checkout.probe("tiny")
        file.write_text(file.read_text().replace("(0, 1, 5, -1)", "(0, 1, 7, -1)"))
    known_of(checkout, seed=1 if changed == "seed" else 0)
    assert len(gathered) == 2


@pytest.mark.parametrize("content", [b"", b"damaged", None], ids=["empty", "damaged", "cut off"])
def test_a_damaged_cache_is_gathered_again(checkout, gathered, content):
    """The run goes on as if there were none."""
    first = known_of(checkout)
    (cache,) = (checkout.state / "cache").iterdir()
    cache.write_bytes(cache.read_bytes()[:-20] if content is None else content)
    assert probes.same(known_of(checkout)[0], first[0])
    assert len(gathered) == 2


def test_a_cache_that_cannot_be_written_is_left_out(checkout):
    """A read-only checkout, a full disk."""
    checkout.state.write_text("in the way")
    right, wrong = known_of(checkout)
    assert len(right) == 8
    assert len(wrong) == 2


def test_old_evidence_does_not_pile_up(checkout):
    """One file a kata."""
    known_of(checkout)
    checkout.reference("tiny").write_text(SOLUTION + "\n# changed\n")
    known_of(checkout)
    assert len(list((checkout.state / "cache").iterdir())) == 1
