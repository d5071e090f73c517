"""What is known of the named mistakes: most of it from the file of differences, and evidence when it is asked for."""

import pytest

from dojo.authoring.verify.pages import write_differences
from dojo.core.mistakes import load_mistakes
from dojo.core.outcome import Diagnosis
from dojo.engine import differences
from dojo.engine import known as module
from dojo.engine.diagnosis import diagnose
from dojo.engine.evidence import gather_variants
from dojo.engine.known import SEED, complete_evidence, known_evidence
from dojo.testing import probes
from dojo.tests.checkouts import SOLUTION


def probe_of(checkout):
    return probes.load_probe(checkout.probe("tiny"))


def known_of(checkout):
    return known_evidence(checkout, "tiny", probe_of(checkout))


@pytest.fixture
def gathered(monkeypatch):
    """How many mistakes were gathered whole, each time that the evidence was asked for."""
    counts = []

    def gather(probe, kata, source, variants, seed):
        counts.append(len(variants))
        return gather_variants(probe, kata, source, variants, seed)

    monkeypatch.setattr(module, "gather_variants", gather)
    return counts


@pytest.fixture
def ran(monkeypatch):
    """The cases that ran for a mistake that is gathered on demand."""
    names = []
    gather_case = probes.gather_case

    def gather(probe, kata, case, seed):
        names.append(case.name)
        return gather_case(probe, kata, case, seed)

    monkeypatch.setattr(probes, "gather_case", gather)
    return names


def spoil(checkout, what):
    if what == "no file":
        checkout.differences("tiny").unlink()
    elif what == "a damaged file":
        checkout.differences("tiny").write_text('{"squares": 3')
    elif what == "other contents":
        checkout.differences("tiny").write_text('{"squares": 3}')
    elif what == "another reference":
        checkout.reference("tiny").write_text(SOLUTION + "\n# a comment\n")
    elif what == "another mistake":
        file = checkout.mistakes("tiny")
        file.write_text(file.read_text().replace('new = "x * x"', 'new = "x * 3"'))
    elif what == "another probe":
        file = checkout.probe("tiny")
        file.write_text(file.read_text().replace("(0, 1, 5, -1)", "(0, 1, 7, -1)"))
    elif what == "too few cases":
        file = checkout.differences("tiny")
        file.write_text(file.read_text().replace(" .", " "))


def test_with_the_file_no_mistake_is_gathered_before_it_is_asked_for(checkout, gathered, ran):
    """And then a case runs once."""
    assert write_differences(checkout, "tiny") == checkout.differences("tiny")
    gathered.clear()
    ran.clear()
    known = known_of(checkout)
    assert gathered == [0]
    reference = len(ran)
    squares, down = known.mistakes
    assert known.shown[squares] == {"double 1", "double 5", "double any"}
    assert known.mistakes[squares]["double 5"] == known.mistakes[squares]["double 5"] == {"doubled": 25}
    assert ran[reference:] == ["double 5"]
    assert list(known.mistakes[down]) == list(known.reference)


@pytest.mark.parametrize(
    ("what", "count"),
    [
        ("nothing", 0),
        ("no file", 2),
        ("a damaged file", 2),
        ("other contents", 2),
        ("another reference", 2),
        ("another mistake", 1),
        ("another probe", 2),
        ("too few cases", 2),
    ],
)
def test_what_the_file_does_not_tell_is_gathered(checkout, gathered, what, count):
    """Out of date, it would lead to the wrong mistake. What else it tells is used."""
    write_differences(checkout, "tiny")
    spoil(checkout, what)
    gathered.clear()
    known = known_of(checkout)
    assert gathered == [count]
    complete = complete_evidence(checkout, "tiny", probe_of(checkout), list(known.mistakes))
    assert known.shown == complete.shown
    assert probes.same(known.reference, complete.reference)
    for mistake, theirs in complete.mistakes.items():
        assert probes.same(dict(known.mistakes[mistake]), theirs)


@pytest.mark.parametrize("what", ["no file", "a damaged file", "another reference", "another mistake", "another probe"])
def test_the_file_is_written_again_only_when_it_is_out_of_date(checkout, what):
    """It belongs to the repository."""
    write_differences(checkout, "tiny")
    assert write_differences(checkout, "tiny") is None
    spoil(checkout, what)
    assert not differences.is_current(checkout, "tiny")
    assert write_differences(checkout, "tiny")
    assert differences.is_current(checkout, "tiny")


def test_an_entry_of_a_mistake_that_is_gone_is_out_of_date(checkout):
    """The file has those of the mistakes and no other."""
    write_differences(checkout, "tiny")
    file = checkout.mistakes("tiny")
    file.write_text(file.read_text().partition('[[mistake]]\nname = "moves down"')[0])
    assert not differences.is_current(checkout, "tiny")


@pytest.mark.parametrize(
    ("double", "shift", "runs"),
    [
        ("x * x", "x + by", {"double 1", "double 5", "double any"}),
        ("x * 2", "x - by", {"shift 2 5", "shift 4", "shift any"}),
        ("x * 9", "x + by", {"double 1"}),  # the first that differs is enough
        ("x * 2 + (x == 0)", "x + by", set()),  # it is right where a mistake would not be
        ("x * 2", "x + by", set()),
    ],
)
def test_only_cases_that_can_decide_run(checkout, ran, double, shift, runs):
    """And the names are those that all of the evidence gives."""
    write_differences(checkout, "tiny")
    probe, cases = probe_of(checkout), probes.cases(probe_of(checkout), SEED)
    kata = probes.load_module("answer", SOLUTION.replace("x * 2", double).replace("x + by", shift), "<answer>")
    evidence = probes.gather(probe, kata, SEED)
    known = known_of(checkout)
    complete = complete_evidence(checkout, "tiny", probe, load_mistakes(checkout.mistakes("tiny")).named)
    ran.clear()
    named = diagnose(cases, evidence, known)
    assert set(ran) == runs
    assert named == diagnose(cases, evidence, complete)
    squares = Diagnosis("squares", "x is multiplied by itself", True)
    assert (named == [squares]) == (double == "x * x")
