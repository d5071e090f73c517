"""The study plan: which kata on which day, and what `kata plan` and `kata list` make of it."""

import json
from datetime import date, timedelta

import pytest

from dojo.core import humanize
from dojo.core.catalog import load_catalog
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.progress.plan import Goal, Memory, in_order, lay_out, make_plan, read_goal, store_goal
from dojo.progress.report import render_page
from dojo.progress.report.data import gather
from dojo.tests import checkouts
from dojo.tests.cli.commands import kata
from dojo.tests.progress.made_up_history import NOON, Past

REAL = Checkout(checkouts.REPOSITORY)
CATALOG = load_catalog(REAL)
MONDAY = humanize.local(NOON).date()


@pytest.fixture
def several(checkout):
    """Three more katas in two tracks, a role, and one that builds on another. All take 10 minutes."""
    for name in ("one", "two", "three"):
        checkouts.add_kata(checkout, name)
    describe(checkout, "one", track="letters", minutes=10)
    for name in ("two", "three"):
        describe(checkout, name, minutes=10)
    describe(checkout, "tiny", builds_on=["three"], minutes=10)
    listed = checkout.catalog.read_text()
    listed = listed.replace('["numbers"]', '["numbers", "letters"]').replace('    "tiny",\n', "")
    checkout.catalog.write_text(listed.replace("\n]", '\n    "tiny",\n]') + '\n[roles]\nall = ["letters", "numbers"]\n')
    return checkout


def describe(checkout, name, **fields):
    file = checkout.description(name)
    text = file.read_text()
    for key, value in fields.items():
        lines = [line for line in text.splitlines() if not line.startswith(f"{key} = ")]
        text = f"{key} = {json.dumps(value)}\n" + "\n".join(lines)
    file.write_text(text)


def states(**solved):
    return {kata.name: "not started" for kata in CATALOG.katas} | solved


@pytest.fixture
def nothing_solved(checkout):
    return Memory(checkout, CATALOG, set())


@pytest.mark.parametrize("role", CATALOG.roles)
def test_every_role_of_the_repository_has_an_order_in_which_one_can_learn(role):
    """Nothing comes before what it builds on, and nothing comes twice."""
    katas = [kata.name for kata in in_order(CATALOG, role, states())]
    assert len(katas) == len(set(katas)) >= 12
    for name in katas:
        assert all(katas.index(needed) < katas.index(name) for needed in CATALOG[name].builds_on)


def test_what_katas_build_on_is_in_the_catalogue():
    """A name with a spelling mistake would be left out in silence, as in a copy to hand out."""
    import tomllib

    for item in CATALOG.katas:
        named = tomllib.loads(REAL.description(item.name).read_text()).get("builds_on", [])
        assert tuple(named) == item.builds_on, item.name


def test_begun_katas_come_first_then_what_is_asked_often():
    """But for what these build on; the role's first entry begins, with the others in turn."""
    order = in_order(CATALOG, "llm", states(beam_search="started"))
    assert order[0].name == "beam_search"
    foundations = {needed for item in order for needed in item.builds_on}
    asked = [item.asked for item in order[1:] if item.name not in foundations]
    assert asked == sorted(asked, key=("often", "sometimes", "rarely").index)
    tracks = [item.track for item in order[1:10]]
    assert tracks[0] == "transformer"
    assert {"decoding", "serving"} <= set(tracks)


