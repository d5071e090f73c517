"""The figures of README.md and docs/ are those of the files: a table that nobody checks is wrong within a month."""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from dojo.authoring.verify.mutants import mutants
from dojo.core.catalog import load_catalog
from dojo.core.language import Texts
from dojo.core.mistakes import load_mistakes
from dojo.core.paths import Checkout
from dojo.tests.grading.attacks import suite

CHECKOUT = Checkout(Path(__file__).resolve().parents[3])
KATAS = load_catalog(CHECKOUT).katas
MAX_README_LINES = 130
# kata  tests  time  mistakes  named  mutants  rate  others
ROW = r"^{name} +(\d+) +[\d.]+ s +(\d+)/(\d+) +(\d+)/\d+ +(\d+)/(\d+) +([\d.]+)% +(\d+)/(\d+)"


def page(name: str) -> str:
    return (CHECKOUT.root / name).read_text(encoding="utf-8")


README, PROOF, LIST, ATTACKS = page("README.md"), page("docs/proof.md"), page("docs/katas.md"), page("docs/attacks.md")


def row_of(kata):
    """The kata's numbers in the table of the proof."""
    row = re.search(ROW.format(name=kata.name), PROOF, re.MULTILINE)
    assert row, (
        f"the table in docs/proof.md has no row for {kata.name}; paste what `kata dev verify {kata.name}` prints"
    )
    return [float(number) for number in row.groups()]


def in_groups(number: float) -> str:
    """1316 as the pages write it: 1 316."""
    return f"{number:,.0f}".replace(",", " ")


@pytest.mark.parametrize("kata", KATAS, ids=lambda kata: kata.name)
def test_the_proofs_table_counts_what_is_there(kata):
    """Mistakes, mutants and alternatives, as `kata dev verify` printed them."""
    _, caught, mistakes, named, killed, all_mutants, rate, accepted, others = row_of(kata)
    reference = CHECKOUT.reference(kata.name).read_text(encoding="utf-8")
    survivors = load_mistakes(CHECKOUT.mistakes(kata.name)).survivors
    assert mistakes == len(load_mistakes(CHECKOUT.mistakes(kata.name)).named)
    assert all_mutants == len(mutants(reference, kata.name))
    assert others == len(CHECKOUT.alternatives(kata.name))
    assert (caught, accepted) == (mistakes, others)
    assert named >= 0.9 * mistakes
    assert killed <= all_mutants
    assert all_mutants - killed == len(survivors)
    assert rate >= 95


def test_the_sums_are_those_of_the_table():
    """What README.md and docs/proof.md say in their sentences."""
    _, caught, mistakes, named, killed, all_mutants, _, accepted, others = (
        in_groups(sum(column)) for column in zip(*map(row_of, KATAS), strict=True)
    )
    survivors = sum(len(load_mistakes(CHECKOUT.mistakes(kata.name)).survivors) for kata in KATAS)
    peers = sum(len(CHECKOUT.peers(kata.name)) for kata in KATAS)
    readme, proof = " ".join(README.split()), " ".join(PROOF.split())
    assert f"**{mistakes} mistakes** that people really make, in {len(KATAS)} katas" in readme
    assert f"**{killed} of {all_mutants} mutants**" in readme
    assert f"Each of the {survivors} survivors" in readme
    assert f"**{others} other right answers**" in readme
    assert f"{peers} adapters over" in readme
    unnamed = int(mistakes.replace(" ", "")) - int(named.replace(" ", ""))
    assert f"for all but {unnamed} of them" in readme
    assert f"{caught} of {mistakes} mistakes are caught and {named} are named" in proof
    assert f"{killed} of {all_mutants} mutants are killed, and the {survivors} survivors are explained" in proof
    assert f"{accepted} of {others} alternatives are accepted" in proof


