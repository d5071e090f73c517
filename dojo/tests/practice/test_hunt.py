"""Bug hunts: which mistakes are planted, the proof that they can be found, what a repair changed, and the points."""

import ast
import random

import pytest

from dojo.core import clock
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.mistakes import Mistake, load_mistakes
from dojo.core.outcome import Outcome
from dojo.core.paths import Checkout
from dojo.engine.forkserver import ForkServer
from dojo.engine.messages import JobDied, Verdict
from dojo.practice.hunt import start
from dojo.practice.hunt.grading import hunt_points
from dojo.practice.hunt.plant import Planted, SourceTester, plant, undo, working_file
from dojo.practice.hunt.repair import apply, beyond_the_bugs, count_unneeded, edits
from dojo.practice.hunt.start import choose, new_hunt, place
from dojo.progress.sessions import SessionLog
from dojo.tests.checkouts import MISTAKES, REPOSITORY, SOLUTION, add_kata
from dojo.tests.practice.drill_without_terminal import FINISH, FakeTerminal, Room, press

REAL = Checkout(REPOSITORY)


@pytest.fixture
def room(checkout, monkeypatch):
    return Room(checkout, monkeypatch)


def always(working):
    """A fake for running the tests: every source but the working file fails all of them."""
    return lambda source, test: source != working


def plant_bugs(checkout, bugs=1, seed=0, fails=None):
    kata = load_catalog(checkout)["tiny"]
    return plant(checkout, kata, bugs, seed, fails or always(working_file(checkout, "tiny")))


def hunt(room, bugs=1, seed=1):
    """A hunt on the screen, planted without running the tests and begun without a question."""
    working = working_file(room.checkout, "tiny")
    plants = pytest.MonkeyPatch()
    plants.setattr(SourceTester, "fails", lambda self, source, test: source != working)
    plants.setattr(start, "wants_to_begin", lambda terminal, page: True)
    try:
        session = new_hunt(room.log, room.kata, bugs, seed, None, FakeTerminal())
    finally:
        plants.undo()
    return room.drill(session)


def page(app):
    return " ".join("\n".join(app.last_page()).split())


def answer_grading(app, wrong=()):
    """Sends the verdict on the frozen file, in which the test functions `wrong` fail."""
    tests = ("test_double_is_twice_as_much[0]", "test_shift_moves_up", "test_shift_moves_by_three_unless_told")
    outcomes = tuple(Outcome(t, "tiny", 1, "failed" if t.partition("[")[0] in wrong else "passed") for t in tests)
    app.handle_message(Verdict(app.forkserver.jobs[-1].number, outcomes, {"tiny": 3}, "digest", 0.1))


# What is planted


def test_a_working_file_has_no_fences(checkout):
    """They would show which lines a stub leaves out."""
    text = working_file(checkout, "tiny")
    assert "kata:" not in text
    assert text == "".join(line for line in SOLUTION.splitlines(True) if "# kata" not in line)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("bugs", [1, 2])
def test_undoing_what_was_planted_gives_the_working_file(checkout, bugs, seed):
    """So the bugs can be mended."""
    planted = plant_bugs(checkout, bugs, seed)
    assert len(planted.mistakes) == bugs
    assert planted.source != planted.working
    assert undo(planted.source, planted.mistakes) == planted.working


def test_a_seed_gives_the_same_hunt_and_others_give_others(checkout):
    """So that a hunt can be repeated elsewhere."""
    assert plant_bugs(checkout, seed=3) == plant_bugs(checkout, seed=3)
    assert {plant_bugs(checkout, seed=seed).mistakes for seed in range(8)} == {
        (mistake,) for mistake in load_mistakes(checkout.mistakes("tiny")).named
    }


def test_a_mistake_that_its_test_does_not_find_is_not_planted(checkout):
    """Each mistake is tried alone."""
    tests = []

    def fails(source, test):
        tests.append(test)
        return source != working_file(checkout, "tiny") and test != "test_double_is_twice_as_much"

    for seed in range(4):
        assert [m.name for m in plant_bugs(checkout, 1, seed, fails).mistakes] == ["moves down"]
    assert "test_double_is_twice_as_much" in tests


