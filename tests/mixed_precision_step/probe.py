"""What can be seen of mixed_precision_step. No answers here: the reference runs the same probe."""

from dojo.testing.probes import Case
from dojo.testing import randn


def cases(rng):
    yield Case("plain", of="mixed_precision_step", x=randn(rng, 2, 3))


def run(kata, case):
    x = case.x.clone()
    return {"result": kata.mixed_precision_step(x), "input after": x}
