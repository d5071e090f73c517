"""Proofs that are kept: valid as long as nothing changes that the proof has read."""

import pytest

from dojo.authoring.verify import kept, pages
from dojo.authoring.verify.report import ProofReport, Survivor
from dojo.core import files
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import find_checkout
from dojo.tests.checkouts import add_kata, make_checkout

SETTINGS = "all"


@pytest.fixture
def checkout(tmp_path):
    """Two katas; the first imports the second."""
    checkout = make_checkout(tmp_path / "checkout")
    add_kata(checkout, "first")
    add_kata(checkout, "second")
    reference = checkout.reference("first")
    reference.write_text("from katas.second import shift as moved\n" + reference.read_text())
    (checkout.tests("first") / "alternatives").mkdir()
    checkout.alternative("first", "other").write_text("")
    return checkout


@pytest.mark.parametrize(
    "file",
    [
        "solutions/first.py",
        "solutions/second.py",
        "tests/first/test_1_core.py",
        "tests/first/probe.py",
        "tests/first/mistakes.toml",
        "tests/first/alternatives/other.py",
        "tests/first/helpers.py",
        "conftest.py",
        "pyproject.toml",
    ],
)
def test_each_file_that_the_proof_reads_is_in_the_key(checkout, file):
    """One changed byte, or a new file."""
    before = kept.key(checkout, "first", SETTINGS)
    path = checkout.root / file
    path.write_text((path.read_text() if path.exists() else "") + "\n# changed\n")
    assert kept.key(checkout, "first", SETTINGS) != before


def test_what_the_proof_does_not_read_is_not_in_the_key(checkout):
    """Another kata's tests, and a learner's answer."""
    before = kept.key(checkout, "first", SETTINGS)
    checkout.stub("first").write_text("")
    (checkout.tests("second") / "test_1_core.py").write_text("")
    assert kept.key(checkout, "first", SETTINGS) == before


@pytest.mark.parametrize("room", kept.ROOMS)
def test_the_trainers_code_is_in_the_key(checkout, tmp_path, monkeypatch, room):
    """Each room that a proof uses."""
    code = tmp_path / "dojo" / room / "part.py"
    code.parent.mkdir(parents=True)
    code.write_text("")
    monkeypatch.setattr(kept.dojo, "__file__", str(tmp_path / "dojo" / "__init__.py"))
    before = kept.key(checkout, "first", SETTINGS)
    code.write_text("changed = True")
    assert kept.key(checkout, "first", SETTINGS) != before


def test_what_is_written_after_a_proof_is_not_in_the_key(checkout):
    """Otherwise `--write` would ask for the same proof again."""
    before = kept.key(checkout, "first", SETTINGS)
    checkout.differences("first").write_text("{}")
    assert kept.key(checkout, "first", SETTINGS) == before


def test_versions_and_settings_are_in_the_key(checkout, monkeypatch):
    """Another Python, another library, a sample instead of all."""
    keys = {kept.key(checkout, "first", SETTINGS), kept.key(checkout, "first", "a sample")}
    for library in kept.LIBRARIES:
        monkeypatch.setattr(kept, "_version", lambda name, other=library: "0" if name == other else "1")
        keys.add(kept.key(checkout, "first", SETTINGS))
    monkeypatch.setattr(kept.sys, "version", "4.0")
    keys.add(kept.key(checkout, "first", SETTINGS))
    assert len(keys) == 3 + len(kept.LIBRARIES)


def test_a_kept_report_is_read_again(checkout):
    """As it was, with the day of the proof."""
    report = ProofReport("first", tests=3, survivors=[Survivor("a -> b", False, "why")], rejected=set())
    key = kept.key(checkout, "first", SETTINGS)
    assert kept.read(checkout, key) is None
    kept.write(checkout, key, report)
    again = kept.read(checkout, key)
    assert again
    assert again.proved_on
    again.proved_on = ""
    assert again == report


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"kata": "first"}', '{"survivors": 3, "rejected": []}', "\0"]
)
def test_a_damaged_file_is_ignored(checkout, content):
    """Then the kata is proved again."""
    key = kept.key(checkout, "first", SETTINGS)
    kept.write(checkout, key, ProofReport("first"))
    (file,) = (checkout.state / "cache").glob("proof-*.json")
    file.write_text(content)
    assert kept.read(checkout, key) is None


def test_a_page_needs_its_markers():
    """The error says which lines to add."""
    begin, end = pages.BEGIN.format("sums"), pages.END.format("sums")
    text = f"before\n{begin}\nold\n{end}\nafter\n"
    assert pages.replaced(text, "sums", "new", "page.md") == f"before\n{begin}\nnew\n{end}\nafter\n"
    for wrong in ("", text * 2):
        with pytest.raises(UserError, match=r"page\.md needs these two lines, once"):
            pages.replaced(wrong, "sums", "new", "page.md")


def test_the_tables_of_the_pages_need_all_katas(monkeypatch):
    """After one kata's proof only what its runs need is written."""
    checkout = find_checkout()
    monkeypatch.setattr(files, "write", lambda path, text: pytest.fail(f"{path} was written"))
    assert pages.write(checkout, load_catalog(checkout), [ProofReport("dpo_loss")]) == []
