"""Intake: which files are read, which are refused with a sentence. And how a hostile folder is removed."""

import errno
import hashlib
import io
import os
import socket
import stat
import subprocess
import sys
import tempfile

import pytest

from dojo.core.errors import UserError
from dojo.grading.sandbox.cleanup import remove_tree
from dojo.grading.submission import read
from dojo.grading.submission.intake import read_submission, read_submitted_file
from dojo.grading.submission.read import MAX_FILE_BYTES, UnreadableSubmission
from dojo.tests.checkouts import REPOSITORY, SOLUTION, add_kata, pytest_in

RIGHT = SOLUTION.encode()


@pytest.fixture
def handed_in(tmp_path):
    """A submission with an empty folder katas/."""
    folder = tmp_path / "submission"
    (folder / "katas").mkdir(parents=True)
    return folder


def read_tiny(folder, checkout):
    """The submitted file of the one kata."""
    return read_submission(folder, ["tiny"], checkout=checkout)["tiny"]


def submit(folder, checkout, raw):
    """Hands in `raw` as katas/tiny.py, and reads it."""
    (folder / "katas" / "tiny.py").write_bytes(raw)
    return read_tiny(folder, checkout)


def test_a_file_is_read_with_its_hash(handed_in, checkout):
    """The hash is that of the bytes on disk, so that it can be computed with any tool."""
    file = submit(handed_in, checkout, RIGHT)
    assert (file.status, file.source, file.reason) == ("ok", RIGHT, "")
    assert file.sha256 == hashlib.sha256(RIGHT).hexdigest()


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf" + RIGHT,
        RIGHT.replace(b"\n", b"\r\n"),
        RIGHT.replace(b"\n", b"\r"),
        b"\xef\xbb\xbf" + RIGHT.replace(b"\n", b"\r\n"),
    ],
    ids=["bom", "crlf", "cr", "bom and crlf"],
)
def test_what_editors_do_to_a_file_does_not_matter(handed_in, checkout, raw):
    """A byte-order mark and other line ends are accepted."""
    file = submit(handed_in, checkout, raw)
    assert (file.status, file.source) == ("ok", RIGHT)
    assert file.sha256 == hashlib.sha256(raw).hexdigest()


@pytest.mark.parametrize(
    "cookie",
    [
        "# coding: utf-8",
        "#!/usr/bin/env python\n# -*- coding: UTF8 -*-",
        "# -*- coding: latin-1 -*-",
        "# coding: ascii",
    ],
)
def test_an_honest_coding_line_is_accepted(handed_in, checkout, cookie):
    """In a file that is all ASCII, such a line changes nothing."""
    assert submit(handed_in, checkout, f"{cookie}\n".encode() + RIGHT).status == "ok"


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", "katas/tiny.py is empty."),
        (b" \n\t\r\n", "katas/tiny.py is empty."),
        (b"\xef\xbb\xbf", "katas/tiny.py is empty."),
        (b"x = 1\ny = '\0'\n", "a null byte in line 2"),
        (b"x = 1\n\nname = '\xe9'\n", "line 3 holds the byte 0xe9; save it as UTF-8"),
        ("x = 1".encode("utf-16"), "UTF-16; save it as UTF-8"),
        (b"# coding: utf-7\n" + RIGHT, "names its own encoding ('utf-7')"),
        ("# coding: latin-1\nname = 'é'\n".encode(), "names its own encoding ('latin-1')"),
        (b"#!python\n# coding: Latin_1\nname = '\xe9'\n", "names its own encoding ('Latin_1')"),
        (b'{\n "cells": []}', "katas/tiny.py is a notebook saved as .py: export it as Python."),
        (b'{"cells": [' + b" " * MAX_FILE_BYTES, "katas/tiny.py is a notebook saved as .py: export it as Python."),
        (b"\n# vim: set fileencoding=unicode_escape :\n" + RIGHT, "names its own encoding"),
        (b"# coding: rot13\n" + RIGHT, "names its own encoding"),
        (b"# coding: no-such-thing\n" + RIGHT, "one that Python does not know"),
        (b"\xef\xbb\xbf# coding: utf-7\n" + RIGHT, "names its own encoding"),
        (b"#\r# coding: utf-7\r" + RIGHT, "names its own encoding"),
        (b"x = 1\n" + b"y" * 401 + b"\n", "line 2, is 401 characters long, and 400 are allowed"),
        (
            b"#" * 399 + b"\n" + b"# no end\n" * 20_000,
            "larger than 64 kB; an answer is a few kB: remove data and outputs.",
        ),
    ],
)
def test_a_file_that_is_no_kata_is_refused_with_a_sentence(handed_in, checkout, raw, says):
    """Never with a traceback. The hash is reported if the file could be read."""
    file = submit(handed_in, checkout, raw)
    assert (file.status, file.source) == ("refused", None)
    assert says in file.reason
    assert file.reason.endswith(".")
    assert "\n" not in file.reason


