"""Diagnosis: which named mistakes some code behaves like."""

from types import SimpleNamespace

from dojo.core.mistakes import Mistake
from dojo.core.outcome import Diagnosis, Outcome
from dojo.engine.diagnosis import diagnose
from dojo.engine.known import KnownEvidence
from dojo.testing import probes
from dojo.testing.probes import Case, Probe, Raised, gather


def mistake(name):
    return Mistake(name, f"says {name}", (), "test_x")


# which mistakes


def two(double=lambda x: x * 2, shift=lambda x: x + 3):
    return SimpleNamespace(double=double, shift=shift, __file__=__file__)


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


def known(wrong):
    differing = {m: frozenset(n for n in RIGHT if not probes.same(theirs[n], RIGHT[n])) for m, theirs in wrong.items()}
    return KnownEvidence(RIGHT, wrong, differing)


def diagnoses(kata, wrong=WRONG, outcomes=()):
    return diagnose(probes.cases(PROBE, 0), evidence(kata), known(wrong), outcomes)


def diagnosed(kata, wrong=WRONG, outcomes=()):
    return [diagnosis.mistake for diagnosis in diagnoses(kata, wrong, outcomes)]


def outcome(test, verdict, stage=1):
    return Outcome(test, "kata", stage, verdict)


def test_a_right_answer_has_no_diagnosis():
    """Nothing is wrong with it."""
    assert diagnosed(two()) == []


def test_a_named_mistake_is_recognised():
    """However it is written: only its evidence counts."""
    assert diagnosed(two(double=lambda x: x**2)) == ["squares"]


def test_another_mistake_is_not_recognised():
    """It agrees with none of them in every case, and some cases are not enough."""
    assert diagnosed(two(double=lambda x: x * x if x < 5 else 7)) == []


def test_a_function_that_is_not_started_hides_nothing():
    """A learner writes functions one after another, and the first may be wrong."""
    assert diagnosed(two(double=lambda x: x * x, shift=unwritten)) == ["squares"]
    assert diagnosed(two(double=unwritten, shift=unwritten)) == []


def test_a_function_that_is_wrong_in_another_way_hides_nothing():
    """No mistake shows in both: the one does not use the other."""
    assert diagnosed(two(double=lambda x: 17, shift=lambda x: x - 3)) == ["moves down"]


def test_two_mistakes_in_two_functions_are_both_recognised():
    """In the order of the file."""
    assert diagnosed(two(double=lambda x: x + 2, shift=lambda x: x - 3)) == ["adds two", "moves down"]


def test_of_mistakes_with_equal_evidence_the_first_counts():
    """Both would be two sentences for one fault."""
    twin = mistake("also squares")
    assert diagnosed(two(double=lambda x: x * x), {**WRONG, twin: WRONG[SQUARES]}) == ["squares"]


def test_a_mistake_that_explains_two_functions_goes_before_two_that_explain_one_each():
    """A wrong helper that both use is one mistake."""
    wrong = {**WRONG, BOTH: evidence(two(double=lambda x: x * x, shift=lambda x: x - 3))}
    assert diagnosed(two(double=lambda x: x * x, shift=lambda x: x - 3), wrong) == ["both"]


BOTH = mistake("both")


def test_a_mistake_is_not_named_where_a_function_that_it_would_spoil_is_right():
    """Such as beta_t as the variance of q_posterior, when only p_sample uses it."""
    assert (
        diagnosed(two(double=lambda x: x * x), {BOTH: evidence(two(double=lambda x: x * x, shift=lambda x: 0))}) == []
    )


def test_a_mistake_is_not_named_while_the_function_that_holds_it_is_unwritten():
    """What comes first in the probe is what the others use."""
    wrong = {BOTH: evidence(two(double=lambda x: x * x, shift=lambda x: x - 3))}
    assert diagnosed(two(double=unwritten, shift=lambda x: x - 3), wrong) == []
    assert diagnosed(two(double=lambda x: x * x, shift=unwritten), wrong) == ["both"]


def test_a_mistake_is_not_named_while_what_its_function_uses_is_wrong_without_a_name():
    """A loop may be wrong because its step is: a mistake that shows in both functions says that one uses the other."""
    wrong = {**WRONG, BOTH: evidence(two(double=lambda x: x * x, shift=lambda x: 0))}
    assert diagnosed(two(double=lambda x: 17, shift=lambda x: x - 3), wrong) == []
    assert diagnosed(two(double=lambda x: x + 2, shift=lambda x: x - 3), wrong) == ["adds two", "moves down"]


