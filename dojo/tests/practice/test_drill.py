"""A drill's clock, stages, hints, pauses, points and last page, without a terminal or a process."""

import os
import re
import sys
from dataclasses import replace

import pytest
from rich.cells import cell_len

from dojo.core import clock
from dojo.core.catalog import Catalog, load_catalog
from dojo.core.errors import UserError
from dojo.core.outcome import Diagnosis, Outcome, why_line
from dojo.core.stubs import render
from dojo.engine.messages import JobDied, Verdict
from dojo.practice import actions, interview, rounds
from dojo.practice.drill import clock as drill_clock
from dojo.practice.drill import grading, lock
from dojo.practice.drill.choose import choose
from dojo.progress.attempts import read_attempts
from dojo.progress.session_state import DrillState, StageResult
from dojo.progress.sessions import Event, Session, SessionLog, new_folder
from dojo.tests import checkouts
from dojo.tests.cli.commands import kata
from dojo.tests.practice.drill_without_terminal import FINISH, Room, outcomes, press
from dojo.tests.progress.made_up_history import NOON


@pytest.fixture
def room(checkout, monkeypatch):
    return Room(checkout, monkeypatch)


@pytest.fixture
def app(room):
    """A drill of five minutes on `tiny`, which has two stages, three hints and one follow-up question."""
    return room.drill()


def finish(room, app, *final, ratings="3"):
    """Finishes early with this final verdict, answers the follow-up questions, and returns the last page."""
    press(app, *FINISH)
    room.answer(app, *final)
    for rating in ratings:
        press(app, "enter", rating)
    return "\n".join(app.last_page())


# Another language


def test_a_drill_in_chinese_has_no_english_words_and_fits(room, monkeypatch):
    """From its first screen to its last page; what stays are names, commands, and what the kata itself says."""
    monkeypatch.setenv("KATA_LANG", "zh")
    app, kata = room.drill(), room.kata
    screens = [room.screen(app)]
    room.answer(app, "ppf", message=f"a\n{why_line('b')}", diagnoses=[Diagnosis("c", "d", True)])
    for key in ("x", "t", "escape", "h", "escape", "p", "p", "f"):
        press(app, key)
        screens.append(room.screen(app))
    press(app, "y", "e", "s", "enter")
    room.answer(app, "ppf", "pf", message="a")
    for key in ("enter", "3"):
        screens.append(room.screen(app))
        press(app, key)
    screens.append("\n".join(app.last_page()))
    shown = "\n".join(screens)
    assert all(cell_len(line) <= 80 for line in shown.splitlines())
    texts = [kata.title, kata.question, *kata.stages, *kata.hints]
    texts += [text for item in kata.follow_ups for text in (item.question, item.answer)]
    known = {
        "dojo",
        "drills",
        "attempt",
        "tiny",
        "kata",
        "solution",
        "give",
        "due",
        "test",
        "yes",
        "Enter",
        "Esc",
        "Home",
        "End",
    }
    known |= {"torch"} | {word for text in texts for word in re.findall("[A-Za-z]{3,}", text)}
    assert set(re.findall("[A-Za-z]{3,}", shown)) <= known


# The clock


def test_the_clock_is_the_file_that_kata_clock_names(tmp_path, monkeypatch):
    """It replaces the calendar's clock and the monotonic one."""
    file = tmp_path / "clock"
    monkeypatch.setenv("KATA_CLOCK", str(file))
    file.write_text("42.5")
    assert clock.now() == clock.monotonic() == 42.5
    file.write_text("")
    assert clock.now() == 42.5  # a file that is just being written keeps the last time
    monkeypatch.delenv("KATA_CLOCK")
    assert clock.now() > 42.5


def test_the_drill_counts_the_time_and_shows_the_rest(room, app):
    """65 of 300 seconds."""
    room.wait(65, app)
    assert app.session.elapsed == 65
    assert "3:55 left" in room.screen(app)


def test_a_clock_that_is_set_back_changes_nothing(room, app):
    """An hour back: neither the working time nor a pause gets it."""
    room.wait(30, app)
    room.wait(-3600, app)
    room.wait(10, app)
    assert app.session.elapsed == 40


