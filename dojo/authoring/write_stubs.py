"""Writes stubs: katas/NAME.py, as rendered from solutions/NAME.py."""

from pathlib import Path

from dojo.core.files import backup, write
from dojo.core.paths import Checkout
from dojo.core.stubs import require_solutions, stub


def render_stubs(checkout: Checkout, names: list[str], *, check: bool) -> tuple[list[str], list[Path]]:
    """Writes the stubs of `names`; returns the names whose stub was another one before, and the copies of those.

    A stub is copied before it is overwritten, since it may hold an answer. With `check` nothing is written or copied.
    """
    require_solutions(checkout)
    stale, copies = [], []
    for name in names:
        text = stub(checkout, name)
        file = checkout.stub(name)
        old = file.read_bytes() if file.exists() else None
        if old == text.encode():
            continue
        stale.append(name)
        if not check:
            if old is not None:
                copies.append(backup(checkout, file))
            write(file, text)
    return stale, copies