LATIN_1 = "# Größe\n".encode("latin-1")  # Python itself takes it for a comment when it is given the bytes


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (RIGHT, ""),
        (b"\xef\xbb\xbf" + RIGHT.replace(b"\n", b"\r\n"), ""),
        (RIGHT.replace(b"\n", b"\r"), ""),
        (b"# coding: latin-1\n" + RIGHT, ""),
        ("# Größe 日本\n".encode() + RIGHT, ""),
        (LATIN_1 + RIGHT, "is not UTF-8: line 1 holds the byte 0xf6; save it as UTF-8."),
        (b"# coding: latin-1\n" + LATIN_1 + RIGHT, "names its own encoding ('latin-1') in a `coding:` line"),
        (b"# coding: utf-7\n" + RIGHT, "names its own encoding ('utf-7')"),
        (RIGHT.decode().encode("utf-16"), "is stored as UTF-16; save it as UTF-8."),
        (RIGHT.decode().encode("utf-16-le"), "is stored as UTF-16; save it as UTF-8."),
        (RIGHT.decode().encode("utf-16-be"), "is stored as UTF-16; save it as UTF-8."),
        (RIGHT.decode().encode("utf-32"), "is stored as UTF-32; save it as UTF-8."),
        (RIGHT.decode().encode("utf-32-be"), "is stored as UTF-32; save it as UTF-8."),
        (RIGHT + b"\0", "holds a null byte in line"),
        (b'{"cells": []}', "is a notebook saved as .py: export it as Python."),
    ],
)
def test_practice_and_grading_say_the_same_of_bytes(handed_in, checkout, raw, says):
    """What is solved in practice is not refused in the grade, and the sentence is the same."""
    submitted = submit(handed_in, checkout, raw)
    checkout.answer("tiny").write_bytes(raw)
    session = pytest_in(checkout, "tests/tiny")
    assert (session.code, submitted.status) == ((1, "refused") if says else (0, "ok")), session.output
    if says:
        assert f"katas/tiny.py {says}" in submitted.reason
        assert f"{submitted.reason.replace('katas/', 'answers/')}\n" in session.output


def test_the_limits_themselves_are_allowed(handed_in, checkout):
    """400 characters (not bytes) in a line, 65,536 bytes in a file."""
    assert submit(handed_in, checkout, ("# " + "é" * 398 + "\n").encode() + RIGHT).status == "ok"
    filled = RIGHT + b"#\n" * ((MAX_FILE_BYTES - len(RIGHT)) // 2)
    assert submit(handed_in, checkout, filled).status == "ok"
    assert submit(handed_in, checkout, filled + b"#\n").status == "refused"


def test_the_stub_is_not_an_attempt(handed_in, checkout):
    """Also if an editor has changed its white space."""
    stub = checkout.stub("tiny").read_bytes()
    for raw in (stub, stub.replace(b"\n", b"\r\n"), stub.replace(b"\n\n\n", b"\n \n") + b"\n\n"):
        file = submit(handed_in, checkout, raw)
        assert (file.status, file.reason) == ("not_attempted", "katas/tiny.py is still the stub.")
    assert submit(handed_in, checkout, stub.replace(b"NotImplementedError", b"ValueError")).status == "ok"


def test_a_kata_that_was_not_handed_in_is_not_attempted(handed_in, checkout):
    """The others are graded."""
    (handed_in / "katas" / "other.py").write_bytes(RIGHT)
    file = read_tiny(handed_in, checkout)
    assert (file.status, file.sha256, file.reason) == ("not_attempted", None, "There is no katas/tiny.py.")


@pytest.mark.parametrize("name", ["Tiny.py", "tiny.py.txt", "tiny (1).py", "TINY.PY", "tiiny.py", "Tinny.py"])
def test_a_name_that_is_nearly_right_is_pointed_out(handed_in, checkout, name):
    """Browsers and file managers rename files."""
    (handed_in / "katas" / "other.py").write_bytes(RIGHT)
    (handed_in / "katas" / name).write_bytes(RIGHT)
    assert (
        read_tiny(handed_in, checkout).reason
        == f"There is no katas/tiny.py. There is katas/{name}: rename it to tiny.py."
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("katas/tiny.ipynb", " katas/tiny.ipynb is a notebook: export it as tiny.py."),
        ("tiny.zip", " There is tiny.zip: unpack it."),
        ("katas/tiny.py.zip", " There is katas/tiny.py.zip: unpack it."),
        ("homework.zip", " There is 'homework.zip': unpack it."),
        ("tinny.py", " There is tinny.py: rename it to tiny.py."),
        ("test_tiny.py", ""),
        ("katas/ti\033ny.py", ""),
        ("katas/utils.py", ""),
    ],
)
def test_a_file_that_may_have_been_meant_is_mentioned(handed_in, checkout, name, says):
    """Whether or not there are other .py files. A file with a very different name is not mentioned."""
    (handed_in / name).write_bytes(RIGHT)
    if not name.endswith(".py"):
        with pytest.raises(UserError) as error:
            read_tiny(handed_in, checkout)
        assert name.endswith("homework.zip") or str(error.value) == f"{handed_in} holds no kata.{says}"
    (handed_in / "katas" / "other.py").write_bytes(RIGHT)
    assert read_tiny(handed_in, checkout).reason == f"There is no katas/tiny.py.{says}"