def test_sleep_does_not_count_and_is_recorded_as_a_pause(room, app, monkeypatch):
    """While a computer sleeps, the calendar goes on and the monotonic clock does not."""
    room.wait(30, app)
    monkeypatch.setattr(clock, "now", lambda: room.now + 7200)
    app.tick()
    assert app.session.elapsed == 30
    assert app.session.state.paused_s == 7200
    assert (30, "sleep", "7200") in room.events(app)


# Stages


def test_a_drill_begins_with_a_fresh_stub_in_its_own_folder(room, checkout, app):
    """The file in katas/ is neither copied nor changed."""
    assert app.session.file.read_text() == render(checkout.reference("tiny").read_text(), "tiny")
    assert app.session.folder.parent == checkout.state / "drills"
    (job,) = app.forkserver.jobs
    assert (job.target, job.stage) == (app.session.folder, 1)


def test_the_first_question_is_the_katas_and_no_later_stage_shows(room, app):
    """An interviewer asks one stage after another."""
    screen = room.screen(app)
    assert "How would you double?" in screen
    assert "the definition" in screen
    assert "limits" not in screen


def test_a_passed_stage_opens_the_next_question(room, app):
    """The event keeps when it was passed."""
    room.wait(60, app)
    room.answer(app, "ppp")
    assert app.forkserver.jobs[-1].stage == 2
    assert "Good. And now:" in room.screen(app)
    assert "limits" in room.screen(app)
    assert (60, "stage", "1") in room.events(app)


def test_a_failed_stage_opens_nothing(room, app):
    """The failure is shown as in `kata watch`."""
    room.answer(app, "ppf", message="double(5) is 25, not 10")
    assert len(app.forkserver.jobs) == 1
    assert "double(5) is 25, not 10" in room.screen(app)


def test_after_the_last_stage_the_attempt_is_graded_as_a_whole(room, app):
    """Every stage again, on the frozen copy."""
    room.answer(app, "ppp")
    room.answer(app, "ppp", "pp")
    job = app.forkserver.jobs[-1]
    assert (app.phase, job.stage, job.target) == ("grading", None, app.session.folder / "attempt")


def test_only_a_save_that_changes_something_runs_the_tests(room, app):
    """Editors also write files without a change."""
    room.write(app, app.session.file.read_text())
    assert len(app.forkserver.jobs) == 1
    room.write(app, "x = 1\n")
    assert len(app.forkserver.jobs) == 2


def test_a_late_verdict_on_an_older_save_is_ignored(room, app):
    """It is the verdict on a text that was replaced."""
    old = app.forkserver.jobs[-1].number
    room.write(app, "x = 1\n")
    app.handle_message(Verdict(old, outcomes("ppp"), {"tiny": 3}, "digest", 0.1))
    assert app.state.stage == 1


def test_a_hanging_test_is_reported_and_the_drill_waits_for_the_next_save(room, app):
    """The drill stays in its stage."""
    room.hang(app)
    assert "was still running after 20 s" in room.screen(app)
    room.write(app, "x = 1\n")
    assert app.phase == "work"
    assert len(app.forkserver.jobs) == 2


# The end of time


def test_when_time_is_up_the_attempt_is_frozen_and_graded(room, app):
    """Later saves do not count."""
    room.write(app, "mine = 1\n")
    room.wait(301, app)
    assert app.phase == "grading"
    assert app.session.elapsed == 300
    room.write(app, "later = 2\n")
    assert (app.forkserver.jobs[-1].target / "tiny.py").read_text() == "mine = 1\n"
    room.answer(app, "ppp", "pf")
    assert app.session.points == pytest.approx(100 * (40 + 12.5) / 65, abs=0.06)
    assert "time is up" in room.screen(app)
    assert (300, "time", "") in room.events(app)


def test_time_is_also_up_while_an_editor_is_open(room, app, tmp_path, monkeypatch):
    """What the editor saves after the end does not count."""
    script = tmp_path / "editor.py"
    script.write_text(
        "import os, sys, time\n"
        f"open({str(tmp_path / 'new')!r}, 'w').write('{NOON + 400}')\n"
        f"os.replace({str(tmp_path / 'new')!r}, {str(room.clock)!r})\n"
        f"while not os.path.exists({str(app.session.folder / 'attempt' / 'tiny.py')!r}):\n    time.sleep(0.01)\n"
        "open(sys.argv[1], 'w').write('late = 1')\n"
    )
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
    press(app, "e")
    assert app.phase == "grading"
    assert app.session.file.read_text() == "late = 1"
    assert "late" not in (app.session.folder / "attempt" / "tiny.py").read_text()


