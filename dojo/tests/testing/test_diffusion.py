"""What the tests of diffusion katas share."""

import pytest
import torch

from dojo.testing import FLOATS, Wrong, numbers, randn, seeded
from dojo.testing.diffusion import (
    FINE,
    SAMPLER_TOLERANCE,
    SIX,
    STEP_TOLERANCE,
    column,
    expect_normal,
    knows,
    no_noise,
    recording,
)


def test_the_schedules_fall_from_1_to_0():
    """As cumulative products of 1 - beta; the fine one starts where half precision sees 1."""
    for abar in (SIX, FINE):
        assert abar.dtype == torch.float64
        assert ((abar > 0) & (abar < 1)).all()
        assert (abar.diff() < 0).all()
    assert 1 - FINE[0].bfloat16() == 0


def test_tolerances_are_known_for_every_dtype():
    """And half precision has the looser ones."""
    for table in (STEP_TOLERANCE, SAMPLER_TOLERANCE):
        assert list(table) == FLOATS
        assert table[torch.bfloat16] > table[torch.float16] > table[torch.float32]


def test_a_column_multiplies_each_image_by_its_own_number():
    """Also where batch == width."""
    x = torch.ones(3, 2, 3)
    assert (column(numbers(1, 2, 3), x) * x)[:, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("std", [0.0, 2.0])
def test_the_exact_model_knows_the_noise(std):
    """E[eps | x_t] for normal data is a regression: (sqrt(1 - a) / variance of x_t) times the distance from the mean."""
    x0, eps = 3 + std * randn(seeded(0), 6, 20_000), randn(seeded(1), 6, 20_000)
    t = torch.arange(6)
    a = column(SIX[t], x0)
    x = a.sqrt() * x0 + (1 - a).sqrt() * eps
    guess = knows(3.0, std)(x, t)
    if std == 0:
        torch.testing.assert_close(guess, eps)
    for row in range(6):  # what is left of the noise is uncorrelated with what is known
        assert abs(((eps - guess) * (x - x.mean(-1, keepdim=True)))[row].mean()) < 0.1
    assert knows(3.0, std)(x.float(), t).dtype == torch.float32
    torch.testing.assert_close(knows(3.0, std, SIX.flip(0))(x, t), knows(3.0, std)(x, 5 - t))


def test_a_recording_keeps_what_the_model_was_shown():
    """Copies: samplers may work in place."""
    model, calls = recording(no_noise)
    x, t = torch.ones(2, 3), torch.tensor([1, 1])
    assert model(x, t).tolist() == [[0.0] * 3] * 2
    x += 1
    t += 1
    assert calls[0][0].tolist() == [[1.0] * 3] * 2
    assert calls[0][1].tolist() == [1, 1]


def test_normal_draws_pass_and_others_do_not():
    """A mean or a standard deviation beside it, each with its sentence."""
    draws = 1 + 2 * randn(seeded(0), 40, 100)
    expect_normal(draws, 1.0, 2.0, what="draws", hint="")
    for mean, std, sentence in (
        (1.5, 2.0, "draws should have mean 1.5000, but have "),
        (1.0, 2.5, "draws should have standard deviation 2.5000, but have "),
    ):
        with pytest.raises(Wrong) as error:
            expect_normal(draws, mean, std, what="draws", hint="randn")
        assert str(error.value).startswith(sentence)
        assert str(error.value).endswith("hint: randn")


def test_nan_is_not_normal():
    """Every comparison with it is false."""
    with pytest.raises(Wrong, match="mean"):
        expect_normal(torch.full((9,), torch.nan), 0.0, 1.0, what="draws", hint="")
