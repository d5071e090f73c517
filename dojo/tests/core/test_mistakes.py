"""Named mistakes: patches that fit, and the name for what a learner's code does."""

from types import SimpleNamespace

import pytest

from dojo.core.errors import UserError
from dojo.core.mistakes import Mistake, load_mistakes
from dojo.engine import diagnosis
from dojo.engine.diagnosis import gather_known, name_mistakes, name_parts
from dojo.testing import probes
from dojo.testing.probes import Case, Probe, Raised, gather
from dojo.tests.checkouts import SOLUTION


def mistake(name, *edits):
    return Mistake(name, f"says {name}", edits, "test_x")


# Patches


def test_a_patch_changes_its_one_place():
    """Or several places, one after the other."""
    assert mistake("a", ("x * 2", "x * x")).apply("return x * 2") == "return x * x"
    assert mistake("b", ("x", "y"), ("2", "3")).apply("return x * 2") == "return y * 3"


@pytest.mark.parametrize(("source", "times"), [("return x", 0), ("x * 2 + x * 2", 2)])
def test_a_patch_that_fits_nowhere_or_twice_is_a_user_error(source, times):
    """The reference has changed, and the mistake has to be adapted."""
    with pytest.raises(UserError, match=rf"mistake 'a': .* stands {times} times"):
        mistake("a", ("x * 2", "x * x")).apply(source)


# Files


def written(tmp_path, text):
    (tmp_path / "tiny.toml").write_text(text)
    return tmp_path / "tiny.toml"


def test_a_file_holds_mistakes_and_explained_survivors(tmp_path):
    """One edit, or a list of them."""
    loaded = load_mistakes(
        written(
            tmp_path,
            '[[mistake]]\nname="a"\nsays="s"\nold="x"\nnew="y"\ncaught_by="t"\n'
            '[[mistake]]\nname="b"\nsays="s"\nedits=[{old="1",new="2"},{old="3",new="4"}]\ncaught_by="t"\n'
            '[[survivor]]\nchange="f: a -> b"\nwhy="equivalent"\n',
        )
    )
    assert [m.edits for m in loaded.named] == [(("x", "y"),), (("1", "2"), ("3", "4"))]
    assert loaded.survivors == {"f: a -> b": "equivalent"}


def test_no_file_means_no_mistakes(tmp_path):
    """A kata that is being written."""
    assert load_mistakes(tmp_path / "none.toml").named == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[mistake]\n", "not valid TOML"),
        ('[[mistake]]\nname="a"\nold="x"\nnew="y"\ncaught_by="t"\n', "lacks 'says'"),
        ('[[mistake]]\nname="a"\nsays="s"\ncaught_by="t"\n', "lacks 'old'"),
        ('[[survivor]]\nchange="x"\n', "lacks 'why'"),
        ('[[mistake]]\nname="a"\nsays="s"\nold="x"\nnew="y"\ncaught_by="t"\n' * 2, "share the name 'a'"),
        ('mistake = "a"\n', "mistake"),
        ('[[mistake]]\nname="a"\nsays="s"\nold=1\nnew=2\ncaught_by="t"\n', "old"),
    ],
)
def test_a_wrong_file_is_a_user_error_that_names_the_fault(tmp_path, text, says):
    """With the file's name."""
    with pytest.raises(UserError, match=rf"tiny\.toml.*{says}"):
        load_mistakes(written(tmp_path, text))


# Naming


def two(double=lambda x: x * 2, shift=lambda x: x + 3):
    return SimpleNamespace(double=double, shift=shift)


def unwritten(x):
    raise NotImplementedError("write me")


def run(kata, case):
    return {"y": getattr(kata, case.of)(case.x)}


PROBE = Probe(lambda rng: (Case(f"{of} {x}", of=of, x=x) for of in ("double", "shift") for x in (0, 2, 5)), run)
SQUARES, ADDS_TWO, DOWN = mistake("squares"), mistake("adds two"), mistake("moves down")


def evidence(kata):
    return gather(PROBE, kata, 0)


RIGHT = evidence(two())
WRONG = {
    SQUARES: evidence(two(double=lambda x: x * x)),
    ADDS_TWO: evidence(two(double=lambda x: x + 2)),
    DOWN: evidence(two(shift=lambda x: x - 3)),
}


def named(kata, wrong=WRONG):
    return name_mistakes(probes.cases(PROBE, 0), evidence(kata), RIGHT, wrong)


def test_a_right_answer_has_no_name():
    """Nothing is wrong with it."""
    assert named(two()) == []


def test_a_known_mistake_is_named():
    """However it is written: only what it does counts."""
    assert named(two(double=lambda x: x**2)) == [SQUARES]


def test_an_unknown_mistake_is_not_named():
    """It fits none of them on every case; agreeing here and there is not enough."""
    assert named(two(double=lambda x: x * x if x < 5 else 7)) == []


def test_a_function_that_is_not_started_hides_nothing():
    """One writes functions one after another, and errs in the first."""
    assert named(two(double=lambda x: x * x, shift=unwritten)) == [SQUARES]
    assert named(two(double=unwritten, shift=unwritten)) == []