def test_without_an_editor_a_sentence_names_the_file(room, app, monkeypatch):
    """No default editor is started."""
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.delenv("EDITOR", raising=False)
    press(app, "e")
    assert "No editor is set" in room.screen(app)


def test_finishing_early_needs_a_word(room, app):
    """A key that does not belong to it goes back, and does nothing else."""
    press(app, "f")
    assert "Finish now and be graded? Type yes and Enter" in room.screen(app)
    press(app, "y", "e", "q", "s", "enter")
    assert app.phase == "work"
    assert not app.done
    assert "Finish now" not in room.screen(app)
    press(app, "f", "y", "e")
    assert room.screen(app).count("goes back. ye") == 1
    press(app, "S", "enter")
    assert app.phase == "grading"
    assert "done in 0:00" in room.screen(app)


def test_typing_into_the_wrong_window_finishes_nothing(room, app):
    """A word with two f, and text with y and Enter in it."""
    press(app, *"if self.buffer: offset = y", "enter", "f", "f", "y", "enter", "f", "y", "e", "s", "y", "enter")
    assert app.phase == "work"


def test_a_save_closes_the_question(room, app):
    """The keys after it are no answer any more."""
    press(app, "f", "y", "e", "s")
    room.write(app, "x = 1\n")
    press(app, "enter")
    assert app.phase == "work"


def test_the_attempt_holds_the_bytes_that_were_saved(room, app):
    """In whatever encoding: the final run says the same of them as the runs before."""
    app.session.file.write_bytes(b"# Gr\xf6\xdfe\r\n")
    press(app, *FINISH)
    assert app.session.attempt.read_bytes() == b"# Gr\xf6\xdfe\r\n"


# Hints and pauses


def test_hints_cost_points_and_are_recorded(room, app):
    """Showing the last one again costs nothing."""
    room.wait(10, app)
    press(app, "h")
    assert "the idea" in room.screen(app)
    press(app, "enter")
    assert "the idea" not in room.screen(app)
    press(app, "h", "h", "h")
    assert [event for event in room.events(app) if event[1] == "hint"] == [(10, "hint", n) for n in "123"]
    page = finish(room, app, "ppp", "pp")
    assert app.session.points == 100 - 3 * grading.HINT_POINTS
    assert "3 hints (-15 points)" in page


def test_a_pause_stops_the_clock_and_is_recorded(room, app):
    """Meanwhile the question is hidden."""
    room.wait(20, app)
    press(app, "p")
    assert "How would you double?" not in room.screen(app)
    room.wait(600, app)
    press(app, "p")
    room.wait(5, app)
    assert app.session.elapsed == 25
    assert [(at, what) for at, what, _ in room.events(app)][1:] == [(20, "pause"), (20, "resume")]
    assert "paused for 10:00" in finish(room, app, "ppp", "pp")


def test_a_save_during_a_pause_is_run_after_it(room, app):
    """Without a second save."""
    press(app, "p")
    room.write(app, "x = 1\n")
    assert len(app.forkserver.jobs) == 1
    press(app, "p")
    assert len(app.forkserver.jobs) == 2


@pytest.mark.parametrize(("down", "up"), [("j", "k"), ("down", "up")])
def test_a_page_scrolls_with_arrows_and_with_j_and_k(room, down, up):
    """As in `kata watch`. Closing the page and opening it again begins at its top."""
    app = room.drill(size=(80, 16))
    room.answer(app, "pppf", "nn")
    press(app, "t")
    assert "stage 1  the definition" in room.screen(app)
    press(app, down, down)
    assert "stage 1  the definition" not in room.screen(app)
    press(app, up, up)
    assert "stage 1  the definition" in room.screen(app)
    press(app, down, down, "escape", "t")
    assert "stage 1  the definition" in room.screen(app)


