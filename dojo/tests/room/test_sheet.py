"""The file behind an editor: nothing that a person wrote is overwritten without a copy."""

import os

import pytest

from dojo.core.errors import UserError
from dojo.room.sheet import Sheet


@pytest.fixture
def sheet(checkout):
    return Sheet(checkout, checkout.answer("tiny"))


def copies(sheet):
    return [copy.read_bytes() for copy in sorted((sheet.checkout.state / "backups").glob("*"))]


def test_what_is_saved_is_in_the_file_and_makes_no_copy(sheet):
    sheet.read()
    assert sheet.save("new\n")
    assert sheet.file.read_bytes() == b"new\n"
    assert not sheet.changed_elsewhere()
    assert copies(sheet) == []


def test_what_was_read_is_no_change_any_more(sheet):
    sheet.read()
    sheet.file.write_text("other\n")
    assert sheet.changed_elsewhere()
    assert sheet.read() == "other\n"
    assert not sheet.changed_elsewhere()


def test_another_content_is_not_replaced_and_then_only_with_a_copy(sheet):
    sheet.read()
    sheet.file.write_text("other\n")
    assert not sheet.save("mine\n")
    assert sheet.file.read_text() == "other\n"
    assert sheet.save("mine\n", anyway=True)
    assert copies(sheet) == [b"other\n"]


def test_the_same_text_from_two_sides_is_no_conflict(sheet):
    sheet.read()
    sheet.file.write_text("same\n")
    assert sheet.save("same\n")
    assert copies(sheet) == []


@pytest.mark.parametrize(
    ("old", "shown", "saved"),
    [
        (b"a\r\nb\r\n", "a\nb\n", b"a\r\nb\r\nc"),
        (b"a\nb\n", "a\nb\n", b"a\nb\nc"),
        (b"\xef\xbb\xbfa\n", "\ufeffa\n", b"\xef\xbb\xbfa\nc"),
        (b"\x0c\x00\xe2\x80\xa8\n", "\x0c\x00\u2028\n", b"\x0c\x00\xe2\x80\xa8\nc"),
    ],
)
def test_what_can_be_given_back_is(sheet, old, shown, saved):
    sheet.file.write_bytes(old)
    assert sheet.read() == shown
    assert sheet.save(shown)
    assert sheet.file.read_bytes() == old
    assert sheet.save(shown + "c")
    assert sheet.file.read_bytes() == saved
    assert copies(sheet) == []


@pytest.mark.parametrize("old", [b"caf\xe9\n", b"a\r\nb\n", b"a\rb\n", b"\xff\xfea\x00"])
def test_what_cannot_be_given_back_is_copied_first(sheet, old):
    sheet.file.write_bytes(old)
    text = sheet.read()
    assert sheet.save(text + "c")
    assert copies(sheet) == [old]


def test_a_file_that_cannot_be_read_is_not_taken_for_an_empty_one(sheet, monkeypatch):
    """Replacing it would need no right to read it."""
    old = sheet.file.read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("pathlib.Path.read_bytes", lambda file: (_ for _ in ()).throw(PermissionError(13, "no")))
        with pytest.raises(UserError, match="cannot be read"):
            sheet.read()
        with pytest.raises(UserError, match="cannot be read"):
            sheet.save("x")
    assert sheet.file.read_bytes() == old


def test_a_pipe_and_a_folder_in_the_files_place_cost_a_sentence(sheet):
    sheet.file.unlink()
    os.mkfifo(sheet.file)
    with pytest.raises(UserError, match="is no file"):
        sheet.read()
    sheet.file.unlink()
    sheet.file.mkdir()
    with pytest.raises(UserError, match="is no file"):
        sheet.save("x", anyway=True)


def test_a_link_stays_one(sheet, tmp_path):
    elsewhere = tmp_path / "50% of 'it'.py"
    sheet.file.rename(elsewhere)
    sheet.file.symlink_to(elsewhere)
    sheet.read()
    assert sheet.save("new\n")
    assert sheet.file.is_symlink()
    assert elsewhere.read_text() == "new\n"


def test_a_copy_that_cannot_be_made_leaves_the_file(sheet):
    sheet.read()
    sheet.file.write_text("other\n")
    sheet.checkout.state.mkdir(exist_ok=True)
    (sheet.checkout.state / "backups").write_text("in the way")
    with pytest.raises(UserError, match="No copy"):
        sheet.save("mine\n", anyway=True)
    assert sheet.file.read_text() == "other\n"


def test_what_is_put_aside_is_kept(sheet):
    copy = sheet.put_aside("a draft")
    assert copy.read_text() == "a draft"
    assert copy.parent == sheet.checkout.state / "backups"