def test_another_katas_file_is_no_near_miss(handed_in, checkout):
    """Though its name is similar. And an archive is not mentioned where any kata was handed in."""
    add_kata(checkout, "tinny")
    (handed_in / "katas" / "tinny.py").write_bytes(RIGHT)
    (handed_in / "data.zip").touch()
    assert read_tiny(handed_in, checkout).reason == "There is no katas/tiny.py."


@pytest.mark.parametrize("where", ["", "katas/"])
def test_the_one_folder_that_holds_the_katas_is_the_submission(tmp_path, checkout, where):
    """Archives often unpack like this. Every sentence shows the path with that folder."""
    home = tmp_path / "work" / "home-main" / where
    home.mkdir(parents=True)
    for other in (".git/katas", "docs", "deep/down/katas"):
        (tmp_path / "work" / other).mkdir(parents=True)
    (tmp_path / "work" / "setup.py").touch()
    (tmp_path / "work" / "linked").symlink_to(home.parent if where else home)
    (home / "tiny.py").write_bytes(RIGHT)
    assert read_tiny(tmp_path / "work", checkout).source == RIGHT
    (home / "tiny.py").write_bytes(b"")
    assert read_tiny(tmp_path / "work", checkout).reason == f"home-main/{where}tiny.py is empty."
    (home / "tiny.py").unlink()
    (home / "tiny.py").symlink_to(checkout.reference("tiny"))
    assert read_tiny(tmp_path / "work", checkout).reason.startswith(f"home-main/{where}tiny.py is a link")
    (home / "tiny.py").unlink()
    (home / "tinny.py").write_bytes(RIGHT)
    if where:
        hint = "There is no home-main/katas/tiny.py. There is home-main/katas/tinny.py: rename it to tiny.py."
        assert read_tiny(tmp_path / "work", checkout).reason == hint


def test_several_folders_with_katas_are_refused(tmp_path, checkout):
    """Choosing one might grade the wrong files; perhaps it is a class. A kata beside them counts."""
    for name in ("ada", "bob"):
        (tmp_path / "work" / name / "katas").mkdir(parents=True)
        (tmp_path / "work" / name / "katas" / "tiny.py").write_bytes(RIGHT)
    with pytest.raises(UserError) as error:
        read_tiny(tmp_path / "work", checkout)
    assert "several folders in it do ('ada', 'bob'); give the one you mean." in str(error.value)
    assert f"`kata grade-cohort {tmp_path / 'work'} --out OUT`" in str(error.value)
    (tmp_path / "work" / "tiny.py").write_bytes(RIGHT + b"# mine\n")
    assert read_tiny(tmp_path / "work", checkout).source == RIGHT + b"# mine\n"