def test_a_function_that_is_wrong_in_its_own_way_hides_nothing():
    """Each function is judged apart."""
    assert named(two(double=lambda x: 17, shift=lambda x: x - 3)) == [DOWN]


def test_two_mistakes_in_two_functions_are_both_named():
    """In the order of the functions."""
    assert named(two(double=lambda x: x + 2, shift=lambda x: x - 3)) == [ADDS_TWO, DOWN]


def test_of_mistakes_that_look_alike_the_first_is_named():
    """Naming both would blame twice for one fault."""
    twin = mistake("also squares")
    assert named(two(double=lambda x: x * x), {**WRONG, twin: WRONG[SQUARES]}) == [SQUARES]


def test_one_mistake_that_explains_two_functions_goes_before_two_that_explain_one():
    """A wrong helper that both use is one mistake."""
    both = mistake("both")
    wrong = {**WRONG, both: evidence(two(double=lambda x: x * x, shift=lambda x: x - 3))}
    assert named(two(double=lambda x: x * x, shift=lambda x: x - 3), wrong) == [both]


def test_a_mistake_that_raises_is_named_by_its_exception():
    """k beyond the vocabulary, say."""

    def strict(x):
        if x == 5:
            raise IndexError
        return x * 2

    raising = mistake("raises")
    wrong = {**WRONG, raising: evidence(two(double=strict))}
    assert wrong[raising]["double 5"] == {"raised": Raised("IndexError", False)}
    assert named(two(double=strict), wrong) == [raising]


def test_two_mistakes_in_one_function_are_told_in_parts():
    """Neither fits the whole, but each shows wherever it shows at all."""
    zero, five = mistake("wrong at 0"), mistake("wrong at 5")
    wrong = {
        zero: evidence(two(double=lambda x: x * 2 or 1)),
        five: evidence(two(double=lambda x: x * 2 + (x == 5))),
        SQUARES: WRONG[SQUARES],
    }
    seen = evidence(two(double=lambda x: 1 if x == 0 else x * 2 + (x == 5)))
    assert name_mistakes(probes.cases(PROBE, 0), seen, RIGHT, wrong) == []
    assert name_parts(seen, RIGHT, wrong, []) == [zero, five]


def test_parts_do_not_repeat_what_the_whole_has_explained():
    """One fault, one sentence."""
    seen = evidence(two(double=lambda x: x * x))
    assert name_parts(seen, RIGHT, WRONG, [SQUARES]) == []
    assert name_parts(evidence(two()), RIGHT, WRONG, []) == []


# The cache


def known(checkout, seed=0):
    return gather_known(checkout, "tiny", probes.load_probe(checkout.probe("tiny")), seed)


@pytest.fixture
def gathered(monkeypatch):
    """How often evidence was gathered anew."""
    calls = []
    original = diagnosis._evidence
    monkeypatch.setattr(diagnosis, "_evidence", lambda *arguments: calls.append(1) or original(*arguments))
    return calls


def test_evidence_is_gathered_once(checkout, gathered):
    """A failing run must not take longer than it has to; the second one reads what the first one saw."""
    first = known(checkout)
    assert len(gathered) == 3  # the reference and two mistakes
    second = known(checkout)
    assert len(gathered) == 3
    assert probes.same(list(first[1].values()), list(second[1].values()))
    assert list(first[1]) == list(second[1])


@pytest.mark.parametrize("what", ["reference", "mistakes", "probe", "seed"])
def test_whatever_changes_gives_new_evidence(checkout, gathered, what):
    """Stale evidence would name the wrong mistake."""
    known(checkout)
    if what == "reference":
        checkout.reference("tiny").write_text(SOLUTION + "\n# a comment\n")
    elif what == "mistakes":
        file = checkout.mistakes("tiny")
        file.write_text(file.read_text().replace('new = "x * x"', 'new = "x * 3"'))
    elif what == "probe":
        file = checkout.probe("tiny")
        file.write_text(file.read_text().replace("(0, 1, 5, -1)", "(0, 1, 7, -1)"))
    known(checkout, seed=1 if what == "seed" else 0)
    assert len(gathered) == 6


@pytest.mark.parametrize("content", [b"", b"damaged", None], ids=["empty", "damaged", "cut off"])
def test_a_damaged_cache_is_gathered_again(checkout, gathered, content):
    """It is only a cache."""
    first = known(checkout)
    (cache,) = (checkout.state / "cache").iterdir()
    cache.write_bytes(cache.read_bytes()[:-20] if content is None else content)
    assert probes.same(known(checkout)[0], first[0])
    assert len(gathered) == 6


def test_a_cache_that_cannot_be_written_is_no_trouble(checkout):
    """A read-only checkout, a full disk."""
    checkout.state.write_text("in the way")
    right, wrong = known(checkout)
    assert len(right) == 8
    assert len(wrong) == 2


def test_old_evidence_does_not_pile_up(checkout):
    """One file a kata."""
    known(checkout)
    checkout.reference("tiny").write_text(SOLUTION + "\n# changed\n")
    known(checkout)
    assert len(list((checkout.state / "cache").iterdir())) == 1