@pytest.mark.parametrize(("days", "minutes"), [(1, 60), (7, 45), (14, 60), (30, 90), (10, 20)])
def test_no_day_gets_more_than_its_minutes(nothing_solved, days, minutes):
    """Whatever comes back on it; each new kata comes once, and again later, for less time."""
    new = in_order(CATALOG, "llm", states())
    dates = [MONDAY + timedelta(days=n) for n in range(days)]
    laid_out, left = lay_out(new, nothing_solved, dates, minutes, 0)
    assert list(laid_out) == dates
    assert all(sum(item.minutes for item in items) <= minutes for items in laid_out.values())
    first = [item.kata.name for items in laid_out.values() for item in items if not item.again]
    assert sorted(first + [kata.name for kata in left]) == sorted(kata.name for kata in new)
    assert laid_out[dates[0]], "nothing on the first day"
    seen = set()
    for items in laid_out.values():
        for item in items:
            assert item.again == (item.kata.name in seen)
            assert item.minutes <= item.kata.minutes
        seen |= {item.kata.name for item in items}


def test_short_days_still_repeat(nothing_solved):
    """A kata that is longer than a day fills one; repetition has its days between."""
    dates = [MONDAY + timedelta(days=n) for n in range(12)]
    laid_out, _ = lay_out(in_order(CATALOG, "llm", states()), nothing_solved, dates, 20, 0)
    kinds = [item.again for items in laid_out.values() for item in items]
    assert 3 <= sum(kinds) <= len(kinds) - 3


def test_a_crowd_of_repetitions_leaves_half_a_day_to_new_katas(several):
    """And the rest of them moves on."""
    past = Past(several, NOON - 300 * 86400)
    for name in ("one", "two", "three"):
        past.solve(name)
    memory = Memory(several, load_catalog(several), {"one", "two", "three"})
    assert set(memory.due) == {"one", "two", "three"}
    new = [load_catalog(several)["tiny"]]
    laid_out, left = lay_out(new, memory, [MONDAY, MONDAY + timedelta(days=1)], 16, 0)
    assert not left
    assert [(item.kata.name, item.again) for item in laid_out[MONDAY]] == [("one", True), ("tiny", False)]
    assert [item.again for item in laid_out[MONDAY + timedelta(days=1)]] == [True, True]


def test_a_missed_day_moves_on_and_what_was_done_is_ticked(several):
    """The last day stays; today's minutes are less what was worked today."""
    catalog = load_catalog(several)
    goal = Goal("all", MONDAY, 3, 10)
    past = Past(several)
    plan = make_plan(several, catalog, goal, past.now)
    assert names_of(plan) == [["one"], ["two"], ["again one"]]
    assert [item.name for item in plan.left_out] == ["three", "tiny"]
    assert plan.enough_minutes() == 30

    past.wait(days=1)  # Monday is missed
    plan = make_plan(several, catalog, goal, past.now)
    assert list(plan.days) == [MONDAY + timedelta(days=1), MONDAY + timedelta(days=2)]
    assert names_of(plan) == [["one"], ["two"]]
    assert [item.name for item in plan.left_out] == ["three", "tiny"]

    past.solve("one", minutes=9)
    plan = make_plan(several, catalog, goal, past.now)
    assert names_of(plan) == [["done one"], ["two"]]
    assert (plan.solved, plan.katas, plan.worked_days) == (1, 4, 1)
    assert plan.ahead[0][1].kata.name == "two"


def names_of(plan):
    return [
        [f"{'done ' * item.done}{'again ' * item.again}{item.kata.name}" for item in items]
        for items in plan.days.values()
    ]


def test_a_plan_that_is_over_has_no_days(several):
    """And nothing ahead."""
    plan = make_plan(several, load_catalog(several), Goal("", MONDAY, 3, 60), NOON + 3 * 86400)
    assert plan.days == {}
    assert plan.ahead == []


def test_the_command_makes_keeps_changes_and_drops_a_plan(several):
    """What an option does not say stays; the list goes on with the plan."""
    assert "kata plan --role all --days 14 --minutes 60" in kata("plan").output
    made = kata("plan", "--role", "all", "--days", "2", "--minutes", "10").output
    assert "all: 2 days of 10 minutes" in made
    assert "today" in made
    assert "Next: kata watch one" in made
    assert kata("plan").output == made
    assert kata("list").output.count("answers/one.py") == 1
    assert "all: 2 days of 30 minutes" in kata("plan", "--minutes", "30").output
    assert read_goal(several) == Goal("all", date.today(), 2, 30)
    assert "Next: kata watch one" in kata("plan", "--days", "1").output
    assert "No plan" in kata("plan", "--stop").output
    assert read_goal(several) is None
    assert "every kata: 14 days of 60 minutes" in kata("plan", "--days", "14").output