def test_q_on_a_page_is_back_and_the_footer_says_so(room, app):
    """The drill goes on. What belongs to the verdict's keys means nothing there."""
    press(app, "h")
    assert "h the next one (-5) arrows scroll Home top End end Esc or q back" in " ".join(room.screen(app).split())
    press(app, "p", "f", "q")
    assert (app.phase, app.done, app.open_question) == ("work", False, None)
    assert "q leave" in room.screen(app)


def test_what_was_printed_is_shown_while_there_is_work(room, app):
    """As in `kata watch`, but not on the screens that follow."""
    printing = Outcome("test_1_0", "tiny", 1, "failed", "wrong", 0.1, "x is 5\n")
    app.handle_message(Verdict(app.forkserver.jobs[-1].number, (printing,), {"tiny": 1}, "digest", 0.1))
    assert "Printed in test_1_0" in room.screen(app)
    assert "x is 5" in room.screen(app)
    press(app, "p")
    assert "x is 5" not in room.screen(app)


# Left, killed, deleted


def test_a_drill_that_was_left_goes_on_with_the_same_clock(room, app):
    """The time between is a pause."""
    room.answer(app, "ppp")
    press(app, "h", "enter")
    room.wait(100, app)
    press(app, "q")
    assert app.done
    room.wait(5000)
    again = room.resume(app)
    assert (again.state.stage, again.state.hints, again.session.elapsed, again.phase) == (2, 1, 100, "work")
    assert again.session.state.paused_s == 5000


def test_a_killed_drill_loses_nothing_but_the_last_heartbeat(room, app, monkeypatch):
    """Nothing is called at its end."""
    monkeypatch.setattr(drill_clock, "HEARTBEAT_S", -1.0)  # every tick
    room.answer(app, "ppp")
    press(app, "h")
    room.wait(100, app)
    room.wait(1.5)
    again = room.resume(app)
    assert (again.state.stage, again.state.hints, again.session.elapsed) == (2, 1, 100)
    room.wait(1, again)
    assert again.session.elapsed == 101


def test_a_drill_killed_while_it_is_graded_is_graded_again(room, app):
    """The frozen copy is not made again."""
    app.session.file.write_text("mine = 1\n")
    press(app, *FINISH)
    app.session.file.write_text("later = 2\n")
    again = room.resume(app)
    assert again.phase == "grading"
    assert (again.forkserver.jobs[-1].target / "tiny.py").read_text() == "mine = 1\n"


def test_a_drill_left_at_the_questions_goes_on_there(room, app):
    """Its points are kept."""
    press(app, *FINISH)
    room.answer(app, "ppp", "pp")
    press(app, "enter", "q")
    again = room.resume(app)
    assert (again.phase, again.session.points) == ("answered", 100)
    assert "Add once more." in room.screen(again)


def test_a_drill_cannot_be_open_twice(room, app, checkout, catalog):
    """A second drill may begin beside it."""
    with pytest.raises(UserError, match="open in another terminal"):
        room.drill(app.session)
    with pytest.raises(UserError, match="open in another terminal"):
        interview.resume(checkout, catalog)
    other = room.drill()
    assert other.session.folder != app.session.folder
    app.lock_file.close()
    assert not lock.is_open(app.session.folder)


def test_without_an_unfinished_drill_resume_says_how_to_begin(checkout, catalog):
    """The error names the command."""
    with pytest.raises(UserError, match=r"No drill was left unfinished\. Begin one: kata drill"):
        interview.resume(checkout, catalog)


def test_a_deleted_folder_is_reported_and_r_restores_the_stub(room, checkout, app):
    """It is watched again, and r does nothing once the file exists."""
    for file in app.session.folder.iterdir():
        file.unlink()
    app.session.folder.rmdir()
    assert "does not exist. Press r to get the stub back." in " ".join(room.screen(app).split())
    press(app, "r")
    assert app.session.file.read_text() == render(checkout.reference("tiny").read_text(), "tiny")
    assert len(app.forkserver.jobs) == 2
    press(app, "r")
    assert len(app.forkserver.jobs) == 2


def test_a_deleted_folder_is_graded_as_an_empty_file(room, app):
    """It gives no points, and the last page still appears."""
    app.session.file.unlink()
    (app.session.folder / ".open").unlink()
    app.session.folder.rmdir()
    press(app, *FINISH)
    room.broken(app, "cannot import name 'double'")
    assert app.session.points == 0


