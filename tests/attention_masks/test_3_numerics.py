"""Stage 3. ALiBi: slopes for any number of heads, biases in every dtype."""

import pytest
import torch

from dojo.testing import FLOATS, expect_close, expect_equal, numbers
from katas.attention_masks import alibi_bias, alibi_slopes, causal_mask

EXACT = {"rtol": 1e-12, "atol": 0.0}
POWER = "2^(-8 h / heads), h from 1 to heads"
OTHER = "the slopes of the power of two below, then every second of those of twice that power, from the first"
BIAS = "-slope * (i - j), and -inf where j > i"


def test_the_slopes_of_eight_heads():
    """1/2, 1/4, ... 1/256, as in the paper."""
    want = numbers(*(0.5**h for h in range(1, 9)))
    expect_close(alibi_slopes(8), want, what="alibi_slopes(8)", hint=POWER, **EXACT)


@pytest.mark.parametrize("heads", [1, 2, 4, 16, 64])
def test_slopes_of_a_power_of_two_are_a_geometric_series(heads):
    """The last is always 2^-8, and the first is the ratio as well."""
    slopes = alibi_slopes(heads)
    expect_equal(
        list(getattr(slopes, "shape", [])), [heads], what=f"the shape of alibi_slopes({heads})", hint="[heads]"
    )
    expect_close(slopes[-1], torch.tensor(2.0**-8).double(), what=f"the last of {heads} slopes", hint=POWER, **EXACT)
    ratio = torch.full((heads,), 2 ** (-8 / heads), dtype=torch.float64)
    before = torch.cat([torch.ones(1).double(), slopes[:-1]])
    what = f"slope h over slope h - 1, of {heads} heads (with 1 before the first)"
    expect_close(slopes / before, ratio, what=what, hint=POWER, **EXACT)


def test_the_slopes_of_twelve_heads():
    """Those of 8 heads, and 2^-0.5, 2^-1.5, 2^-2.5, 2^-3.5: a series of 12 would be another table, and trained models
    have this one."""
    want = numbers(*(0.5**h for h in range(1, 9)), *(0.5 ** (h + 0.5) for h in range(4)))
    expect_close(alibi_slopes(12), want, what="alibi_slopes(12)", hint=OTHER, **EXACT)


@pytest.mark.parametrize(("heads", "power"), [(3, 2), (5, 4), (7, 4), (9, 8), (14, 8), (25, 16), (71, 64), (112, 64)])
def test_slopes_of_any_other_number_of_heads(heads, power):
    """Falcon has 71 heads, BLOOM 112."""
    slopes = alibi_slopes(heads)
    expect_equal(
        list(getattr(slopes, "shape", [])), [heads], what=f"the shape of alibi_slopes({heads})", hint="[heads]"
    )
    what = f"the first {power} of {heads} slopes, beside those of {power} heads"
    expect_close(slopes[:power], alibi_slopes(power), what=what, hint=OTHER, **EXACT)
    want = alibi_slopes(2 * power)[::2][: heads - power]
    what = f"the last {heads - power} of {heads} slopes, beside the 1st, 3rd, ... of {2 * power} heads"
    expect_close(slopes[power:], want, what=what, hint=OTHER, **EXACT)


def test_a_bias_falls_with_the_distance():
    """Two heads, with slopes 1/16 and 1/256. The query's own token has 0, the future -inf."""
    far = -torch.inf
    want = torch.tensor([[0.0, far, far], [-1.0, 0.0, far], [-2.0, -1.0, 0.0]])
    want = torch.stack([want / 16, want / 256])
    expect_close(alibi_bias(2, 3, 3), want, what="alibi_bias(2, 3, 3)", hint=BIAS)


@pytest.mark.parametrize("queries", [1, 2, 5])
@pytest.mark.parametrize("heads", [1, 6])
def test_the_newest_queries_have_the_biases_that_they_had_among_all(heads, queries):
    """With a cache, too, distance counts from the query's own place."""
    want = alibi_bias(heads, 5, 5)
    expect_equal(list(getattr(want, "shape", [])), [heads, 5, 5], what=f"the shape of alibi_bias({heads}, 5, 5)")
    found = alibi_bias(heads, queries, 5)
    hint = "the last query stands at the last key: query i is at place keys - queries + i"
    expect_close(found, want[:, -queries:], what=f"alibi_bias({heads}, {queries}, 5)", hint=hint)


@pytest.mark.parametrize("heads", [1, 4, 6, 11])
def test_each_head_has_its_own_slope(heads):
    """From one key to the next, the bias rises by the slope, up to the query's own key; behind that is -inf."""
    bias = alibi_bias(heads, 6, 6, dtype=torch.float64)
    expect_equal(list(getattr(bias, "shape", [])), [heads, 6, 6], what=f"the shape of alibi_bias({heads}, 6, 6)")
    rises = bias[:, -1].diff(dim=-1)
    want = alibi_slopes(heads)[:, None].expand(heads, 5)
    expect_close(rises, want, what="the rise of the last query's bias from key to key", hint=BIAS, rtol=1e-7, atol=0.0)
    what = "where the bias is -inf"
    expect_equal(bias == -torch.inf, (~causal_mask(6, 6)).expand(heads, 6, 6), what=what, hint="-inf in the future")
    own = bias.diagonal(dim1=1, dim2=2)
    expect_close(own, torch.zeros(heads, 6).double(), what="the biases of the queries' own keys", hint=BIAS)


def test_float32_unless_told():
    """The default; any floating dtype may be asked for."""
    found = getattr(alibi_bias(2, 3, 3), "dtype", None)
    expect_equal(found, torch.float32, what="the dtype of alibi_bias(2, 3, 3)")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_biases_are_exact_in_every_dtype(dtype):
    """Two roundings of each entry, near and far. slope * j - slope * i would cancel: in bfloat16 slope * 1022 equals
    slope * 1023, and neighbours of the query would be told apart no more."""
    for heads, queries, keys in ((8, 5, 5), (9, 2, 1024)):
        distance = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)
        want = (-alibi_slopes(heads)[:, None, None] * distance).masked_fill(distance < 0, -torch.inf)
        found = alibi_bias(heads, queries, keys, dtype=dtype)
        expect_equal(getattr(found, "dtype", None), dtype, what=f"the dtype of alibi_bias(..., dtype={dtype})")
        what = f"alibi_bias({heads}, {queries}, {keys}, dtype={dtype}), in float64,"
        hint = "-slope * (i - j) from integers or in float32 at least, and then .to(dtype)"
        eps = torch.finfo(dtype).eps
        expect_close(found.double(), want, what=what, hint=hint, rtol=max(2 * eps, 1e-12), atol=0.0)


def test_each_table_is_a_tensor_of_its_own():
    """A table that is kept for one size answers wrongly for the next, and who changes it changes it for all."""
    calls = {
        "alibi_slopes(6)": lambda: alibi_slopes(6),
        "alibi_bias(2, 2, 4)": lambda: alibi_bias(2, 2, 4),
        "alibi_bias(2, 4, 4)": lambda: alibi_bias(2, 4, 4),
    }
    for name, call in calls.items():
        first = call()
        want = first.clone()
        first.zero_()
        hint = "keep nothing between calls"
        expect_equal(call(), want, what=f"{name} after an earlier result was changed", hint=hint)