def test_two_bugs_never_share_a_line(checkout):
    """They would be one bug."""
    checkout.mistakes("tiny").write_text(
        MISTAKES
        + '\n[[mistake]]\nname = "thrice"\nsays = "x is tripled"\nold = "return x * 2"\nnew = "return x * 3"\n'
        + 'caught_by = "test_double_is_twice_as_much"\n'
    )
    for seed in range(8):
        names = {m.name for m in plant_bugs(checkout, 2, seed).mistakes}
        assert "moves down" in names
        assert len(names) == 2


def test_too_many_bugs_are_an_error_that_names_how_many_fit(checkout):
    """With the command to type."""
    with pytest.raises(UserError, match=r"tiny has room for 2 bugs at once: kata hunt tiny --bugs 2"):
        plant_bugs(checkout, 3)


def test_a_kata_without_mistakes_is_an_error(checkout):
    """It names another command, and not `--bugs 0`."""
    checkout.mistakes("tiny").write_text("")
    with pytest.raises(UserError, match=r"tiny has no bug that can be planted alone; take another kata: kata hunt"):
        plant_bugs(checkout)


def test_a_reference_that_fails_its_tests_is_an_error(checkout):
    """No mistake is tried then."""
    with pytest.raises(UserError, match="The reference of tiny fails its own tests here"):
        plant_bugs(checkout, fails=lambda source, test: True)


def test_a_bug_that_another_one_hides_is_not_planted(checkout):
    """Its test would pass from the beginning, and it would count as mended."""

    def fails(source, test):
        hidden = "x * x" in source and "x - by" in source and test == "test_shift_moves_up"
        return source != working_file(checkout, "tiny") and not hidden

    with pytest.raises(UserError, match="No fair set of 2 bugs was found in tiny"):
        plant_bugs(checkout, 2, fails=fails)


def test_bugs_that_cancel_out_are_skipped_and_the_search_ends(checkout):
    """Each alone fails the tests, both together pass them."""
    names = ("x * x", "x - by")

    def fails(source, test):
        return sum(name in source for name in names) == 1

    with pytest.raises(UserError, match="No fair set of 2 bugs was found in tiny: kata hunt tiny --bugs 1"):
        plant_bugs(checkout, 2, fails=fails)


def test_undoing_takes_the_last_bug_out_first():
    """A later patch may have changed a line of an earlier one."""
    first = Mistake("a", "", (("one", "two words"),), "")
    second = Mistake("b", "", (("words", "things"),), "")
    assert undo("two things", [first, second]) == "one"


def test_a_place_is_a_function_a_method_or_the_module():
    """`place` is a hint that learners read."""
    text = "a = 1\n\n\nclass Net:\n    def forward(self):\n        return 2\n"
    for old, expected in (
        ("return 2", "Net.forward"),
        ("\n        return 2", "Net.forward"),
        ("a = 1", "at module level"),
    ):
        mistake = Mistake("m", "", ((old, "wrong"),), "")
        assert place(Planted(text, text, (mistake,)), 0) == expected


# The proof, by the real tests


class FakeForkServer:
    """Answers jobs with these messages."""

    def __init__(self, *answers):
        self.answers, self.jobs = list(answers), []

    def submit(self, job):
        self.jobs.append(job)

    def messages(self, timeout):
        message = self.answers.pop(0)
        return [message(self.jobs[-1].number) if callable(message) else message]


def verdict(number):
    return Verdict(
        number, (Outcome("test_a[1]", "tiny", 1, "failed"), Outcome("test_b", "tiny", 1, "passed")), {}, "", 0
    )


def test_a_test_is_known_by_its_function(checkout):
    """Without the parameters of its cases."""
    for test, expected in (("test_a", True), ("test_b", False), ("", True)):
        assert SourceTester(checkout, "tiny", FakeForkServer(verdict)).fails("", test) is expected


def test_a_run_that_hangs_proves_neither_a_bug_nor_a_working_file(checkout):
    """No single test counts as failing, and the source does not pass."""
    hung = lambda number: JobDied(number, "hung")  # noqa: E731
    assert not SourceTester(checkout, "tiny", FakeForkServer(hung)).fails("", "test_a")
    assert SourceTester(checkout, "tiny", FakeForkServer(hung)).fails("", "")