def test_resuming_a_deleted_drill_is_an_error_once(room, checkout, catalog, app):
    """The drill is then ended, so that the next --resume passes it over."""
    press(app, "q")
    app.lock_file.close()
    for file in app.session.folder.iterdir():
        file.unlink()
    app.session.folder.rmdir()
    with pytest.raises(UserError, match="is gone, so that drill cannot go on"):
        interview.resume(checkout, catalog)
    with pytest.raises(UserError, match="No drill was left"):
        interview.resume(checkout, catalog)


def test_without_a_history_the_drill_goes_on_and_says_so(checkout, monkeypatch):
    """`.dojo/history.sqlite` is a folder here, so that even root cannot write it."""
    (checkout.state / "history.sqlite").mkdir(parents=True)
    room = Room(checkout, monkeypatch)
    app = room.drill()
    assert "cannot be used" in room.screen(app)
    room.wait(60, app)
    room.answer(app, "ppp")
    page = " ".join(finish(room, app, "ppp", "pf").split())
    assert "1:00 of 5:00, 1 run, 0 hints" in page
    assert "■ 1 3/3 62 1:00" in page
    assert app.session.points == 80.8


# The end


def test_the_follow_up_questions_are_asked_answered_and_rated(room, app):
    """Enter shows the model answer; only then a rating counts."""
    press(app, *FINISH)
    room.answer(app, "ppp", "pp")
    screen = room.screen(app)
    assert "And triple?" in screen
    assert "Add once more." not in screen
    press(app, "2")
    assert app.phase == "asking"
    press(app, "enter")
    assert "Add once more." in room.screen(app)
    press(app, "2")
    assert app.phase == "done"
    assert app.session.state.ratings == [2]
    assert "follow-ups 2 of 3" in room.screen(app)


def test_the_page_says_what_happened(room, app):
    """Stages and times, runs, hints, the first mistake and its name, earlier drills, what to repeat and when."""
    room.answer(app, "pff", diagnoses=[Diagnosis("squares", "x is multiplied by itself", True)])
    room.write(app, "x = 1\n")
    room.answer(app, "ppf", diagnoses=[Diagnosis("other", "another clause", True)])
    room.write(app, "x = 2\n")
    room.wait(90, app)
    room.answer(app, "ppp")
    page = " ".join(finish(room, app, "ppp", "pf").split())
    assert "■ 1 3/3 62 1:30 the definition" in page
    assert "□ 2 1/2 19 - limits" in page
    assert "3 runs, 0 hints" in page
    assert "The first mistake: squares. Your result is exactly what you get when x is multiplied by itself." in page
    assert "Your first drill of this kata." in page
    assert "Repeat from stage 2 (limits): 1 of 2 tests pass." in page
    assert "Rated Good. To solve again in " in page


def test_an_error_of_the_schedule_costs_only_its_sentence(room, app, monkeypatch):
    """The last page appears without it."""
    monkeypatch.setattr("dojo.progress.schedule.due_dates", lambda *_: 1 / 0)
    page = finish(room, app, "ppp", "pp")
    assert "Rated" not in page
    assert "100 points" in page


def test_earlier_drills_are_compared(room):
    """With the last one and the best one; an unfinished drill does not count."""
    finish(room, room.drill(), "ppp", "pp")
    finish(room, room.drill(), "ppp", "nn")
    room.drill()
    page = " ".join(finish(room, room.drill(), "ppp", "pn").split())
    assert "80.8 points, better than last time (61.5); your best of 2 earlier drills is 100." in page


def test_a_file_that_cannot_be_imported_gets_no_points(room, app):
    """The page says why, and does not say that all stages stand."""
    press(app, *FINISH)
    room.broken(app, "tiny.py, line 3: invalid syntax\n  def (")
    press(app, "enter", "1")
    page = " ".join("\n".join(app.last_page()).split())
    assert app.session.points == 0
    assert "tiny.py, line 3: invalid syntax: what it did not reach gives no points." in page
    assert "Repeat from stage 1 (the definition): it could not be graded." in page
    assert "All stages stand" not in page