def test_a_function_that_comes_later_is_no_reason_for_what_is_wrong_before():
    """A mistake shows in both, since the reference shares a helper; but what comes first does not use the other."""
    assert diagnosed(two(double=lambda x: x * x, shift=lambda x: 17), {**WRONG, BOTH: WRONG_BOTH}) == ["squares"]
    assert diagnosed(two(double=lambda x: 17, shift=lambda x: x - 3), {**WRONG, BOTH: WRONG_BOTH}) == []


WRONG_BOTH = evidence(two(double=lambda x: x + 1, shift=lambda x: x + 1))


def test_a_function_may_be_wrong_in_yet_another_way_than_what_it_uses():
    """Such as a loop that draws its start without the generator, when its steps draw without it too."""
    uses = mistake("both")
    start = evidence(two(shift=lambda x: 7))
    wrong = {uses: evidence(two(double=lambda x: x + 2, shift=lambda x: 0)), DOWN: start}
    assert diagnosed(two(double=lambda x: x + 2, shift=lambda x: 7), wrong) == ["both", "moves down"]
    assert diagnosed(two(double=lambda x: x + 2), wrong) == []


def strict(message):
    def double(x):
        if x == 5:
            raise IndexError(message)
        return x * 2

    return double


def test_a_mistake_that_raises_is_recognised_by_what_the_exception_says():
    """Any other IndexError on the same input has another reason."""
    raising = mistake("raises")
    wrong = {**WRONG, raising: evidence(two(double=strict("k out of range")))}
    assert wrong[raising]["double 5"] == {"raised": Raised("IndexError", False)}
    assert diagnosed(two(double=strict("k out of range")), wrong) == ["raises"]
    assert diagnosed(two(double=strict("too many indices")), wrong) == []


def test_an_exception_names_nothing_if_it_is_raised_elsewhere_too():
    """The code says the same wherever it is called, so the mistake is not what sets it apart."""

    def always(x):
        raise IndexError("k out of range")

    raising = mistake("raises")
    assert diagnosed(two(double=always), {raising: evidence(two(double=strict("k out of range")))}) == []


def test_two_mistakes_in_one_function_are_recognised_in_part():
    """Neither fits every case, but each fits all cases in which it differs from the reference."""
    zero, five = mistake("wrong at 0"), mistake("wrong at 5")
    wrong = {
        zero: evidence(two(double=lambda x: x * 2 or 1)),
        five: evidence(two(double=lambda x: x * 2 + (x == 5))),
        SQUARES: WRONG[SQUARES],
    }
    both = diagnoses(two(double=lambda x: 1 if x == 0 else x * 2 + (x == 5)), wrong)
    assert [(diagnosis.mistake, diagnosis.whole) for diagnosis in both] == [
        ("wrong at 0", False),
        ("wrong at 5", False),
    ]


def test_a_part_is_not_named_while_the_rest_of_its_function_is_wrong_without_a_name():
    """One value may come out alike by chance, when all values are wrong."""
    zero = mistake("wrong at 0")
    assert diagnosed(two(double=lambda x: x * 3 + 1), {zero: evidence(two(double=lambda x: x * 2 or 1))}) == []


def test_an_error_that_is_not_raised_hides_nothing():
    """Learners check arguments last."""

    def checked(x):
        if x == 5:
            raise ValueError("five")
        return x * 2

    right = evidence(two(double=checked))
    wrong = evidence(two(double=lambda x: checked(x) * x))
    known = KnownEvidence(right, {SQUARES: wrong}, {SQUARES: frozenset({"double 2"})})
    found = diagnose(probes.cases(PROBE, 0), evidence(two(double=lambda x: x * 2 * x)), known)
    assert [(diagnosis.mistake, diagnosis.whole) for diagnosis in found] == [("squares", True)]


def test_edge_cases_wait_for_the_stages_before_them():
    """A check that is missing is not the first thing to be said."""
    failed = [outcome("test_first", "failed"), outcome("test_x[2]", "failed", stage=2)]
    both = two(double=lambda x: 17, shift=lambda x: x - 3)
    assert diagnosed(both, outcomes=failed) == []
    assert diagnosed(both, outcomes=failed[1:]) == ["moves down"]
    assert diagnosed(two(shift=lambda x: x - 3), outcomes=failed) == ["moves down"]  # it explains everything


def test_an_error_that_is_not_raised_waits_where_the_probe_sees_nothing_else():
    """An earlier stage fails for a reason that has no name: "exactly what you get when no error is raised" is not it."""
    unchecked = mistake("unchecked")
    right = evidence(two(double=strict("five")))
    known = KnownEvidence(right, {unchecked: RIGHT}, {unchecked: frozenset({"double 5"})})
    failed = [outcome("test_first", "failed"), outcome("test_x", "failed", stage=2)]
    assert diagnose(probes.cases(PROBE, 0), RIGHT, known, failed) == []
    (alone,) = diagnose(probes.cases(PROBE, 0), RIGHT, known, failed[1:])
    assert alone == Diagnosis("unchecked", "says unchecked", True)


