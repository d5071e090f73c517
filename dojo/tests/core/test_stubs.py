"""Rendering a reference to its stub, and replacing a learner's file by a stub without losing it."""

import ast
import os
from textwrap import dedent

import pytest

from dojo.authoring.write_stubs import render_stubs
from dojo.core.errors import UserError
from dojo.core.paths import Checkout
from dojo.core.stubs import find_fences, render
from dojo.practice.actions import reset
from dojo.tests.checkouts import REPOSITORY, solve

REAL = Checkout(REPOSITORY)


def stub_of(source):
    return render(dedent(source), "demo")


def test_a_fence_becomes_one_error_that_names_the_function():
    """The learner reads which function is missing, in which kata."""
    stub = stub_of('''\
        def f(x):
            """Doc."""
            # kata: begin
            y = x + 1
            return y
            # kata: end
        ''')
    assert stub == dedent('''\
        def f(x):
            """Doc."""
            raise NotImplementedError("demo.f: write me")
        ''')


def test_lines_outside_fences_are_given():
    """Imports, given helpers, comments, signatures and docstrings stay word for word."""
    given = '"""Demo."""\n\nimport math  # given\n\nLIMIT = 3\n\n\ndef given(x):\n    # stays\n    return math.sqrt(x)\n\n\n'
    fenced = "def f(x):\n    # kata: begin\n    return given(x)  # goes\n    # kata: end\n"
    stub = render(given + fenced, "demo")
    assert stub.startswith(given)
    assert "goes" not in stub


def test_a_fenced_helper_is_left_out():
    """Learners write their own helpers; the name of the reference's helper would give its idea away."""
    stub = stub_of("""\
        import math


        # kata: begin
        def helper(x):
            return math.exp(x)


        # kata: end
        def f(x):
            # kata: begin
            return helper(x)
            # kata: end
        """)
    assert "helper" not in stub
    assert "math.exp" not in stub
    assert "write me" in stub
    ast.parse(stub)


def test_methods_and_nested_functions_are_named_in_full():
    """`forward` alone would not name the class."""
    stub = stub_of("""\
        class Layer:
            def forward(self, x):
                # kata: begin
                return x
                # kata: end

            def backward(self, x):
                def inner(y):
                    # kata: begin
                    return y
                    # kata: end

                return inner(x)
        """)
    assert 'NotImplementedError("demo.Layer.forward: write me")' in stub
    assert 'NotImplementedError("demo.Layer.backward.inner: write me")' in stub
    assert "return inner(x)" in stub


def test_a_fenced_private_method_is_left_out_of_its_class():
    """A private method can be part of the answer."""
    stub = stub_of("""\
        class Layer:
            # kata: begin
            def _helper(self):
                return 1

            # kata: end
            def forward(self):
                # kata: begin
                return self._helper()
                # kata: end
        """)
    namespace = {}
    exec(stub, namespace)
    assert not hasattr(namespace["Layer"], "_helper")
    with pytest.raises(NotImplementedError, match=r"demo\.Layer\.forward: write me"):
        namespace["Layer"]().forward()


def test_one_function_may_have_several_fences():
    """Then the lines between them are given."""
    stub = stub_of("""\
        def f(x, fast):
            if fast:
                # kata: begin
                return x
                # kata: end
            # kata: begin the slow way
            return x + 0
            # kata: end
        """)
    assert stub == dedent("""\
        def f(x, fast):
            if fast:
                raise NotImplementedError("demo.f: write me")
            raise NotImplementedError("demo.f: the slow way")
        """)


def test_text_after_begin_becomes_the_message():
    """It replaces "write me"; quotes and backslashes in it are escaped."""
    stub = stub_of("""\
        def f():
            # kata: begin start where "base" is: \\alpha
            return 1
            # kata: end
        """)
    namespace = {}
    exec(stub, namespace)
    with pytest.raises(NotImplementedError) as error:
        namespace["f"]()
    assert str(error.value) == 'demo.f: start where "base" is: \\alpha'


def test_async_and_decorated_functions_are_fenced_alike():
    """Many references have `@torch.no_grad()`."""
    stub = stub_of("""\
        @decorated
        def f():
            # kata: begin
            return 1
            # kata: end


        async def g():
            # kata: begin
            return 2
            # kata: end
        """)
    assert "@decorated\ndef f():" in stub
    assert "demo.f: write me" in stub
    assert "demo.g: write me" in stub


@pytest.mark.parametrize(
    ("source", "line", "says"),
    [
        ("def f():\n    # kata: begin\n    return 1\n", 2, "never ended"),
        ("def f():\n    return 1\n    # kata: end\n", 3, "without a `# kata: begin`"),
        ("def f():\n    # kata: begin\n    # kata: begin\n    return 1\n    # kata: end\n", 3, "opens inside"),
    ],
)
def test_fences_that_do_not_pair_up_are_a_user_error_with_a_line(source, line, says):
    """Otherwise a forgotten mark would leave part of the answer in the stub."""
    with pytest.raises(UserError, match=rf"solutions/demo\.py:{line}: .*{says}"):
        render(source, "demo")