def test_tests_that_hang_in_the_grading_cost_only_the_stages_not_passed_before(room, app):
    """Stage 1 was passed before: it is graded without the others."""
    room.answer(app, "ppp")
    press(app, *FINISH)
    room.hang(app)
    assert app.forkserver.jobs[-1].stage == 1
    room.answer(app, "ppp")
    press(app, "enter", "1")
    assert app.session.points == 61.5
    assert "The final run was still running after 20 s, in test_1_0" in " ".join("\n".join(app.last_page()).split())


def test_tests_that_always_hang_give_no_points_and_a_page(room, app):
    """If no stage was passed before, nothing can be graded."""
    press(app, *FINISH)
    room.hang(app)
    press(app, "enter", "1")
    assert app.phase == "done"
    assert app.session.points == 0
    assert "could not be graded" in " ".join("\n".join(app.last_page()).split())


def test_the_page_names_the_reference(room):
    """The kata that was solved in the drill is solved, so looking at the reference gives nothing up."""
    assert "kata solution tiny --give-up" in " ".join(finish(room, room.drill(), "ppp", "pf").split())
    page = " ".join(finish(room, room.drill(), "ppp", "pp").split())
    assert page.endswith("The reference: kata solution tiny")
    actions.solution(room.checkout, room.kata, print, give_up=False)
    assert [attempt.kind for attempt in read_attempts(room.checkout)] == ["drill", "drill"]


def test_a_fork_server_that_dies_at_the_questions_starts_nothing(room, app):
    """The drill is graded."""
    press(app, *FINISH)
    room.answer(app, "ppp", "pp")
    app.handle_message(JobDied(0, "ended"))
    assert (app.phase, len(app.forkserver.jobs)) == ("asking", 2)


def test_a_job_is_submitted_again_when_the_fork_server_dies(room, app):
    """In phase "work" and in the grading."""
    app.handle_message(JobDied(0, "ended"))
    assert len(app.forkserver.jobs) == 2
    press(app, *FINISH)
    app.handle_message(JobDied(0, "ended"))
    assert [job.target.name for job in app.forkserver.jobs[-2:]] == ["attempt", "attempt"]


@pytest.mark.parametrize("size", [(80, 24), (40, 12), (200, 60)])
def test_every_screen_fits_its_window(room, size):
    """The keys are always on it."""
    app = room.drill(size=size)
    screens = [room.screen(app)]
    press(app, "h")
    screens.append(room.screen(app))
    press(app, "escape", "p")
    screens.append(room.screen(app))
    press(app, "p", *FINISH)
    room.answer(app, "ppp", "pf")
    for key in ("enter", "3"):
        screens.append(room.screen(app))
        press(app, key)
    screens.append(room.screen(app))
    for screen in screens:
        lines = screen.splitlines()
        assert len(lines) == size[1]
        assert max(map(len, lines)) <= size[0]
        assert any(word in "".join(lines[-4:]) for word in ("leave", "close", "back"))


# Points


def results(*rows):
    return [StageResult(*row, None) for row in rows]


@pytest.mark.parametrize(
    ("rows", "hints", "expected"),
    [
        ([(1, 3, 3), (2, 2, 2)], 0, 100),
        ([(1, 3, 3), (2, 0, 2)], 0, 61.5),
        ([(1, 1, 2), (2, 0, 1), (3, 0, 1), (4, 0, 1)], 0, 20),
        ([(1, 2, 2)], 2, 90),
        ([(1, 0, 2)], 2, 0),
        ([(1, 0, 0)], 0, 0),
        ([], 0, 0),
    ],
)
def test_points_are_shares_of_the_stages_less_hints(rows, hints, expected):
    """Never below 0."""
    assert grading.points(results(*rows), hints) == expected


def test_skipped_tests_do_not_count():
    """A stage of which every test is skipped is left out."""
    results = grading.stage_results(outcomes("pps", "ss"), [Event(7.0, "stage", "1"), Event(9.0, "stage", "1")])
    assert results == [StageResult(1, 2, 2, 7.0)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (425, "7:05"), (3600, "1:00:00"), (3723, "1:02:03")]
)
def test_times_read_like_a_clock(seconds, text):
    assert drill_clock.clock_text(seconds) == text


# Which kata


@pytest.fixture
def several(checkout) -> Catalog:
    """Four katas of five minutes, tiny among them."""
    for name in ("bit", "dot", "jot"):
        checkouts.add_kata(checkout, name)
    return load_catalog(checkout)


