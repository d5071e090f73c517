"""Automatic mutants: one small change each, in the learner's code and nowhere else."""

import ast
from textwrap import dedent, indent

import pytest

from dojo.authoring.verify.mutants import mutants
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.tests.checkouts import REPOSITORY, SOLUTION


def changes(body, signature="f(x, y)"):
    """The changes to a function with this body, all of it fenced."""
    body = indent(dedent(body).strip(), "    ")
    source = f"def {signature}:\n    # kata: begin\n{body}\n    # kata: end\n"
    return [mutant.change for mutant in mutants(source, "demo")]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("return x + y", ["return x - y"]),
        ("return x - y", ["return x + y"]),
        ("return x * y", ["return x / y"]),
        ("return x / y", ["return x * y"]),
        ("return x // y", ["return x % y"]),
        ("return x % y", ["return x // y"]),
        ("return x ** y", ["return x * y"]),
        ("return x & y", ["return x | y"]),
        ("return x @ y", []),
        ("return -x", ["return x"]),
        ("return not x", ["return x"]),
        ("return ~x", ["return x"]),
        ("return x and y", ["return x or y", "return y", "return x"]),
        ("return x < y", ["return x <= y", "return x > y"]),
        ("return x >= y", ["return x > y", "return x <= y"]),
        ("return x == y", ["return x != y"]),
        ("return x is None", ["return x is not None"]),
        ("return x not in y", ["return x in y"]),
        ("return True", ["return False"]),
        ("return 3", ["return 4", "return 2"]),
        ("return 0", ["return 1"]),
        ("return -1", ["return 1", "return -2", "return -0"]),
        ("return 0.5", ["return 1.0"]),
        ("return 0.0", ["return 1.0"]),
        ("return 'text'", []),
        ("return None", []),
        (
            "return x if y else 7",
            ["return x if True else 7", "return x if False else 7", "return x if y else 8", "return x if y else 6"],
        ),
        ("return g(x, y)", ["return g(y, x)", "return x"]),
        ("return x.f()", ["return x"]),
        ("return torch.f(x)", ["return x"]),
        ("return torch.f()", []),
        ("return x.f(dim=y, keep=y)", ["return x.f(keep=y)", "return x.f(dim=y)", "return x"]),
        ("return g(*x)", []),
        ("return f'{x + 1}'", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_expressions_change_in_these_ways(body, expected):
    """Each mutant has one change."""
    assert sorted(changes(body)) == sorted(f"f: {body} -> {new}" for new in expected)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("with x:\n    y = 'a'", ["with x: -> if True:"]),
        ("for i in x:\n    y = 'a'", ["for i in x: -> for i in ():", "y = 'a' -> y = 'a' | break"]),
        ("for i in x:\n    continue", ["for i in x: -> for i in ():", "continue -> break"]),
        ("while x:\n    break", ["while x: -> while False:", "break -> continue"]),
        ("while x:\n    y = 'a'", ["while x: -> while False:", "y = 'a' -> y = 'a' | break"]),
    ],
)
def test_loops_and_with_blocks_change_in_these_ways(body, expected):
    """The body alone, no round, one round, the other way to leave one."""
    assert sorted(set(changes(body)) - {"f: y = 'a' -> pass"}) == sorted(f"f: {new}" for new in expected)


def test_a_mutant_knows_the_lines_that_a_test_must_run_to_see_it():
    """A statement's own; none where importing is enough, so that every test may see it."""
    source = "def f(x, y=3):\n    # kata: begin\n    if x:\n        y = (x\n             + 1)\n    return y\n    # kata: end\n"
    lines = {mutant.change: mutant.lines for mutant in mutants(source, "demo")}
    assert lines["f: def f(x, y=3): -> def f(x, y=4):"] == range(0)
    assert lines["f: if x: -> if True:"] == range(3, 4)
    assert lines["f: y = x + 1 -> y = x - 1"] == range(4, 6)


@pytest.mark.parametrize(
    ("statement", "change"),
    [
        ("z = x", "z = x -> pass"),
        ("z: int = x", "z: int = x -> pass"),
        ("x += y", "x += y -> pass"),
        ("x.clear()", "x.clear() -> pass"),
        ("assert x", "assert x -> pass"),
    ],
)
def test_statements_are_dropped(statement, change):
    """As if a learner forgot the line."""
    assert f"f: {change}" in changes(f"{statement}\nreturn x")


