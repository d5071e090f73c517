"""The code of changed functions in the live functions of a module."""

from textwrap import dedent
from types import ModuleType

import pytest

from dojo.authoring.verify.swaps import LiveFunctions, changes

SOURCE = dedent("""
    import functools

    LIMIT = 3

    def plain(x):
        return x + 1

    @functools.cache
    def wrapped(x, by=2):
        return x * by

    def outer(x):
        def inner():
            return x - 1
        return inner()

    class Thing:
        size = 4

        def method(self):
            return [self.size for _ in range(2)]

        @property
        def double(self):
            return 2 * self.size
    """)


def compiled(source):
    return compile(source, "<tiny>", "exec")


def imported():
    module = ModuleType("tiny")
    exec(compiled(SOURCE), module.__dict__)
    return module


BODIES = [
    (("x + 1", "x + 2"), lambda m: m.plain(1), 2, 3),
    (("x * by", "x * by + 1"), lambda m: m.wrapped.__wrapped__(1), 2, 3),
    (("x - 1", "x"), lambda m: m.outer(1), 0, 1),
    (("range(2)", "range(1)"), lambda m: m.Thing().method(), [4, 4], [4]),
    (("2 * self", "3 * self"), lambda m: m.Thing().double, 8, 12),
]


@pytest.mark.parametrize(("edit", "call", "right", "wrong"), BODIES, ids=[edit[1] for edit, *_ in BODIES])
def test_a_changed_body_holds_for_all_who_have_the_function_and_only_meanwhile(edit, call, right, wrong):
    """Also where the function is wrapped, a method, or makes another one."""
    module = imported()
    before = compiled(SOURCE)
    found = changes(before, compiled("\n\n# moved\n" + SOURCE.replace(*edit)))
    assert found is not None
    assert len(found) == 1
    with LiveFunctions(before).changed(found):
        assert call(module) == wrong
    assert call(module) == right


@pytest.mark.parametrize(
    "edit",
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ("LIMIT = 3", "LIMIT = 3.0"),
        ("size = 4", "size = True"),
        ("by=2", "by=3"),
        ("(x):", "(y):"),
        ("(x):", "(x, y):"),
        ("@functools.cache\n", ""),
        ("    @property\n", ""),
        ("@functools.cache", "@functools.lru_cache(2)"),
        ("def plain", "def other(): pass\n\ndef plain"),
    ],
    ids=lambda edit: edit[1][:20],
)
def test_more_than_bodies_is_no_exchange(edit):
    """Such a variant has to be imported."""
    variant = SOURCE.replace(*edit)
    assert variant != SOURCE
    assert changes(compiled(SOURCE), compiled(variant)) is None


def test_lines_and_comments_are_no_change():
    """The same code elsewhere is the same."""
    assert changes(compiled(SOURCE), compiled("# moved\n\n" + SOURCE)) == {}
