"""The order in which a mutant meets the tests that can see it."""

from pathlib import Path

from dojo.authoring.verify.mutants import Mutant
from dojo.authoring.verify.trials import Trials
from dojo.core.paths import Checkout
from dojo.engine import warm_pytest


def test_a_test_that_has_killed_a_mutant_of_the_same_statement_comes_first(tmp_path):
    trials = Trials(None, Checkout(tmp_path), "tiny", [])  # type: ignore[arg-type]
    trials.traces = {
        name: warm_pytest.TestTrace(Path("test_1_core.py"), 0.01, frozenset({3, 9})) for name in ("often", "here[1]")
    }
    elsewhere = Mutant("double: x -> y", "", range(9, 10))
    for _ in range(5):
        trials.count_kill(elsewhere, "often")
    trials.count_kill(Mutant("double: a -> b", "", range(3, 4)), "here[1]")

    def order(mutant):
        return sorted(trials.traces, key=lambda test: trials._kills_a_second(test, mutant), reverse=True)

    assert order(Mutant("double: a -> c", "", range(3, 4))) == ["here[1]", "often"]
    assert order(elsewhere) == ["often", "here[1]"]