def test_conditions_are_fixed():
    """A branch is always or never taken, a loop never entered. A loop that never ends would prove nothing."""
    result = changes("""
        if x:
            return y
        while y:
            y = g(y)
        return x
        """)
    assert "f: if x: -> if True:" in result
    assert "f: if x: -> if False:" in result
    assert "f: while y: -> while False:" in result
    assert "f: while y: -> while True:" not in result


def test_defaults_of_the_learners_functions_change():
    """They are part of the interface; `=None` has no neighbour."""
    result = changes("return x", "f(x, eps=1e-05, *, keep=True, n=2, g=None)")
    assert sorted(result) == [
        "f: def f(x, eps=1e-05, *, keep=True, n=2, g=None): -> def f(x, eps=1e-05, *, keep=False, n=2, g=None):",
        "f: def f(x, eps=1e-05, *, keep=True, n=2, g=None): -> def f(x, eps=1e-05, *, keep=True, n=1, g=None):",
        "f: def f(x, eps=1e-05, *, keep=True, n=2, g=None): -> def f(x, eps=1e-05, *, keep=True, n=3, g=None):",
        "f: def f(x, eps=1e-05, *, keep=True, n=2, g=None): -> def f(x, eps=2e-05, *, keep=True, n=2, g=None):",
    ]


def test_given_code_stays_as_it_is():
    """Code outside the fences, annotations, decorators and docstrings are not the learner's."""
    source = dedent('''\
        LIMIT = 3 + 4


        def given(x, n=2):
            return x + n


        @decorated(7)
        def f(x: Int["9 b"]) -> Int["9 b"]:
            """Adds 1 + 1."""
            x = x * 5
            # kata: begin
            """Not this text either."""
            y: Int["8"]
            # kata: end
            x = x - 2
            return x


        OTHER = LIMIT * given(1, 2)
        ''')
    assert mutants(source, "demo") == []


def test_error_messages_do_not_change():
    """A learner may word them freely. Other mutants drop the error."""
    result = changes("""
        if x < 1:
            raise ValueError(f"x is {x + 1}, but should be {2 * y}")
        return x
        """)
    assert not any("raise" in change for change in result)
    assert "f: if x < 1: -> if False:" in result


def test_fenced_helpers_and_methods_are_mutated_under_their_names():
    """Qualified, as in the stub's sentences."""
    source = dedent("""\
        # kata: begin
        def helper(x):
            return x + 1


        # kata: end
        class Layer:
            def forward(self, x):
                # kata: begin
                return helper(x) - 1
                # kata: end
        """)
    result = [mutant.change for mutant in mutants(source, "demo")]
    assert "helper: return x + 1 -> return x - 1" in result
    assert "Layer.forward: return helper(x) - 1 -> return helper(x) + 1" in result


def test_no_two_mutants_are_alike_and_each_is_one_change():
    """A duplicate would be counted twice, and the plain reference is no mutant."""
    result = mutants(SOLUTION, "tiny")
    sources = [mutant.source for mutant in result]
    assert len(set(sources)) == len(sources)
    assert ast.unparse(ast.parse(SOLUTION)) not in [source.rstrip("\n") for source in sources]


def test_changes_name_their_mutants():
    """Changes to equal lines have different names, so that an explained survivor excuses only one of them."""
    result = changes("""
        x = x + y
        x = g(x)
        x = x + y
        return x
        """)
    assert len(set(result)) == len(result)
    assert "f: x = x + y -> x = x - y" in result


def test_the_name_of_a_change_does_not_depend_on_the_rest_of_the_file():
    """`[[survivor]]` entries stay valid when a paragraph is added elsewhere."""
    moved = '"""Longer."""\n\nimport math\n\n' + SOLUTION.split('"""', 2)[2].replace("Twice x.", "Twice x, always.")
    assert [m.change for m in mutants(SOLUTION, "tiny")] == [m.change for m in mutants(moved, "tiny")]


def test_making_mutants_twice_gives_the_same():
    """In the same order."""
    assert mutants(SOLUTION, "tiny") == mutants(SOLUTION, "tiny")


@pytest.mark.parametrize("kata", ["top_k_sampling", "lora_linear"])  # functions, and a class; verify runs them all
def test_every_mutant_of_a_real_reference_compiles(kata):
    """One that does not would count as killed without a test."""
    result = mutants(Checkout(REPOSITORY).reference(kata).read_text(encoding="utf-8"), kata)
    assert len(result) > 10
    for mutant in result:
        compile(mutant.source, mutant.change, "exec")


def test_a_reference_without_fences_is_a_problem():
    """There is nothing for the learner to write."""
    with pytest.raises(UserError, match="no fence"):
        mutants("def f():\n    return 1\n", "demo")
