"""`kata update`: newer stubs reach a learner's answers, nothing is lost, and it can be taken back."""

import shutil
import subprocess
import sys

import pytest

from dojo.core.answers import BOTH_EDITED, CARRIED, STALE
from dojo.core.paths import Checkout
from dojo.tests.checkouts import SOLUTION, add_kata, make_checkout
from dojo.tests.cli.commands import environment, kata

IGNORED = ".dojo/\nanswers/\n__pycache__/\n.pytest_cache/\n"
ANSWER = SOLUTION.replace("    # kata: begin\n", "").replace("    # kata: end\n", "")  # as people write it
NEWER = SOLUTION.replace("Two functions of whole numbers.", "Two functions of whole numbers, and nothing else.")


def git(checkout: Checkout, *arguments: str) -> str:
    identity = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "init.defaultBranch=main"]
    command = ["git", *identity, "-C", str(checkout.root), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def save(checkout: Checkout, message: str) -> None:
    git(checkout, "add", "--all")
    git(checkout, "commit", "--quiet", "--message", message)


def publish(checkout: Checkout, solution: str, name: str = "tiny") -> None:
    """A new commit upstream, with another reference and its stub."""
    from dojo.core.stubs import render

    checkout.reference(name).write_text(solution)
    checkout.stub(name).write_text(render(solution, name))
    save(checkout, "Change a kata")


@pytest.fixture
def upstream(tmp_path) -> Checkout:
    checkout = make_checkout(tmp_path / "upstream")
    add_kata(checkout)
    shutil.rmtree(checkout.answers)
    (checkout.root / ".gitignore").write_text(IGNORED)
    git(checkout, "init", "--quiet")
    save(checkout, "Begin")
    return checkout


@pytest.fixture
def clone(upstream, tmp_path, monkeypatch) -> Checkout:
    subprocess.run(["git", "clone", "--quiet", str(upstream.root), str(tmp_path / "clone")], check=True)
    checkout = Checkout((tmp_path / "clone").resolve())
    monkeypatch.chdir(checkout.root)
    for variable in ("KATAS_DIR", "KATA_PACK", "KATA_WORKSPACE"):
        monkeypatch.delenv(variable, raising=False)
    return checkout


def update(*options: str) -> str:
    """What `kata update` prints; it starts a second process."""
    command = [sys.executable, "-m", "dojo.cli", "update", *options]
    run = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


def test_practice_leaves_git_alone(clone):
    """The files that people write in are git's to ignore."""
    kata("list")
    clone.answer("tiny").write_text(ANSWER)
    kata("show", "tiny")
    assert git(clone, "status", "--porcelain") == ""


def test_a_newer_stub_is_merged_into_an_answer(clone, upstream):
    """The change is shown, the answer keeps its lines, and a stub that nobody has edited is simply the new one."""
    kata("list")
    clone.answer("tiny").write_text(ANSWER)
    publish(upstream, NEWER)
    add_kata(upstream, "other")
    save(upstream, "Another kata")
    output = update()
    assert clone.answer("tiny").read_text() == ANSWER.replace("whole numbers.", "whole numbers, and nothing else.")
    assert "+Two functions of whole numbers, and nothing else." in output
    assert "New katas: other" in output
    assert clone.answer("other").read_bytes() == clone.stub("other").read_bytes()
    assert git(clone, "status", "--porcelain") == ""
    assert "its stub has changed" not in update()


def test_a_link_among_the_answers_stays_a_link(clone, upstream, tmp_path):
    """Some keep their files elsewhere."""
    kata("list")
    elsewhere = tmp_path / "elsewhere.py"
    elsewhere.write_text(ANSWER)
    clone.answer("tiny").unlink()
    clone.answer("tiny").symlink_to(elsewhere)
    publish(upstream, NEWER)
    update()
    assert clone.answer("tiny").is_symlink()
    assert "nothing else" in elsewhere.read_text()
    update("--undo")
    assert clone.answer("tiny").is_symlink()
    assert elsewhere.read_text() == ANSWER


def test_where_both_change_a_line_the_answer_stays(clone, upstream):
    """No conflict marker ever gets into an answer."""
    kata("list")
    mine = ANSWER.replace("by: int = 3", "by: int = 4")
    clone.answer("tiny").write_text(mine)
    publish(upstream, SOLUTION.replace("by: int = 3", "by: int = 5"))
    output = update()
    assert clone.answer("tiny").read_text() == mine
    assert "yours stayed" in output
    assert "by: int = 5" in output


def test_an_update_is_taken_back(clone, upstream):
    """The commit and the answers; what was written since is copied first."""
    kata("list")
    clone.answer("tiny").write_text(ANSWER)
    before = git(clone, "rev-parse", "HEAD")
    publish(upstream, NEWER)
    update()
    clone.answer("tiny").write_text("# written since\n")
    output = update("--undo")
    assert git(clone, "rev-parse", "HEAD") == before
    assert clone.answer("tiny").read_text() == ANSWER
    assert "was edited since: a copy is in .dojo/backups/tiny-" in output
    assert [copy.read_text() for copy in (clone.state / "backups").glob("tiny-*")] == ["# written since\n"]
    assert kata("update", "--undo").exit_code == 2
    assert "nothing else" in update()  # it can be done again
    assert "nothing else" in clone.answer("tiny").read_text()


def test_answers_in_katas_are_carried_over(clone, upstream):
    """Until now, katas/ was where people wrote. Their first command copies it, and an update restores the stub."""
    clone.stub("tiny").write_text(ANSWER)
    assert CARRIED.format(katas="tiny") in kata("list").stderr
    assert clone.answer("tiny").read_text() == ANSWER
    assert kata("list").stderr == ""  # it is told once
    clone.stub("tiny").write_text(ANSWER + "# more\n")
    kata("list")
    assert clone.answer("tiny").read_text() == ANSWER + "# more\n"
    publish(upstream, NEWER)
    output = update()
    assert "Stubs again in katas/, with what stood there in .dojo/backups/: tiny" in output
    assert "nothing else" in clone.answer("tiny").read_text()
    assert clone.answer("tiny").read_text().endswith("# more\n")
    assert git(clone, "status", "--porcelain") == ""


def test_answers_that_were_put_there_by_hand_are_merged_too(clone, upstream):
    """`cp -r katas answers` before a pull with git: the stub that each was begun from is in the history."""
    clone.stub("tiny").write_text(ANSWER)
    shutil.copytree(clone.katas, clone.answers)
    git(clone, "checkout", "--quiet", "katas")
    publish(upstream, NEWER)
    update()
    assert clone.answer("tiny").read_text() == ANSWER.replace("whole numbers.", "whole numbers, and nothing else.")


def test_two_edited_files_are_both_kept(clone):
    """What counts is answers/, and the other is told."""
    kata("list")
    clone.answer("tiny").write_text(ANSWER)
    clone.stub("tiny").write_text("# another\n")
    assert BOTH_EDITED.format(katas="tiny") in kata("list").stderr
    assert clone.answer("tiny").read_text() == ANSWER


def test_a_pull_that_git_refuses_changes_no_answer(clone, upstream):
    """A commit of one's own on the same branch."""
    kata("list")
    clone.answer("tiny").write_text(ANSWER)
    (clone.root / "mine").write_text("")
    save(clone, "Mine")
    publish(upstream, NEWER)
    result = kata("update")
    assert result.exit_code == 2
    assert "git pull --no-rebase" in result.stderr
    assert clone.answer("tiny").read_text() == ANSWER


def test_a_stub_that_changes_without_an_update_is_told(clone, upstream):
    """After a plain `git pull`."""
    kata("list")
    clone.answer("tiny").write_text(ANSWER)
    publish(upstream, NEWER)
    git(clone, "pull", "--quiet")
    assert STALE.format(katas="tiny") in kata("list").stderr
