"""Writes the first files of a new kata. Each runs at once and describes what belongs in it."""

import keyword
import re
from pathlib import Path

from dojo.core.catalog import Catalog
from dojo.core.errors import UserError
from dojo.core.files import write
from dojo.core.paths import Checkout
from dojo.core.stubs import render

SOLUTION = '''\
"""NAME.

The question, in a sentence or two.

The formulas. The rules: what may not be called, and why. Every convention that the tests insist on.

Stage 1: one example.  Stage 2: edges and batches.  Stage 3: numerics and dtypes.  Stage 4: cost.
"""

from jaxtyping import Float
from torch import Tensor


def NAME(x: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """What it returns, in shapes and units. What raises ValueError. The source."""
    # kata: begin
    return 2 * x
    # kata: end
'''

TEST = '''\
"""Stage 1. One example."""

from dojo.testing import expect_close, randn
from katas.NAME import NAME


def test_the_property_as_a_sentence(rng):
    """Why it matters, or what the interviewer would say."""
    x = randn(rng, 2, 3)
    expect_close(NAME(x), 2 * x, what="NAME(x)", hint="the likely mistake?")
'''

PROBE = '''\
"""What can be seen of NAME. No answers here: the reference runs the same probe."""

from dojo.testing.probes import Case
from dojo.testing import randn


def cases(rng):
    yield Case("plain", of="NAME", x=randn(rng, 2, 3))


def run(kata, case):
    x = case.x.clone()
    return {"result": kata.NAME(x), "input after": x}
'''

MISTAKES = """\
# A dozen or more mistakes that people really make.

[[mistake]]
name = "not doubled"
says = "the input is counted once"  # completes "Your result is exactly what you get when ..."
old = "return 2 * x"                # stands exactly once in solutions/NAME.py
new = "return x"
caught_by = "test_the_property_as_a_sentence"
"""

DESCRIPTION = """\
title = "TITLE"
track = "TRACK"
level = "core"       # warm-up, core, stretch
asked = "sometimes"  # often, sometimes, rarely
minutes = 30
question = "What does an interviewer ask?"
stages = ["one example", "edges and batches", "numerics and dtypes", "cost"]
hints = ["the idea", "the structure", "the crucial detail, never the answer"]

[[follow_up]]
question = "What is asked next?"
answer = "A model answer in two to five sentences."
"""


def first_files(checkout: Checkout, name: str, track: str = "") -> dict[Path, str]:
    """The files that `scaffold` writes for a kata, besides its stub, and their texts."""
    title = name.replace("_", " ").capitalize()
    texts = {
        checkout.reference(name): SOLUTION,
        checkout.description(name): DESCRIPTION,
        checkout.tests(name) / "test_1_core.py": TEST,
        checkout.probe(name): PROBE,
        checkout.mistakes(name): MISTAKES,
    }
    placeholders = {"NAME": name, "TITLE": title, "TRACK": track}
    return {
        path: re.sub("NAME|TITLE|TRACK", lambda match: placeholders[match[0]], text) for path, text in texts.items()
    }


def scaffold(checkout: Checkout, catalog: Catalog, name: str) -> list[Path]:
    """Writes the files of a new kata, and its name into the catalogue, last in the last track; returns the files.

    Raises UserError, and writes nothing, if one of them exists.
    """
    if not (name.isidentifier() and name == name.lower()) or name.startswith("_") or keyword.iskeyword(name):
        raise UserError(
            f"'{name}' cannot name a kata: use lower-case letters, digits and underscores, as in top_k_sampling."
        )
    texts = first_files(checkout, name, catalog.tracks[-1] if not catalog.katas else catalog.katas[-1].track)
    for path in (*texts, checkout.stub(name)):
        if path.exists():
            raise UserError(
                f"{checkout.shown(path)} already exists; nothing was written. Choose another name, or edit what is there."
            )
    texts[checkout.stub(name)] = render(texts[checkout.reference(name)], name)
    listed = checkout.catalog.read_text(encoding="utf-8")
    texts[checkout.catalog] = re.sub(r"(?m)(^katas = \[[^]]*)^]", rf'\g<1>    "{name}",\n]', listed, count=1)
    if texts[checkout.catalog] == listed:
        raise UserError(
            f"{checkout.shown(checkout.catalog)} should list its katas one a line, ending with a line of `]`."
        )
    _write_all(texts)
    return list(texts)


def _write_all(texts: dict[Path, str]) -> None:
    """Writes files, the existing one (the catalogue) last. If one cannot be written, removes those that are new."""
    written: list[Path] = []
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, text)
            written.append(path)
    except (UserError, OSError):
        for path in written:
            path.unlink()
        raise
