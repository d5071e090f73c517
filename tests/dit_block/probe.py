"""What can be seen of dit_block. No answers here: the reference runs the same probe."""

from dojo.testing.probes import Case
from dojo.testing import randn


def cases(rng):
    yield Case("plain", of="dit_block", x=randn(rng, 2, 3))


def run(kata, case):
    x = case.x.clone()
    return {"result": kata.dit_block(x), "input after": x}