def test_a_job_is_submitted_again_when_the_fork_server_dies_but_not_for_ever(checkout):
    """Its death proves nothing about the file."""
    died = JobDied(0, "ended")
    forkserver = FakeForkServer(died, verdict)
    assert not SourceTester(checkout, "tiny", forkserver).fails("", "test_b")
    assert len(forkserver.jobs) == 2
    with pytest.raises(UserError, match="ends again and again"):
        SourceTester(checkout, "tiny", FakeForkServer(died, died, died)).fails("", "")


def test_generated_hunts_are_fair_by_the_real_tests(checkout):
    """In a real fork server: each bug alone fails its test, all together fail, and undone the tests pass."""
    with ForkServer(checkout) as forkserver:
        tester = SourceTester(checkout, "tiny", forkserver)
        for seed in (1, 2):
            planted = plant_bugs(checkout, 2, seed, tester.fails)
            for mistake in planted.mistakes:
                assert tester.fails(mistake.apply(planted.working), mistake.caught_by)
            assert tester.fails(planted.source, "")
            assert not tester.fails(undo(planted.source, planted.mistakes), "")


@pytest.mark.parametrize("name", ["top_k_sampling", "ddpm", "lora_linear"])
def test_hunts_of_real_katas_fit_together(name):
    """Real patches and places; the tests do not run."""
    kata = load_catalog(REAL)[name]
    working = working_file(REAL, name)
    for bugs in (1, 2, 3):
        for seed in range(5):
            try:
                planted = plant(REAL, kata, bugs, seed, always(working))
            except UserError as problem:
                assert "has room for" in str(problem)  # noqa: PT017
                continue
            ast.parse(planted.source)
            assert undo(planted.source, planted.mistakes) == working
            assert beyond_the_bugs(planted.source, working, working) == []
            assert all(place(planted, number) for number in range(bugs))


def test_a_hunt_of_a_real_kata_is_fair_by_its_tests():
    """Two bugs in top-k sampling."""
    with ForkServer(REAL) as forkserver:
        tester = SourceTester(REAL, "top_k_sampling", forkserver)
        planted = plant(REAL, load_catalog(REAL)["top_k_sampling"], 2, 1, tester.fails)
        assert tester.fails(planted.source, "")
        assert not tester.fails(undo(planted.source, planted.mistakes), "")


def test_four_bugs_in_the_gpt_are_fair_by_its_tests():
    """The debugging round of interviews: a small GPT with four bugs, which all show together, in several functions."""
    kata = load_catalog(REAL)["gpt_model"]
    with ForkServer(REAL) as forkserver:
        tester = SourceTester(REAL, "gpt_model", forkserver)
        planted = plant(REAL, kata, 4, 1, tester.fails)
        failing = tester.failing(planted.source)
        assert failing is not None
        assert {m.caught_by for m in planted.mistakes} <= {test.partition("[")[0] for test in failing}
        assert len({place(planted, number) for number in range(4)}) > 1
        assert not tester.fails(undo(planted.source, planted.mistakes), "")


def test_the_gpt_has_room_for_many_hunts_of_four_bugs():
    """The mask, the scale, a residual, the shift, positions, the tied head and dropout can be planted; so can most others."""
    kata, working = load_catalog(REAL)["gpt_model"], working_file(REAL, "gpt_model")
    hunts = [plant(REAL, kata, 4, seed, always(working)) for seed in range(40)]
    assert len({frozenset(m.name for m in planted.mistakes) for planted in hunts}) == 40
    for planted in hunts:
        ast.parse(planted.source)
        assert undo(planted.source, planted.mistakes) == working
    asked = {"mask not kept", "scores not scaled", "no residual around attention", "no shift", "no positions"}
    asked |= {"head not tied", "block drops in evaluation", "dropout while generating"}
    named = {m.name: m for m in load_mistakes(REAL.mistakes("gpt_model")).named}
    assert all(undo(named[name].apply(working), [named[name]]) == working for name in asked)


# What a repair changed


LINES = "".join(f"line {n}\n" for n in range(10))
BROKEN = LINES.replace("line 3", "wrong 3")


