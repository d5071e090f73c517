"""The digest of everything that decides a grade."""

import shutil
import subprocess
import sys

import pytest

from dojo.grading.scoring import answer_key
from dojo.grading.scoring.answer_key import GRADING_ROOMS, PACKAGE, digest_of_upstream


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the trainer's own code, which a test may change."""
    copy = tmp_path / "copy" / "dojo"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("tests", "__pycache__"))
    monkeypatch.setattr(answer_key, "PACKAGE", copy)
    return copy


@pytest.mark.parametrize("folder", [*GRADING_ROOMS, "grading/sandbox", "grading/new"])
def test_a_new_module_changes_the_digest(checkout, package, folder):
    """Wherever it is: no list of files can become incomplete."""
    before = digest_of_upstream(checkout, ["tiny"])
    assert digest_of_upstream(checkout, ["tiny"]) == before
    (package / folder).mkdir(exist_ok=True)
    (package / folder / "zebra.py").touch()
    after = digest_of_upstream(checkout, ["tiny"])
    assert after != before
    (package / folder / "zebra.py").write_text("stripes = 3\n")
    assert digest_of_upstream(checkout, ["tiny"]) not in (before, after)


def test_other_rooms_do_not_change_the_digest(checkout, package):
    """The results of a class stay valid when only a command or a screen changes."""
    before = digest_of_upstream(checkout, ["tiny"])
    (package / "cli" / "zebra.py").touch()
    (package / "practice" / "zebra.py").touch()
    assert digest_of_upstream(checkout, ["tiny"]) == before


def test_a_katas_files_change_the_digest(checkout):
    """Its reference, its probe and its mistakes."""
    digests = {digest_of_upstream(checkout, ["tiny"])}
    for file in (checkout.reference("tiny"), checkout.probe("tiny"), checkout.mistakes("tiny")):
        file.write_text(file.read_text() + "\n")
        digests.add(digest_of_upstream(checkout, ["tiny"]))
    assert len(digests) == 4


def test_grading_imports_only_rooms_that_are_in_the_digest():
    """Code from any other room would decide a grade without being part of its digest."""
    program = (
        "import sys, dojo.grading.cohort.run\n"
        "print(*{name.split('.')[1] for name in sys.modules if name.startswith('dojo.')})"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(ran.stdout.split()) <= set(GRADING_ROOMS)