def test_a_linked_folder_is_not_entered(tmp_path, checkout):
    """It could lead to the grader's own katas."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "home").symlink_to(checkout.root)
    with pytest.raises(UserError, match="holds no kata: it has neither"):
        read_tiny(tmp_path / "work", checkout)


def test_loose_files_are_accepted(tmp_path, checkout):
    """Without a folder katas/."""
    (tmp_path / "tiny.py").write_bytes(RIGHT)
    assert read_tiny(tmp_path, checkout).source == RIGHT


def test_two_different_files_for_one_kata_are_refused(handed_in, checkout):
    """Choosing one might grade the wrong file. Two equal files are accepted."""
    (handed_in / "tiny.py").write_bytes(RIGHT)
    assert submit(handed_in, checkout, RIGHT).status == "ok"
    file = submit(handed_in, checkout, RIGHT + b"# newer\n")
    assert file.status == "refused"
    assert "There are two of it" in file.reason


def a_link(folder):
    (folder / "secret.py").write_bytes(RIGHT)
    (folder / "katas" / "tiny.py").symlink_to(folder / "secret.py")


def a_loop(folder):
    (folder / "katas" / "tiny.py").symlink_to("tiny.py")


def a_folder(folder):
    (folder / "katas" / "tiny.py").mkdir()


def a_pipe(folder):
    os.mkfifo(folder / "katas" / "tiny.py")


def a_socket(folder):
    before = os.getcwd()
    os.chdir(folder / "katas")  # the whole path may be too long for a socket
    try:
        socket.socket(socket.AF_UNIX).bind("tiny.py")
    finally:
        os.chdir(before)


def a_linked_folder(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "tiny.py").write_bytes(RIGHT)
    (folder / "katas").rmdir()
    (folder / "katas").symlink_to("elsewhere")


def a_file_as_folder(folder):
    (folder / "katas").rmdir()
    (folder / "katas").write_bytes(RIGHT)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (a_link, "katas/tiny.py is a link, not a regular file"),
        (a_loop, "katas/tiny.py is a link"),
        (a_folder, "katas/tiny.py is a folder"),
        (a_pipe, "katas/tiny.py is a pipe"),
        (a_socket, "katas/tiny.py is a socket"),
        (a_linked_folder, "katas is a link, not a folder"),
        (a_file_as_folder, "katas is a file, not a folder"),
    ],
)
def test_only_regular_files_in_a_real_folder_are_opened(handed_in, checkout, make, says):
    """A link could bring a file of the grader into the submission, and a pipe would make the grader wait."""
    (handed_in / "README.py").write_bytes(b"")
    make(handed_in)
    file = read_tiny(handed_in, checkout)
    assert (file.status, file.source) == ("refused", None)
    assert file.reason.startswith(says)


def test_a_hard_link_is_a_file_like_any_other(handed_in, checkout, tmp_path):
    """Backups and deduplicating stores are full of them."""
    (tmp_path / "store").write_bytes(RIGHT)
    os.link(tmp_path / "store", handed_in / "katas" / "tiny.py")
    assert read_tiny(handed_in, checkout).status == "ok"


def test_an_endless_file_is_read_to_the_limit_only(handed_in, checkout):
    """A sparse file of four gigabytes takes no space on disk."""
    file = handed_in / "katas" / "tiny.py"
    file.touch()
    os.truncate(file, 1 << 32)
    assert "larger than 64 kB" in read_tiny(handed_in, checkout).reason


@pytest.fixture
def deny(monkeypatch):
    """A function: from now on the system lets nobody (root neither) open what has this name."""
    denied, open_file = set(), os.open

    def refuse(path, *arguments, **options):
        if os.path.basename(os.fspath(path)) in denied:
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    return denied.add


@pytest.mark.parametrize(("what", "shown"), [("tiny.py", "katas/tiny.py"), ("katas", "The folder katas")])
def test_a_file_that_may_not_be_read_is_no_fault_of_the_student(handed_in, checkout, deny, what, shown):
    """It is the teacher who can mend that: an error, and no zero points."""
    submit(handed_in, checkout, RIGHT)
    deny(what)
    file = read_tiny(handed_in, checkout)
    assert (file.status, file.source) == ("error", None)
    assert (
        file.reason == f"{shown} cannot be read: Permission denied. Let the user who grades read it, and grade again."
    )


def test_a_folder_in_which_nothing_can_be_looked_up_is_not_empty(handed_in, checkout, monkeypatch):
    """A folder that may be listed and not entered."""

    look = os.stat

    def refuse(path, *, dir_fd=None, follow_symlinks=True):
        if dir_fd is not None:
            raise PermissionError(errno.EACCES, "Permission denied")
        return look(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(UnreadableSubmission, match="Permission denied"):
        read_tiny(handed_in, checkout)


def test_a_file_that_breaks_while_it_is_read_is_no_fault_of_the_student(handed_in, checkout, monkeypatch):
    """A disk or a network may fail at any byte."""
    submit(handed_in, checkout, RIGHT)

    class Broken(io.FileIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(read, "open", lambda handle, *_, **__: Broken(handle), raising=False)
    file = read_tiny(handed_in, checkout)
    assert file.status == "error"
    assert "Input/output error" in file.reason


@pytest.mark.parametrize("what", ["submission", "inner", "deep"])
def test_a_folder_that_may_not_be_read_is_no_empty_submission(tmp_path, checkout, deny, what):
    """At the top, and where the katas may lie in it."""
    folder = tmp_path / "submission"
    (folder / "inner" / "deep" / "katas").mkdir(parents=True)
    (folder / "inner" / "deep" / "katas" / "tiny.py").write_bytes(RIGHT)
    assert read_tiny(folder, checkout).status == "ok"
    deny(what)
    with pytest.raises(UnreadableSubmission, match=r"Permission denied\. Let the user who grades read it"):
        read_tiny(folder, checkout)


def test_a_hand_in_may_lie_some_folders_deep_and_beside_what_nobody_has_made(tmp_path, checkout):
    """Archives of archives unpack like this, and a Mac adds a folder of its own."""
    katas = tmp_path / "submission" / "homework" / "ada's work" / "katas"
    katas.mkdir(parents=True)
    (katas / "tiny.py").write_bytes(RIGHT)
    for junk in (
        "__MACOSX/katas",
        "__MACOSX/homework/katas",
        "homework/__MACOSX/katas",
        "lost+found/katas",
        ".git/katas",
    ):
        (tmp_path / "submission" / junk).mkdir(parents=True)
        (tmp_path / "submission" / junk / "._tiny.py").write_bytes(b"\0")
    assert read_tiny(tmp_path / "submission", checkout).source == RIGHT
    (katas / "tiny.py").write_bytes(b"")
    assert read_tiny(tmp_path / "submission", checkout).reason == "homework/ada's work/katas/tiny.py is empty."
    (tmp_path / "submission" / "old" / "copy" / "katas").mkdir(parents=True)
    with pytest.raises(UserError, match="several folders in it do"):
        read_tiny(tmp_path / "submission", checkout)


PLATFORM_NAMES = [
    "tiny (2).py", "tiny(3).py", "tiny copy.py", "tiny copy 2.py", "tiny - Copy.py", "tiny - Copy (2).py", "Copy of tiny.py",
    "Copy of Copy of tiny.py", "tiny_final.py", "tiny-final-v2.py", "tiny2_tiny.py", "ada_LATE_1234_5678_tiny.py",
    "1234_5678_assignsubmission_file_tiny.py", "Ada Lovelace_tiny.py", "tiny_1_.py", "TINY (1).PY", "tiny.solution.py",
    "katas\\tiny.py", "C:\\work\\katas\\tiny.py", "tiny_final.py.txt", "tiny_v2.py~", "tiny — Kopie.py",
]  # fmt: skip


@pytest.mark.parametrize("name", PLATFORM_NAMES)
@pytest.mark.parametrize("folder", ["", "katas/"])
def test_what_platforms_make_of_a_name_is_pointed_out(handed_in, checkout, name, folder):
    """Browsers, learning platforms and bulk downloads rename files; a zip made on Windows has backslashes in its names."""
    (handed_in / "katas" / "other.py").write_bytes(RIGHT)
    (handed_in / f"{folder}{name}").write_bytes(RIGHT)
    reason = read_tiny(handed_in, checkout).reason
    assert reason.startswith(f"There is no katas/tiny.py. There is {folder}{name}: ")
    assert reason.endswith("rename it to tiny.py.")


def test_of_several_files_that_may_be_meant_all_are_named(handed_in, checkout):
    for name in ("tiny (3).py", "tiny copy.py"):
        (handed_in / "katas" / name).write_bytes(RIGHT)
    expected = "There are katas/tiny (3).py, katas/tiny copy.py: rename the one that is meant to tiny.py."
    assert read_tiny(handed_in, checkout).reason == f"There is no katas/tiny.py. {expected}"


@pytest.mark.parametrize(
    "name", ["tiny_utils.py", "my_tiny_tests.py", "tiny_other.md", "shiny.py", "tinyother.py", "tiny_more.py"]
)
def test_a_file_of_its_own_is_not_taken_for_a_kata(handed_in, checkout, name):
    """Helpers, tests, other words, and a kata whose name holds that of another."""
    add_kata(checkout, "tiny_more")
    (handed_in / "katas" / "other.py").write_bytes(RIGHT)
    (handed_in / "katas" / name).write_bytes(RIGHT)
    assert "tiny" not in read_tiny(handed_in, checkout).reason.removeprefix("There is no katas/tiny.py.")


def test_other_files_in_the_folder_are_ignored(handed_in, checkout):
    """Names that are not UTF-8, names that differ in case, shadow modules, and thousands of files."""
    folder = os.fsencode(handed_in / "katas")
    for number in range(3000):
        os.close(os.open(os.path.join(folder, b"\xff%d.py" % number), os.O_CREAT | os.O_WRONLY))
    for name in ("TINY.PY", "torch.py", "conftest.py", "sitecustomize.py", "\033[31m.py"):
        (handed_in / "katas" / name).write_text("raise SystemExit")
    (handed_in / "katas" / "__pycache__").mkdir()
    assert submit(handed_in, checkout, RIGHT).source == RIGHT


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: None, "katas/ has no .py file"),
        (lambda folder: (folder / "katas").rmdir(), "neither a folder katas nor .py files"),
        (lambda folder: (folder / "work.zip").touch(), "holds 'work.zip'; unpack it"),
        (lambda folder: (folder / "fork" / "katas").mkdir(parents=True), "the folder 'fork' in it has a folder katas"),
        (lambda folder: (folder / "\033[2J\udcff.zip").touch(), r"holds '\x1b[2J\udcff.zip'; unpack it"),
    ],
)
def test_a_folder_without_katas_is_no_submission(handed_in, checkout, make, says):
    """The sentence says where the katas may be, and shows no control character from the submission."""
    make(handed_in)
    with pytest.raises(UserError) as error:
        read_tiny(handed_in, checkout)
    assert says in str(error.value)


def test_a_path_that_is_no_submission_is_a_user_error(tmp_path, checkout):
    """The sentence says what to give instead."""
    with pytest.raises(UserError, match="There is no folder"):
        read_tiny(tmp_path / "nowhere", checkout)
    (tmp_path / "work.zip").touch()
    with pytest.raises(UserError, match="is an archive: unpack it, and give the folder"):
        read_tiny(tmp_path / "work.zip", checkout)
    (tmp_path / "kata.py").touch()
    with pytest.raises(UserError) as error:
        read_tiny(tmp_path / "kata.py", checkout)
    assert str(error.value) == f"{tmp_path / 'kata.py'} is a file; give the folder that holds it: {tmp_path}"
    with pytest.raises(UserError, match="There is no file"):
        read_submitted_file(tmp_path / "tiny.py", "tiny", checkout=checkout)


def deep(folder, depth):
    """Makes nested folders, beyond the longest path, without changing the current folder."""
    handle = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(os.open("end", os.O_CREAT | os.O_WRONLY, dir_fd=handle))
    os.close(handle)


def test_a_very_deep_tree_is_removed(tmp_path):
    """shutil.rmtree recurses, and a path has at most 4096 bytes."""
    deep(tmp_path, 3000)
    assert remove_tree(tmp_path, seconds=60)
    assert not tmp_path.exists()


def test_a_link_is_removed_and_its_target_is_not(tmp_path):
    """Links to a file, to a folder and to nothing, and a link as the top itself."""
    kept, tree = tmp_path / "kept", tmp_path / "tree"
    (kept / "inner").mkdir(parents=True)
    (kept / "inner" / "file").write_text("mine")
    kept.chmod(0o500)
    (tree / "a").mkdir(parents=True)
    for number, target in enumerate((kept, kept / "inner", kept / "inner" / "file", tmp_path / "nothing", "/")):
        (tree / "a" / str(number)).symlink_to(target)
    (tmp_path / "top").symlink_to(kept)
    assert remove_tree(tree, seconds=10)
    assert remove_tree(tmp_path / "top", seconds=10)
    assert not tree.exists()
    assert (kept / "inner" / "file").read_text() == "mine"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o500
    kept.chmod(0o700)


LOCKED = """
import os, sys
from pathlib import Path
from dojo.grading.sandbox.cleanup import remove_tree
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
top = Path(sys.argv[1], "locked")
for number in range(3):
    inner = top / "a" / str(number) / "b" / "c"
    inner.mkdir(parents=True)
    (inner / "file").touch(0o000)
    os.close(os.open(os.fsencode(inner) + b"/\\xff\\xfe", os.O_CREAT))