@pytest.mark.parametrize(
    ("final", "extra"),
    [
        (LINES, 0),
        (BROKEN, 0),
        (BROKEN.replace("wrong 3", "mended 3"), 0),
        (LINES.replace("line 7", "other 7"), 1),
        (LINES.replace("line 7\n", ""), 1),
        (LINES.replace("line 7\n", "line 7\nnew\nnew\n"), 2),
        ("", 9),
        (LINES + "print()\n", 1),
    ],
)
def test_only_lines_beyond_the_bug_are_doubtful(final, extra):
    """Changed, removed or added."""
    assert len(beyond_the_bugs(BROKEN, final, LINES)) == extra


def test_a_bug_that_removed_a_line_is_mended_by_adding_one():
    """Adding a missing line changes nothing else; nor does removing an added one."""
    without = LINES.replace("line 3\n", "")
    assert beyond_the_bugs(without, LINES, LINES) == []
    assert beyond_the_bugs(LINES.replace("line 3\n", "line 3\nwrong\n"), LINES, LINES) == []


@pytest.mark.parametrize(
    "after", [LINES, BROKEN, "", "new\n" + LINES + "new\n", LINES.replace("line 4\nline 5\n", "x\n")]
)
@pytest.mark.parametrize("before", [LINES, BROKEN, ""])
def test_all_edits_together_make_the_text_after(before, after):
    """And none of them the text before."""
    assert apply(before, edits(before, after)).splitlines() == (after.splitlines() or [""])
    assert apply(before, []).splitlines() == (before.splitlines() or [""])


# The tests pass where line 3 is right, or where line 8 makes good for it.
MENDED_ELSEWHERE = BROKEN.replace("line 8", "other 8")


def fails_more(runs):
    def run(source):
        runs.append(source)
        return "wrong 3" in source and "other 8" not in source

    return run


@pytest.mark.parametrize(
    ("final", "unneeded", "runs"),
    [
        (LINES, 0, 0),
        (MENDED_ELSEWHERE, 0, 1),
        (LINES.replace("line 8", "other 8"), 1, 1),
        (MENDED_ELSEWHERE.replace("line 1", "a 1"), 1, 3),
        (MENDED_ELSEWHERE.replace("line 7", "a 7"), 1, 3),
        (MENDED_ELSEWHERE + "print()\n" * 3, 3, 3),
        (MENDED_ELSEWHERE.replace("line 9\n", "x\n" * 20), 10, 12),
    ],
)
def test_a_change_is_needed_if_a_test_fails_without_it(final, unneeded, runs):
    """In whatever line it stands. Only changes beyond the planted lines cost runs of the tests, twelve at most."""
    done = []
    assert count_unneeded(BROKEN, final, LINES, fails_more(done)) == unneeded
    assert len(done) == runs


@pytest.mark.parametrize(
    ("share", "used", "extra", "hints", "points"),
    [(1, 0, 0, 0, 100), (1, 1, 0, 0, 80), (0.5, 0.5, 0, 0, 40), (1, 0, 3, 1, 84), (1, 0, 500, 0, 80), (0, 1, 9, 5, 0)],
)
def test_points_are_bugs_less_time_lines_and_hints(share, used, extra, hints, points):
    assert hunt_points(share, used, extra, hints) == points


# On the screen


def test_a_hunt_begins_with_the_broken_file_and_names_no_bug(room):
    """Neither in the file nor on the screen, and the run makes no diagnosis."""
    app = hunt(room)
    assert app.session.file.read_text() == app.hunt.planted
    assert app.session.folder.parent == room.checkout.state / "hunts"
    screen = room.screen(app)
    assert "One bug is planted." in screen
    assert not any(bug.name in screen for bug in app.hunt.bugs)
    (job,) = app.forkserver.jobs
    assert (job.stage, job.diagnose) == (None, False)


def test_a_mended_hunt_is_graded_with_its_points(room):
    """Half of the time was used, and no other line changed."""
    app = hunt(room)
    room.wait(300, app)
    room.write(app, app.hunt.working)
    room.answer(app, "pppp", "pp")
    assert app.phase == "grading"
    answer_grading(app)
    assert (app.phase, app.session.points) == ("done", 90)
    assert "1 of 1 bugs mended in 5:00 of 10:00, 0 lines changed without need, 0 hints, seed 1" in page(app)
    assert app.hunt.bugs[0].says in page(app)