def test_the_libraries_of_the_peers_are_named():
    """And no other: all that is imported by a peer beside NumPy and the standard library."""
    sources = [file.read_text(encoding="utf-8") for kata in KATAS for file in CHECKOUT.peers(kata.name)]
    imported = set(re.findall(r"^ *(?:from|import) (\w+)", "\n".join(sources), re.MULTILINE))
    libraries = imported - {*sys.stdlib_module_names, "numpy", "jaxtyping", "katas", "dojo"}
    sentence = " ".join(README.split()).partition("adapters over ")[2].partition(".")[0]
    named = set(re.split(", | and ", sentence.lower().replace("scikit-learn", "sklearn")))
    assert named == libraries


def test_the_number_of_notebooks_is_that_of_the_table():
    """In words, as the README writes it."""
    table = page("docs/practising.md").partition("| notebook | shows |")[2].partition("\n\n")[0]
    words = {10: "Ten", 11: "Eleven", 12: "Twelve", 13: "Thirteen", 14: "Fourteen", 15: "Fifteen"}
    assert f"{words[table.count(chr(10) + '| `')]} [notebooks]" in README


@pytest.mark.parametrize("kata", KATAS, ids=lambda kata: kata.name)
def test_the_list_of_katas_is_the_catalogues(kata):
    """Name, question, level and minutes."""
    row = f"| `{kata.name}` | {kata.question} | {kata.level} | {kata.minutes} |"
    assert row in LIST.splitlines(), f"docs/katas.md lacks this line:\n{row}"


def test_the_translated_lists_have_the_same_katas():
    """In the same order, with the translated questions."""
    for file in CHECKOUT.root.glob("docs/??/katas.md"):
        text = file.read_text(encoding="utf-8")
        assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [kata.name for kata in KATAS]
        for kata in KATAS:
            assert Texts(CHECKOUT.description(kata.name), file.parent.name)(kata.question) in text


def test_the_lists_have_the_catalogues_order():
    """Nothing more, nothing twice, and each kata in its track."""
    names = [kata.name for kata in KATAS]
    assert re.findall(r"^\| `(\w+)` \|", LIST, re.MULTILINE) == names
    tracks = dict.fromkeys(kata.track for kata in KATAS)
    assert re.findall(r"^## (.+)$", LIST, re.MULTILINE) == [track.capitalize() for track in tracks]
    for track in tracks:
        assert f"| {track} | {', '.join(kata.name for kata in KATAS if kata.track == track)} |" in README.splitlines()
    minutes = [kata.minutes for kata in KATAS]
    assert f"{min(minutes)} to {max(minutes)} minutes each" in README
    assert f"{len(KATAS)} katas" in LIST
    assert PROOF.index(names[0]) < PROOF.index(names[-1])


def test_the_number_of_tests_is_pytests():
    """Parametrised tests count each."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qm", "not gpu", "--katas=solutions", "tests"]
    listed = subprocess.run(command, cwd=CHECKOUT.root, capture_output=True, text=True, check=False).stdout
    counts = Counter(re.findall(r"^tests/(\w+)/test_\w+\.py::", listed, re.MULTILINE))
    assert {kata.name: row_of(kata)[0] for kata in KATAS} == {kata.name: counts[kata.name] for kata in KATAS}


def test_the_attacks_are_counted():
    """By section, in all, and how many the policy refuses."""
    attacks = list(suite.load_attacks())
    counts = Counter(attack.section for attack in attacks)
    assert dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", ATTACKS, re.MULTILINE)) == {
        section: str(counts[section]) for section in suite.SECTIONS
    }
    assert f"holds {len(attacks)} small attacks" in ATTACKS
    assert f"it refuses {sum(bool(attack.policy) for attack in attacks)}," in " ".join(ATTACKS.split())
    assert set(re.findall(r"^\| (\w+/\w+) \|", ATTACKS, re.MULTILINE)) <= {attack.id for attack in attacks}


def test_the_readme_stays_short():
    """What does not fit belongs into docs/."""
    assert len(README.splitlines()) <= MAX_README_LINES
