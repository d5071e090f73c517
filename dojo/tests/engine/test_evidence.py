"""The evidence of a kata's mistakes: which cases run for each, and that nothing is lost by it."""

from textwrap import dedent

import pytest

from dojo.engine.evidence import gather_variants
from dojo.testing import probes
from dojo.testing.probes import Case, Probe

SOURCE = dedent("""
    SHIFT = 1

    def double(x):
        return helped(x, 2)

    def shift(x):
        return x + SHIFT

    def helped(x, by):
        return [x * by][0]

    def made():
        return 7

    class Counter:
        start = made()

        def __init__(self):
            self.count = self.start

        def up(self, by=1):
            def added(count):
                return count + by

            self.count = added(self.count)
            return self.count
    """)
FUNCTIONS = {
    "double": lambda kata: kata.double(3),
    "shift": lambda kata: kata.shift(3),
    "up": lambda kata: kata.Counter().up(),
}
ALL = set(FUNCTIONS)


def probe(calls=None):
    def cases(rng):
        yield from (Case(name, of=name) for name in FUNCTIONS)

    def run(kata, case):
        if calls is not None:
            calls.append(case.name)
        return {"y": FUNCTIONS[case.name](kata)}

    return Probe(cases, run)


VARIANTS = [
    (("x * by", "x / by"), {"double"}),  # of a function that another one calls
    (("x + SHIFT", "x - SHIFT"), {"shift"}),
    (("count + by", "count - by"), {"up"}),  # of a function in a method
    (("self.start", "0"), {"up"}),
    (("SHIFT = 1", "SHIFT = 2"), ALL),  # outside of functions
    (("by=1", "by=2"), ALL),  # a default
    (("return 7", "return 8"), ALL),  # of a function that the import calls
    (("class Counter", "def more():\n    return 1\n\n\nclass Counter"), ALL),
    (("x + SHIFT", "x + SHIFT  # the same"), set()),
]


@pytest.mark.parametrize(("edit", "cases"), VARIANTS, ids=[edit[1][:20] for edit, _ in VARIANTS])
def test_only_the_cases_that_enter_the_changed_function_run_again(edit, cases):
    """All others share the reference's evidence, which is the whole truth about them."""
    variant = SOURCE.replace(*edit)
    calls = []
    right, wrong = gather_variants(probe(calls), "tiny", SOURCE, [variant], seed=0)
    assert calls[: len(ALL)] == list(FUNCTIONS)
    assert set(calls[len(ALL) :]) == cases
    assert {name for name in ALL if wrong[name] is right[name]} == ALL - cases
    alone = probes.gather(probe(), probes.load_module("tiny", variant, "<tiny>"), 0)
    assert list(wrong) == list(alone)
    assert probes.same(wrong, alone)