def test_a_hunt_half_mended_when_time_is_up_gets_half(room, monkeypatch):
    """Less the points for all of the time, and for a line that was changed without need."""
    monkeypatch.setattr(SourceTester, "failing", lambda self, source: frozenset({"test_shift_moves_up"}))
    app = hunt(room, bugs=2)
    text = app.hunt.planted.replace("x * x", "x * 2").replace('"x is negative"', '"x is below zero"')
    room.write(app, text)
    room.answer(app, "pppf", "fp")
    room.wait(901, app)
    answer_grading(app, wrong=("test_shift_moves_up", "test_shift_moves_by_three_unless_told"))
    assert app.session.points == 50 - 20 - 2
    assert "1 of 2 bugs mended" in page(app)
    assert "1 line changed without need" in page(app)


def test_a_minimal_repair_in_another_line_costs_nothing(room, monkeypatch):
    """Without it a test fails, or gives no verdict at all."""
    for failing in (frozenset({"test_shift_moves_up"}), None):
        monkeypatch.setattr(SourceTester, "failing", lambda self, source, failing=failing: failing)
        app = hunt(room)
        room.write(app, app.hunt.planted.replace("def shift(x: int, by: int = 3)", "def shift(x: int, by: int = 4)"))
        press(app, *FINISH)
        answer_grading(app)
        assert app.session.points == 100
        assert "0 lines changed without need" in page(app)


def test_a_repair_that_breaks_something_else_is_half_a_repair(room):
    """The bug's test passes, another fails."""
    app = hunt(room)
    press(app, *FINISH)
    other = ({"test_double_is_twice_as_much", "test_shift_moves_by_three_unless_told"} - {app.hunt.bugs[0].test}).pop()
    answer_grading(app, wrong=(other,))
    assert app.session.points == 50


def test_hints_say_where_and_cost(room):
    """One bug a hint, and no more hints than bugs."""
    app = hunt(room, bugs=2)
    press(app, "h")
    assert app.hunt.bugs[0].where in room.screen(app)
    press(app, "h", "h")
    assert [what for _, what, _ in room.events(app)].count("hint") == 2
    press(app, *FINISH)
    answer_grading(app)
    assert app.session.points == 80


def test_a_hunt_that_was_left_goes_on(room):
    """With the same file and the same bugs."""
    app = hunt(room)
    room.wait(60, app)
    press(app, "q")
    room.wait(600)
    again = room.resume(app)
    assert (again.session.elapsed, again.hunt.bugs, again.phase) == (60, app.hunt.bugs, "work")


def test_a_hunt_that_cannot_be_imported_any_more_gets_no_points(room):
    """The last page says why."""
    app = hunt(room)
    press(app, *FINISH)
    room.broken(app, "tiny.py, line 3: invalid syntax\n  def (")
    assert app.session.points == 0
    assert "tiny.py, line 3: invalid syntax: so no bug counts as mended." in page(app)


def test_r_restores_the_broken_file_and_not_the_stub(room):
    """After it was deleted."""
    app = hunt(room)
    app.session.file.unlink()
    press(app, "r")
    assert app.session.file.read_text() == app.hunt.planted


def test_the_kata_hunted_least_recently_is_chosen(room, catalog):
    """Drills do not count."""
    add_kata(room.checkout, "bit")
    both = load_catalog(room.checkout)
    room.drill()
    assert choose(SessionLog(room.checkout), both).name == "tiny"
    hunt(room)
    assert choose(SessionLog(room.checkout), both).name == "bit"


def test_without_a_seed_hunts_differ(room, monkeypatch):
    """The seed is drawn, and stored for the last page."""
    drawn = iter((11, 12))
    monkeypatch.setattr(random.SystemRandom, "randrange", lambda *_: next(drawn))
    seeds = [hunt(room, seed=None).session.state.hunt.seed for _ in range(2)]
    assert seeds == [11, 12]
    assert clock.now() == room.now
