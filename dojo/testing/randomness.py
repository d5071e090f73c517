"""Generators for tests, and the check that a generator decides every draw and that nothing else does."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dojo.testing.checks import expect, expect_equal, expect_rng_untouched

PASS_IT_ON = "pass `generator` on to everything that draws; do not re-seed it, and do not work on a copy of it"


def seeded(seed: int) -> torch.Generator:
    """A CPU generator with this seed."""
    return torch.Generator().manual_seed(seed)


def expect_seeded(
    sample: Callable[[torch.Generator | None], Any],
    *,
    what: str,
    hint: str = PASS_IT_ON,
    seed: int = 1,
    optional: bool = True,
) -> None:
    """`sample(generator)` draws from `generator` and from nothing else.

    Equal seeds give equal results, and torch's global stream is neither read nor moved. Another seed, and the next call
    with the same generator, give another result. So do two calls with None, unless the generator is not `optional`.

    `sample` returns a tensor, a plain value, or a dict of them: then each entry has to repeat, and to differ.
    """
    with expect_rng_untouched(what=f"{what} with a generator", hint=hint):
        first = _parts(sample(seeded(seed)), what)
    torch.rand(1)  # what is read from the global stream, even from a copy of it, is another number from here on
    generator = seeded(seed)
    with expect_rng_untouched(what=f"{what} with a generator", hint=hint):
        again, following = _parts(sample(generator), what), _parts(sample(generator), what)
        other = _parts(sample(seeded(seed + 1)), what)
    for name, value in first.items():
        expect_equal(again[name], value, what=f"{name} with an equally seeded generator", hint=hint)
        for how, drawn in (("another seed", other), ("the next call with the same generator", following)):
            expect(not _same(drawn[name], value), f"{name} should differ with {how}, but is the same", hint=hint)
    if optional:
        one, two = _parts(sample(None), what), _parts(sample(None), what)
        for name, value in one.items():
            sentence = f"{name} should differ between two calls without a generator, but is the same"
            expect(not _same(two[name], value), sentence, hint="seed nothing: draw from the global stream")


def _parts(result: Any, what: str) -> dict[str, Any]:
    """The results by their names in a sentence."""
    return {f"{name} of {what}": part for name, part in result.items()} if isinstance(result, dict) else {what: result}


def _same(one: Any, other: Any) -> bool:
    """Equality of two tensors, or of two plain values."""
    return torch.equal(one, other) if isinstance(one, Tensor) and isinstance(other, Tensor) else bool(one == other)
