"""What can be seen of textual_inversion. No answers here: the reference runs the same probe."""

from dojo.testing.probes import Case
from dojo.testing import randn


def cases(rng):
    yield Case("plain", of="textual_inversion", x=randn(rng, 2, 3))


def run(kata, case):
    x = case.x.clone()
    return {"result": kata.textual_inversion(x), "input after": x}