def add(log, kata):
    return log.add(Session(0, "drill", kata, 5, new_folder(log.checkout, "drills", kata), clock.now()))


def test_the_kata_drilled_least_recently_is_chosen(room, several):
    """First the katas never drilled, in learning order."""
    log = SessionLog(room.checkout)
    assert choose(log, several, None, None).name == "tiny"
    add(log, "tiny")
    assert choose(log, several, None, 5).name == "bit"
    for name in ("bit", "dot", "jot"):
        add(log, name)
    assert choose(log, several, "numbers", None).name == "tiny"


def test_a_kata_that_does_not_fit_is_not_chosen(room, several):
    """The error names the shortest kata, or the tracks."""
    with pytest.raises(UserError, match=r"No kata fits into 3 minutes; the shortest takes 5: kata drill tiny"):
        choose(SessionLog(room.checkout), several, None, 3)
    with pytest.raises(UserError, match=r"There is no track called 'letters'. There are: numbers."):
        choose(SessionLog(room.checkout), several, "letters", None)


def test_a_round_is_two_drills_and_a_hunt_of_different_katas(room, several):
    """60 minutes of the katas met least recently."""
    log = SessionLog(room.checkout)
    add(log, "tiny")
    parts = rounds.plan_round(log, several, None)
    assert [part.kind for part in parts] == ["drill", "drill", "hunt"]
    assert [part.kata for part in parts] == ["bit", "dot", "jot"]
    assert sum(part.minutes for part in parts) == 60


@pytest.mark.parametrize(("minutes", "chosen"), [(10, "bit"), (11, "dot")])
def test_a_kata_much_longer_than_its_part_is_left_out(room, several, minutes, chosen):
    """By more than five minutes; but not if all are, and a hunt may be in any."""
    katas = [replace(several["bit"], minutes=minutes), several["dot"], several["jot"]]
    catalog, log = replace(several, katas=tuple(katas)), SessionLog(room.checkout)

    def first(kind, minutes):
        [part] = rounds.plan_round(log, catalog, None, [rounds.PartPlan("", kind, "core", minutes)])
        return part.kata

    assert first("drill", 5.0) == chosen
    assert first("drill", -1.0) == first("hunt", 5.0) == "bit"


def test_the_round_of_a_role_names_its_katas_and_bugs(room, several):
    """And keeps them when it is stored. Every role's katas are there."""
    plans = (
        rounds.PartPlan("two bugs", "hunt", "core", 20.0, kata="jot", bugs=2),
        rounds.PartPlan("then this", "drill", "core", 40.0, kata="tiny"),
    )
    parts = rounds.plan_round(SessionLog(room.checkout), several, None, plans)
    assert [(part.kind, part.kata, part.minutes, part.bugs) for part in parts] == [
        ("hunt", "jot", 20.0, 2),
        ("drill", "tiny", 40.0, 1),
    ]
    text = " ".join(interview.round_intro(room.checkout, several, parts).sentences)
    assert "2 parts in 60 minutes: two bugs (20), then this (40)" in text
    stored = DrillState.from_json(DrillState(parts=parts).to_json()).parts
    assert [(part.kata, part.bugs) for part in stored] == [("jot", 2), ("tiny", 1)]
    katas = {kata.name for kata in load_catalog(checkouts.Checkout(checkouts.REPOSITORY)).katas}
    assert {plan.kata for plans in rounds.ROLES.values() for plan in plans} <= katas


@pytest.mark.parametrize("options", [["--role", "llm"], ["--mock", "--role", "llm", "--track", "numbers"]])
def test_a_role_is_a_round_of_its_own(checkout, options):
    """No single drill, and no track beside it."""
    result = kata("drill", *options)
    assert result.exit_code == 2
    assert "kata drill --mock --role llm" in result.stderr


def test_a_round_of_one_kata_repeats_it(room, catalog):
    """If the catalogue has no other."""
    assert [part.kata for part in rounds.plan_round(SessionLog(room.checkout), catalog, None)] == ["tiny"] * 3


def test_two_drills_of_one_second_have_folders_of_their_own(room, checkout):
    """A number is put behind the second."""
    assert new_folder(checkout, "drills", "tiny") != new_folder(checkout, "drills", "tiny")
    assert len(os.listdir(checkout.state / "drills")) == 2
