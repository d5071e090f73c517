"""Hints, solutions and resets go on without a history, and pass on why it could not be written."""

import pytest

from dojo.practice import actions


@pytest.fixture
def kata(checkout, catalog):
    """A kata of a checkout whose history cannot be written, not even by root: its file is a folder."""
    (checkout.state / "history.sqlite").mkdir(parents=True)
    return catalog["tiny"]


@pytest.mark.parametrize(
    "action",
    [
        lambda checkout, kata, notify: actions.next_hint(checkout, kata, notify)[0] == 1,
        lambda checkout, kata, notify: "def double" in actions.solution(checkout, kata, notify, give_up=True),
        lambda checkout, kata, notify: actions.reset(checkout, kata, notify) is None,
        lambda checkout, kata, notify: actions.record_reading(checkout, kata, notify) is None,
    ],
    ids=["hint", "solution", "reset", "reading"],
)
def test_an_error_of_the_history_is_passed_on_and_stops_nothing(checkout, kata, action, capsys):
    """One sentence, and nothing is printed: the screen of `kata watch` would get holes."""
    notices = []
    assert action(checkout, kata, notices.append)
    (notice,) = notices
    assert "progress is not recorded" in notice
    assert capsys.readouterr() == ("", "")


def test_with_a_history_there_is_nothing_to_pass_on(checkout, catalog):
    """The hint is counted."""
    notices = []
    assert [actions.next_hint(checkout, catalog["tiny"], notices.append)[0] for _ in range(4)] == [1, 2, 3, 3]
    assert notices == []


def test_the_solution_is_read_without_the_marks_of_its_fences(checkout, catalog):
    """They are the trainer's: what a stub leaves out. All other lines are there."""
    text = actions.solution(checkout, catalog["tiny"], print, give_up=True)
    lines = checkout.reference("tiny").read_text().splitlines()
    assert text.splitlines() == [line for line in lines if "# kata:" not in line]


def test_reset_leaves_a_link_a_link(checkout, catalog, tmp_path):
    """Some keep their answers in another folder: the stub goes there, and a copy of what was there is kept."""
    answer = tmp_path / "answer.py"
    answer.write_text("mine\n")
    stub = checkout.answer("tiny").read_text()
    checkout.answer("tiny").unlink()
    checkout.answer("tiny").symlink_to(answer)
    copy = actions.reset(checkout, catalog["tiny"], print)
    assert checkout.answer("tiny").is_symlink()
    assert answer.read_text() == stub
    assert copy.read_text() == "mine\n"
