"""The fixtures of the katas' tests."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """The run's seed, for code that needs a number rather than a generator."""
    return int(request.config.getoption("--kata-seed"))


@pytest.fixture
def rng(seed: int) -> "torch.Generator":
    """A CPU generator, fresh for each test. Everything random in a test comes from it."""
    import torch

    # torch's own generator serves what accepts no other: layers' initial weights, dropout. It gets another seed, so that
    # a layer does not start at the very numbers that the test feeds it.
    torch.default_generator.manual_seed(seed + 2**20)
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def cost() -> Any:
    """`with cost() as spent:` counts operators, FLOPs and bytes (dojo.testing.cost)."""
    from dojo.testing.cost import measure

    return measure


@pytest.fixture(autouse=True)
def gradients_enabled() -> Iterator[None]:
    """Code that leaves gradients switched off must not fail the tests after it."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    with torch.enable_grad():
        yield