def test_a_reference_without_a_fence_is_a_user_error():
    """Its stub would be the answer."""
    with pytest.raises(UserError, match="has no fence"):
        render("def f():\n    return 1\n", "demo")


def test_a_syntax_error_is_a_user_error_with_a_line():
    """In the reference."""
    with pytest.raises(UserError, match=r"solutions/demo\.py, line 2"):
        render("def f():\n    return (\n", "demo")


def test_a_stub_that_would_not_be_python_is_a_user_error():
    """A fence around half of a statement."""
    with pytest.raises(UserError, match="renders to a stub that is not Python"):
        stub_of("""\
            def f(x):
                return max(
                    # kata: begin
                    x,
                    # kata: end
                    1)
            """)


def test_fences_know_their_lines_and_owners():
    """Mutants change only lines inside fences."""
    source = "def f():\n    # kata: begin\n    return 1\n    # kata: end\n\n\n# kata: begin\nX = 1\n# kata: end\n"
    assert [(f.begin, f.end, f.owner) for f in find_fences(source, "demo")] == [(2, 4, "f"), (7, 9, "")]


@pytest.mark.parametrize("reference", sorted(REAL.solutions.glob("*.py")), ids=lambda path: path.stem)
def test_every_real_reference_renders_to_its_stub_but_not_to_itself(reference):
    """The stub is valid, and the answer is not in it."""
    source = reference.read_text(encoding="utf-8")
    stub = render(source, reference.stem)
    assert stub != source
    assert "# kata:" not in stub
    stale, _ = render_stubs(REAL, [reference.stem], check=True)
    assert not stale, f"run `kata dev render {reference.stem}` (or, if you have solved it: that is why)"


def test_rendering_again_writes_nothing(checkout):
    """Editors and watchers see no change, and no copy is made."""
    checkout.stub("tiny").unlink()
    assert render_stubs(checkout, ["tiny"], check=False) == (["tiny"], [])
    os.utime(checkout.stub("tiny"), (1, 1))
    assert render_stubs(checkout, ["tiny"], check=False) == ([], [])
    assert checkout.stub("tiny").stat().st_mtime == 1
    assert not (checkout.state / "backups").exists()


def test_checking_writes_nothing(checkout):
    """`render --check` runs in CI, and on checkouts with unfinished work."""
    checkout.stub("tiny").write_text("# an answer\n")
    before = checkout.stub("tiny").read_bytes()
    assert render_stubs(checkout, ["tiny"], check=True) == (["tiny"], [])
    assert checkout.stub("tiny").read_bytes() == before
    assert not checkout.state.exists()


@pytest.mark.parametrize("how", ["render", "reset"])
def test_a_learners_file_is_copied_before_it_is_overwritten(checkout, catalog, how):
    """A second copy never replaces the first."""
    copies = []
    for work in ("first", "second"):
        if how == "render":
            checkout.stub("tiny").write_text(f"# {work} try\n")
            copies += render_stubs(checkout, ["tiny"], check=False)[1]
        else:
            checkout.answer("tiny").write_text(f"# {work} try\n")
            copies.append(reset(checkout, catalog["tiny"], print))
    assert [copy.read_text() for copy in copies] == ["# first try\n", "# second try\n"]
    assert all(copy.parent == checkout.state / "backups" for copy in copies)
    assert render_stubs(checkout, ["tiny"], check=True) == ([], [])


def test_a_file_that_cannot_be_copied_is_not_overwritten(checkout, catalog):
    """Here a file has the name of the folder for copies."""
    solve(checkout)
    checkout.stub("tiny").write_text("# an answer\n")
    before = checkout.answer("tiny").read_bytes(), checkout.stub("tiny").read_bytes()
    checkout.state.mkdir()
    (checkout.state / "backups").write_text("in the way")
    with pytest.raises(UserError, match="left as it is"):
        reset(checkout, catalog["tiny"], print)
    with pytest.raises(UserError, match="left as it is"):
        render_stubs(checkout, ["tiny"], check=False)
    assert (checkout.answer("tiny").read_bytes(), checkout.stub("tiny").read_bytes()) == before


def test_resetting_an_untouched_stub_copies_nothing(checkout, catalog):
    """There is nothing to keep."""
    assert reset(checkout, catalog["tiny"], print) is None
    assert not (checkout.state / "backups").exists()


def test_a_missing_reference_is_a_user_error_and_the_work_stays(checkout, catalog):
    """Without the reference there is no stub."""
    solve(checkout)
    checkout.reference("tiny").unlink()
    before = checkout.answer("tiny").read_bytes()
    with pytest.raises(UserError, match=r"solutions/tiny\.py cannot be read"):
        reset(checkout, catalog["tiny"], print)
    assert checkout.answer("tiny").read_bytes() == before
