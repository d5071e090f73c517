"""Stage 4. Operators and bytes."""

import pytest

from dojo.testing import expect_flat_operators, expect_traffic, randn
from katas.vae import gaussian_nll, kl_to_standard_normal, negative_elbo, reparameterize

LOOP = "no loop over elements or dimensions: all of them at once"
FUNCTIONS = [reparameterize, kl_to_standard_normal, gaussian_nll, negative_elbo]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_operators_grow_with_nothing(rng, function):
    """Neither with the batch, nor with the numbers of an element, nor with its dimensions."""
    expect_flat_operators(
        function,
        lambda shape: randn(rng, 4 if function is negative_elbo else 2, *shape),
        [(2, 8), (20, 8), (2, 80), (2, 3, 8, 9)],
        what=f"{function.__name__} of tensors",
        hint=LOOP,
        slack=2,
    )


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_few_passes(rng, cost, function):
    """The reference moves 8 to 24 times the bytes of one argument; float64 on the way stays below the limit."""
    given = randn(rng, 4 if function is negative_elbo else 2, 4, 3, 64, 64).float()
    most = 160 if function is negative_elbo else 80
    with cost() as spent:
        function(*given)
    hint = "each number is looked at a few times, and no matrix of all pairs is made"
    expect_traffic(spent, given[0], most, what=function.__name__, of="one argument", hint=hint)
