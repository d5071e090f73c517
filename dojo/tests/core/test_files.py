"""Writing, copying and comparing files."""

import errno
import os

import pytest

from dojo.core import files
from dojo.core.errors import UserError


def test_a_written_file_has_the_text_and_keeps_its_mode(checkout):
    """An executable stays executable; a new file can be read by everybody."""
    file = checkout.answer("tiny")
    file.chmod(0o755)
    files.write(file, "one\ntwo\n")
    files.write(checkout.answer("new"), "")
    assert file.read_bytes() == b"one\ntwo\n"
    assert file.stat().st_mode & 0o777 == 0o755
    assert checkout.answer("new").stat().st_mode & 0o777 == 0o644


def test_missing_folders_are_made(tmp_path):
    """The results of a class lie in folders of their own."""
    files.write(tmp_path / "submissions" / "ada" / "report.json", "{}")
    assert (tmp_path / "submissions" / "ada" / "report.json").read_text() == "{}"


def test_half_of_a_surrogate_pair_is_escaped(tmp_path):
    """A submission's message may hold one, and the report has to be written all the same."""
    files.write(tmp_path / "page.html", "a\ud800b")
    assert (tmp_path / "page.html").read_text() == "a\\ud800b"


def test_a_write_that_fails_half_way_leaves_the_old_text(checkout, monkeypatch):
    """Replaced in one step or not at all, and no temporary file stays behind."""

    def disk_full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", disk_full)
    before = checkout.answer("tiny").read_text()
    with pytest.raises(UserError, match="No space left on device"):
        files.write(checkout.answer("tiny"), "new")
    assert checkout.answer("tiny").read_text() == before
    assert [path.name for path in checkout.answers.glob(".*")] == []


def test_a_missing_file_has_no_digest(checkout, tmp_path):
    """And raises nothing."""
    assert files.digest(tmp_path / "none.py") == ""
    assert len(files.digest(checkout.answer("tiny"))) == 16


def test_files_of_somebody_else_are_told_with_the_command_that_mends_them(tmp_path, monkeypatch):
    """After one command with sudo. Root itself may write everything, so the two answers of the system are made up."""
    folder = tmp_path / "of root"
    folder.mkdir()
    assert files.owner_advice(folder / "missing" / "deeper") == ""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert files.owner_advice(folder) == ""  # our own: no command with sudo is needed
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    advice = files.owner_advice(folder / "missing" / "deeper")
    assert advice.startswith(f" {folder} belongs to {folder.owner()}")
    assert advice.endswith(f"""Mend it with: sudo chown -R "$USER" '{folder}'""")


@pytest.mark.parametrize("content", ["text\n", b"bytes\r\n\xff"])
def test_text_and_bytes_are_written_as_they_are(tmp_path, content):
    """Bytes are somebody's file, in whatever encoding."""
    files.write(tmp_path / "file", content)
    assert (tmp_path / "file").read_bytes() == (content if isinstance(content, bytes) else content.encode())
