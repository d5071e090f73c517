"""Right answers get full marks in the sandbox, and named mistakes lose some: a sample of each kata's.

`tox -e answers` grades all of them, at several seeds.
"""

import os
from pathlib import Path

import pytest

from dojo.core.catalog import load_catalog
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import find_checkout
from dojo.grading.grader import Grader
from dojo.grading.scoring.seeds import Seed
from dojo.tests.grading.answers import Row, grade_mistakes, grade_right_answers, right_answers

pytestmark = pytest.mark.skipif(os.name == "nt", reason="submissions run in forked processes")
CHECKOUT = find_checkout(Path(__file__).parent)
KATAS = [kata.name for kata in load_catalog(CHECKOUT).katas]
ALTERNATIVES, MISTAKES = 1, 2  # of each kata


@pytest.fixture(scope="module")
def grader():
    with Grader(CHECKOUT, KATAS, Seed(b"a sample"), name_mistakes=False) as grader:
        yield grader


@pytest.mark.parametrize("kata", KATAS)
def test_right_answers_get_full_marks_and_mistakes_lose_some(grader, kata):
    """What travels into the sandbox and back must be what the probe drew and what came out."""
    row = Row(kata)
    sources = list(right_answers(CHECKOUT, kata).items())
    grade_right_answers(grader, row, dict([*sources[1:][:ALTERNATIVES], *sources[-ALTERNATIVES:]]))
    names = [mistake.name for mistake in load_mistakes(CHECKOUT.mistakes(kata)).named]
    grade_mistakes(grader, row, names[:: len(names) // MISTAKES])
    assert row.graded >= ALTERNATIVES
    assert row.tried >= MISTAKES
    assert not row.faults