for folder, folders, files in os.walk(top, topdown=False):
    os.chmod(folder, (0o000, 0o200, 0o500)[len(folder) % 3])
print(remove_tree(top, seconds=10), top.exists())
"""


def test_locked_folders_are_removed_without_being_root():
    """A kata can remove the permissions of its folders, and names need not be UTF-8."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryDirectory() as folder:  # pytest's own is closed to other users
        os.chmod(folder, 0o777)
        command = [sys.executable, "-c", LOCKED, folder]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "True False\n", done.stderr


def test_many_files_are_removed_within_the_time_limit(tmp_path):
    """Clean-up must not delay grading for ever. Out of time, it returns False."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        for number in range(2500):
            (tmp_path / folder / str(number)).touch()
    assert not remove_tree(tmp_path, seconds=0)
    assert tmp_path.exists()
    assert remove_tree(tmp_path, seconds=60)
    assert not tmp_path.exists()


def test_removing_a_missing_tree_succeeds(tmp_path):
    """So clean-up can run twice. A single file counts as a tree, too."""
    assert remove_tree(tmp_path / "nothing", seconds=1)
    (tmp_path / "file").touch()
    assert remove_tree(tmp_path / "file", seconds=1)
    assert not (tmp_path / "file").exists()


# answers/, where learners write


def test_what_is_in_answers_comes_first(handed_in, checkout):
    """A clone holds the stubs in katas/ as well."""
    stub = checkout.stub("tiny").read_bytes()
    (handed_in / "answers").mkdir()
    (handed_in / "answers" / "tiny.py").write_bytes(RIGHT)
    for other in (stub, b"x = 1\n"):
        file = submit(handed_in, checkout, other)
        assert (file.status, file.source) == ("ok", RIGHT)
    (handed_in / "katas" / "tiny.py").unlink()
    (handed_in / "katas").rmdir()
    assert read_tiny(handed_in, checkout).source == RIGHT


def test_a_stub_in_answers_hides_nothing(handed_in, checkout):
    """Who has written in katas/, as people did before, is graded for it."""
    stub = checkout.stub("tiny").read_bytes()
    (handed_in / "answers").mkdir()
    (handed_in / "answers" / "tiny.py").write_bytes(stub)
    assert submit(handed_in, checkout, RIGHT).source == RIGHT
    file = submit(handed_in, checkout, stub)
    assert (file.status, file.reason) == ("not_attempted", "answers/tiny.py is still the stub.")


def test_a_folder_of_answers_is_found_where_archives_unpack(tmp_path, checkout):
    """Some folders deep; a folder of that name without a kata is something else."""
    folder = tmp_path / "handed-in"
    (folder / "ada" / "answers").mkdir(parents=True)
    (folder / "ada" / "answers" / "tiny.py").write_bytes(RIGHT)
    (folder / "notes" / "answers").mkdir(parents=True)
    (folder / "notes" / "answers" / "quiz.txt").write_text("42")
    assert read_tiny(folder, checkout).source == RIGHT


def test_a_link_in_answers_is_refused(handed_in, checkout):
    """As in katas/; a folder that is itself a link does not count."""
    elsewhere = handed_in.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "tiny.py").write_bytes(RIGHT)
    (handed_in / "answers").mkdir()
    (handed_in / "answers" / "tiny.py").symlink_to(elsewhere / "tiny.py")
    file = read_tiny(handed_in, checkout)
    assert (file.status, file.source) == ("refused", None)
    assert "answers/tiny.py" in file.reason
    (handed_in / "answers" / "tiny.py").unlink()
    (handed_in / "answers").rmdir()
    (handed_in / "answers").symlink_to(elsewhere)
    (handed_in / "katas" / "other.py").write_bytes(RIGHT)
    assert read_tiny(handed_in, checkout).status == "not_attempted"