def test_what_does_not_fit_is_told_with_the_minutes_that_would_do(several):
    """At most six names."""
    output = kata("plan", "--role", "all", "--days", "1", "--minutes", "10").output
    assert "3 katas do not fit: two, three, tiny." in output
    assert "45 minutes a day would do: kata plan --minutes 45" in output  # 40 are needed


def test_a_role_that_is_not_there_is_a_sentence(several):
    """Also of a stored plan, whose role has left the catalogue; the report goes on without it."""
    result = kata("plan", "--role", "chef")
    assert result.exit_code == 2
    assert "There is no role 'chef'. Roles: all." in result.output
    assert read_goal(several) is None
    store_goal(several, Goal("chef", MONDAY, 5, 60))
    assert kata("plan").exit_code == 2
    assert gather(several, load_catalog(several), NOON).plan is None
    assert kata("list").exit_code == 0


def test_the_report_shows_the_plan(several):
    """A week of it, the rest behind a summary; and where to begin."""
    store_goal(several, Goal("all", MONDAY, 10, 10))
    Past(several).event("two", "show").run("two", "pp", "pf")
    page = gather(several, load_catalog(several), NOON)
    assert page.next_kata.name == "two"  # it is begun
    html = render_page(page)
    assert 'href="#plan"' in html
    assert "The plan for all" in html
    assert "3 later days" in html
    assert html.count("<td>two</td>") == 1


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--track", "letters"], {"one"}),
        (["--role", "all"], {"one", "two", "three", "tiny"}),
        (["--asked", "often"], {"one", "two", "three", "tiny"}),
        (["--unsolved"], {"one", "three", "tiny"}),
        (["--unsolved", "--track", "numbers", "--long"], {"three", "tiny"}),
    ],
)
def test_the_list_can_be_shortened(several, options, names):
    """By role, track, how often it is asked, and what is solved."""
    Past(several).solve("two")
    listed = kata("list", *options).output.partition("Next:")[0].replace("katas solved", "")
    assert {name for name in ("one", "two", "three", "tiny") if f" {name}" in listed} == names


def test_a_list_of_nothing_and_unknown_filters_are_sentences(several):
    """With what there is."""
    assert "No kata is like that" in kata("list", "--asked", "rarely").output
    assert "There is no track 'x'. Tracks: numbers, letters." in kata("list", "--track", "x").output
    assert "There is no role 'x'" in kata("list", "--role", "x").output


@pytest.mark.parametrize(
    ("roles", "says"),
    [
        ('[roles]\nx = ["nothing"]', "should list tracks and katas, but has 'nothing'"),
        ('[roles]\nx = "tiny"', "but has 'tiny'"),
        ('[roles]\nx = [["tiny"]]', r"but has \['tiny'\]"),
        ("roles = []", r"should be a table of lists, but is \[\]"),
    ],
)
def test_a_catalogue_with_a_wrong_role_is_a_sentence(checkout, roles, says):
    """A role lists tracks and katas."""
    checkout.catalog.write_text(checkout.catalog.read_text() + f"\n{roles}\n")
    with pytest.raises(UserError, match=says):
        load_catalog(checkout)


def test_a_kata_builds_on_what_stands_before_it(several):
    """Otherwise the order of the catalogue would not be one in which one can learn."""
    describe(several, "one", builds_on=["tiny"])
    with pytest.raises(UserError, match=r"tests/one/kata\.toml: `builds_on` should list katas that stand before one"):
        load_catalog(several)
