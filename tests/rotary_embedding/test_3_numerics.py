"""Stage 3. Dtypes at far positions, gradients, converted weights."""

import pytest
import torch

from dojo.testing import (
    FLOATS,
    HALVES,
    expect,
    expect_close,
    expect_equal,
    expect_gradients,
    expect_unchanged,
    randint,
    randn,
)
from katas.rotary_embedding import inverse_frequencies, rotate, to_half_split, to_interleaved

from .helpers import DIRECTION, SINGLE, expect_turned, speeds

both = pytest.mark.parametrize("interleaved", [False, True])


@both
@pytest.mark.parametrize("dtype", FLOATS)
def test_a_result_has_the_dtype_of_x(rng, dtype, interleaved):
    """Whatever the frequencies have, which are float64 here."""
    x, positions, frequencies = randn(rng, 3, 8, dtype=dtype), torch.tensor([0, 3, 11]), speeds(4)
    found = rotate(x, positions, frequencies, interleaved=interleaved)
    expect_equal(found.dtype, dtype, what=f"the dtype of rotate for {dtype}", hint="cast the result back to x.dtype")
    eps = torch.finfo(dtype).eps
    # A sine, two products and their sum, of numbers up to 4.
    expect_turned(
        found,
        x,
        positions,
        frequencies,
        interleaved,
        what=f"rotate in {dtype}",
        hint=DIRECTION,
        rtol=0.0,
        atol=max(16 * eps, 2e-5),
    )


@both
@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
def test_far_positions_are_turned_exactly(rng, dtype, interleaved):
    """bfloat16 knows 769 different positions below 4096, and float16 none above 65 504."""
    x, frequencies = randn(rng, 4, 8, dtype=dtype), inverse_frequencies(8)
    positions = torch.tensor([4095, 30_000, 30_001, 100_000])
    found = rotate(x, positions, frequencies, interleaved=interleaved)
    hint = "compute position * frequency, cos and sin in float32 at least, and cast afterwards"
    # In float32 an angle of 100 000 is off by 0.01; times numbers up to 4.
    expect_turned(
        found,
        x,
        positions,
        frequencies,
        interleaved,
        what=f"rotate in {dtype} at far positions",
        hint=hint,
        rtol=0.0,
        atol=max(16 * torch.finfo(dtype).eps, 0.06),
    )


@pytest.mark.parametrize("dtype", [torch.float32, *HALVES])
def test_frequencies_of_any_dtype(rng, dtype):
    """A model that was cast as a whole has cast its buffers too; the angles are still computed in float32."""
    x, frequencies = randn(rng, 3, 6, dtype=torch.float32), torch.tensor([1.0, 0.5, 0.125], dtype=dtype)
    positions = torch.tensor([257, 1023, 4097])
    found = rotate(x, positions, frequencies, interleaved=True)
    expect_equal(found.dtype, torch.float32, what=f"the dtype of rotate for float32 and frequencies in {dtype}")
    expect_turned(
        found,
        x,
        positions,
        frequencies,
        True,
        what=f"rotate with frequencies in {dtype}",
        hint="cast the frequencies up before they meet the positions",
        rtol=0.0,
        atol=4e-3,
    )


@both
def test_gradients_are_turned_back(rng, interleaved):
    """The transpose of a rotation is the rotation by minus the angle."""
    x, slope, positions = randn(rng, 3, 8).requires_grad_(), randn(rng, 3, 8), torch.tensor([1, 5, 12])
    found = rotate(x, positions, speeds(4), interleaved=interleaved)
    expect(found.requires_grad, "the turned x should be differentiable, but has no graph", hint="no detach, no no_grad")
    (found * slope).sum().backward()
    wanted = rotate(slope, -positions, speeds(4), interleaved=interleaved)
    hint = "no detach() and no torch.no_grad(): the gradient goes through the same products"
    expect_close(x.grad, wanted.detach(), what="the gradient of x", hint=hint, **SINGLE)


def test_gradients_agree_with_finite_differences(rng):
    """With channels that stay."""
    positions = torch.tensor([2, 3])
    expect_gradients(lambda x: rotate(x, positions, speeds(2), interleaved=False), [randn(rng, 2, 6)], what="rotate")


def test_rows_are_put_in_the_order_of_half_split_pairs():
    """Two heads of eight rows: even ones first, each head for itself. At four rows the inverse would look the same."""
    order = to_half_split(torch.arange(16.0)[:, None], 2).flatten()
    wanted = torch.tensor([0.0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15])
    hint = "within each head: row i of the first half was row 2 i, row i of the second half was row 2 i + 1"
    expect_equal(order, wanted, what="the rows of to_half_split with 2 heads of 8", hint=hint)


@pytest.mark.parametrize("heads", [1, 3])
def test_converted_weights_give_the_same_scores(rng, heads):
    """The point of the conversion: a checkpoint of one convention runs in code of the other."""
    x, wq, wk = randn(rng, 5, 7), randn(rng, heads * 8, 7), randn(rng, heads * 8, 7)
    positions, frequencies = randint(rng, 0, 40, 5), speeds(4)

    def scores(wq, wk, interleaved):
        q, k = ((x @ w.T).unflatten(-1, (heads, 8)).transpose(0, 1) for w in (wq, wk))
        q, k = (rotate(t, positions, frequencies, interleaved=interleaved) for t in (q, k))
        return q @ k.mT

    found = scores(to_half_split(wq, heads), to_half_split(wk, heads), False)
    hint = "half-split of the reordered channels is the reordering of the interleaved ones"
    expect_close(found, scores(wq, wk, True), what="the scores after to_half_split", hint=hint, rtol=0.0, atol=1e-3)


@pytest.mark.parametrize("shape", [(24, 5), (24,), (24, 2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_conversion_undoes_the_other(rng, shape, dtype):
    """Weights, biases, convolutions; nothing is computed, so every bit is kept."""
    weight = randn(rng, *shape, dtype=dtype)
    with expect_unchanged(weight, what="the weight"):
        there, other = to_half_split(weight, 3), to_interleaved(weight, 3)
    expect_equal(to_interleaved(there, 3), weight, what="to_interleaved(to_half_split(weight))")
    expect_equal(to_half_split(other, 3), weight, what="to_half_split(to_interleaved(weight))")
    expect(
        not torch.equal(there, other),
        "the two conversions should differ for heads of 8 rows, but are the same",
        hint="one is the inverse of the other",
    )
