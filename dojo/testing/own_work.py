"""A kata that asks for an algorithm refuses the one call that is the answer, in practice as in grading."""

import ast
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from dojo.core.names import forbidden_uses
from dojo.testing.checks import Wrong


def expect_own_work(kata: ModuleType, forbidden: Iterable[str]) -> None:
    """Fails if the file of `kata` uses a name that is `forbidden`, whatever it imports it as.

    Bare names are those of torch's operators, dotted ones modules and functions. The same tuple is the probe's FORBIDDEN,
    so that the grader refuses what this refuses.
    """
    tree = ast.parse(Path(str(kata.__file__)).read_text(encoding="utf-8"))
    uses = sorted((getattr(node, "lineno", 1), name) for node, name in forbidden_uses(tree, forbidden))
    if uses:
        line, name = uses[0]
        raise Wrong(f"line {line} uses {name}, which this kata's rules forbid; write it yourself")
