"""The README's tables agree with the files."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dojo.authoring.verify.mutants import mutants
from dojo.core.catalog import load_catalog
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout

CHECKOUT = Checkout(Path(__file__).resolve().parents[3])
README = (CHECKOUT.root / "README.md").read_text(encoding="utf-8")
KATAS = load_catalog(CHECKOUT).katas
# kata  tests  time  mistakes  named  mutants  rate  others
ROW = r"^{name} +(\d+) +[\d.]+ s +(\d+)/(\d+) +(\d+)/\d+ +(\d+)/(\d+) +([\d.]+)% +(\d+)/(\d+)"


@pytest.mark.parametrize("kata", KATAS, ids=lambda kata: kata.name)
def test_the_proofs_table_has_the_numbers_of_the_files(kata):
    """Mistakes, mutants and alternatives, as `kata dev verify` printed them."""
    row = re.search(ROW.format(name=kata.name), README, re.MULTILINE)
    assert row, f"the README's table has no row for {kata.name}; paste what `kata dev verify {kata.name}` prints"
    _, caught, mistakes, named, killed, all_mutants, rate, accepted, others = (float(g) for g in row.groups())
    reference = CHECKOUT.reference(kata.name).read_text(encoding="utf-8")
    assert mistakes == len(load_mistakes(CHECKOUT.mistakes(kata.name)).named)
    assert all_mutants == len(mutants(reference, kata.name))
    assert others == len(CHECKOUT.alternatives(kata.name))
    assert (caught, accepted) == (mistakes, others)
    assert named >= 0.9 * mistakes
    assert killed <= all_mutants
    assert rate >= 95


@pytest.mark.parametrize("kata", KATAS, ids=lambda kata: kata.name)
def test_the_list_of_katas_agrees_with_the_catalogue(kata):
    """In name, level and minutes."""
    assert re.search(rf"\| `{kata.name}` .*\| {kata.level} \| {kata.minutes} \|", README), (
        f"the README's list lacks `{kata.name}`, {kata.level}, {kata.minutes} minutes"
    )


def test_the_numbers_of_tests_are_those_that_pytest_collects():
    """Each set of parameters counts."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qm", "not gpu", "--katas=solutions", "tests"]
    output = subprocess.run(command, cwd=CHECKOUT.root, capture_output=True, text=True, check=False).stdout
    counts = Counter(re.findall(r"^tests/test_(\w+)\.py::", output, re.MULTILINE))
    in_readme = {
        kata.name: int(row[1]) for kata in KATAS if (row := re.search(ROW.format(name=kata.name), README, re.M))
    }
    assert in_readme == {kata.name: counts[kata.name] for kata in KATAS}
