"""What can be seen of siglip_loss. No answers here: the reference runs the same probe."""

from dojo.testing.probes import Case
from dojo.testing import randn


def cases(rng):
    yield Case("plain", of="siglip_loss", x=randn(rng, 2, 3))


def run(kata, case):
    x = case.x.clone()
    return {"result": kata.siglip_loss(x), "input after": x}