def test_an_error_that_is_not_raised_waits_for_results_without_a_name():
    """Both fail in one stage, and the learner reads the failure of the result first."""
    unchecked = mistake("unchecked")
    right = evidence(two(double=strict("five")))
    known = KnownEvidence(right, {unchecked: RIGHT}, {unchecked: frozenset({"double 5"})})
    both = evidence(two(shift=lambda x: 17))
    result, check = outcome("test_first", "failed", stage=2), outcome("test_x", "failed", stage=2)
    assert diagnose(probes.cases(PROBE, 0), both, known, [result, check]) == []
    told = diagnose(probes.cases(PROBE, 0), both, known, [check, outcome("test_late", "failed", stage=3)])
    assert told == [Diagnosis("unchecked", "says unchecked", False)]


def test_an_error_that_is_not_raised_waits_for_results_that_a_later_stage_names():
    """The result fails first, and by chance in an earlier stage than its mistake claims."""
    later, unchecked = Mistake("later", "says later", (), "test_later"), mistake("unchecked")
    right = evidence(two(double=strict("five")))
    wrong = {later: evidence(two(double=strict("five"), shift=lambda x: x - 3)), unchecked: RIGHT}
    shown = {later: frozenset(n for n in right if n.startswith("shift")), unchecked: frozenset({"double 5"})}
    both = evidence(two(shift=lambda x: x - 3))
    failed = [outcome("test_first", "failed", stage=2), outcome("test_x", "failed", stage=2)]
    failed.append(outcome("test_later", "failed", stage=4))
    told = diagnose(probes.cases(PROBE, 0), both, KnownEvidence(right, wrong, shown), failed)
    assert told == [Diagnosis("later", "says later", True)]


def test_what_one_mistake_explains_is_the_whole_only_if_nothing_else_is_wrong():
    """Two functions are wrong, and "your result is exactly ..." can be said of neither."""
    found = diagnoses(two(double=lambda x: x + 2, shift=lambda x: x - 3))
    assert [diagnosis.whole for diagnosis in found] == [False, False]
    (named,) = diagnoses(two(double=lambda x: 17, shift=lambda x: x - 3))
    assert not named.whole


def test_a_mistake_of_a_later_stage_is_not_told_beside_one_of_the_first():
    """It would contradict the other: "your result is exactly ..." and "part of your result is exactly ..."."""
    later, unchecked = Mistake("later", "says later", (), "test_later"), mistake("unchecked")
    right = evidence(two(shift=strict("five")))
    wrong = {
        later: evidence(two(double=lambda x: x * x, shift=strict("five"))),
        unchecked: evidence(two(shift=lambda x: x * 2)),
    }
    known = KnownEvidence(right, wrong, {later: frozenset({"double 5"}), unchecked: frozenset({"shift 5"})})
    both = evidence(two(double=lambda x: x * x, shift=lambda x: x * 2))
    failed = [outcome("test_x", "failed", stage=2), outcome("test_later", "failed", stage=3)]
    told = [diagnosis.mistake for diagnosis in diagnose(probes.cases(PROBE, 0), both, known, failed)]
    assert told == ["unchecked"]


def test_a_mistake_whose_test_passes_was_not_made():
    """The proof shows that this test catches the mistake."""
    passed = [outcome("test_x[0]", "passed"), outcome("test_y", "failed")]
    assert diagnosed(two(shift=lambda x: x - 3), outcomes=passed) == []
    assert diagnosed(two(shift=lambda x: x - 3), outcomes=[*passed, outcome("test_x[1]", "failed")]) == ["moves down"]


def test_when_the_time_is_up_the_likeliest_has_been_looked_at():
    """The one that would explain most; of what was not looked at, nothing is said."""
    far = mistake("far")
    wrong = {far: evidence(two(double=lambda x: x + 9)), DOWN: WRONG[DOWN], SQUARES: WRONG[SQUARES]}
    answer = evidence(two(double=lambda x: x * x))

    def found(rounds):
        times = iter([True] * rounds)
        named = diagnose(probes.cases(PROBE, 0), answer, known(wrong), in_time=lambda: next(times, False))
        return [diagnosis.mistake for diagnosis in named]

    assert [found(rounds) for rounds in (0, 1, 9)] == [[], ["squares"], ["squares"]]
