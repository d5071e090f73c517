"""Stage 1. Causal and window masks, square."""

import pytest
import torch

from dojo.testing import expect_equal, expect_own_work
from katas import attention_masks
from katas.attention_masks import causal_mask, window_mask

from .helpers import expect_mask, picture
from .probe import FORBIDDEN

SEES_ITSELF = "query i sees key j if j <= i, itself included; True = attend"
WINDOW = "window keys in all: query i sees key j if i - window < j <= i"


def test_a_causal_mask():
    """A row for each query, a column for each key, True = attend."""
    expect_mask(causal_mask(3, 3), picture("x..", "xx.", "xxx"), what="causal_mask(3, 3)", hint=SEES_ITSELF)
    expect_mask(causal_mask(1, 1), picture("x"), what="causal_mask(1, 1)", hint=SEES_ITSELF)


def test_a_window_of_two_is_a_token_and_the_one_before_it():
    """The off-by-one that several libraries have shipped: the query's own key counts."""
    want = picture("x...", "xx..", ".xx.", "..xx")
    expect_mask(window_mask(4, 4, 2), want, what="window_mask(4, 4, window=2)", hint=WINDOW)
    want = picture("x....", "xx...", "xxx..", ".xxx.", "..xxx")
    expect_mask(window_mask(5, 5, 3), want, what="window_mask(5, 5, window=3)", hint=WINDOW)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_a_window_of_one_is_the_diagonal(n):
    """Each token sees itself alone."""
    expect_mask(window_mask(n, n, 1), torch.eye(n).bool(), what=f"window_mask({n}, {n}, window=1)", hint=WINDOW)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_a_window_of_all_tokens_is_causal(n):
    """So is a wider one."""
    for window in (n, n + 1, 100):
        what = f"window_mask({n}, {n}, window={window}), which hides nothing of the past,"
        hint = "as causal_mask: a window hides what is too far in the past, and the future stays hidden"
        expect_mask(window_mask(n, n, window), causal_mask(n, n), what=what, hint=hint)


def test_rows_count_what_a_query_sees():
    """i + 1 keys, and in a window no more than its size."""
    sees = causal_mask(8, 8)
    expect_equal(list(getattr(sees, "shape", [])), [8, 8], what="the shape of causal_mask(8, 8)")
    expect_equal(sees.sum(1).tolist(), list(range(1, 9)), what="how many keys each of 8 queries sees", hint=SEES_ITSELF)
    for window in range(1, 9):
        sees = window_mask(8, 8, window)
        expect_equal(list(getattr(sees, "shape", [])), [8, 8], what=f"the shape of window_mask(8, 8, {window})")
        want = [min(i, window) for i in range(1, 9)]
        what = f"how many keys each of 8 queries sees in a window of {window}"
        expect_equal(sees.sum(1).tolist(), want, what=what, hint=WINDOW)


@pytest.mark.parametrize("n", [2, 5])
def test_a_wider_window_adds_one_diagonal(n):
    """The keys at distance `window`, and nothing else."""
    for window in range(1, n):
        wider, narrow = window_mask(n, n, window + 1), window_mask(n, n, window)
        added = torch.ones(n - window).diag(-window).bool()
        expect_mask(narrow | added, wider, what=f"a window of {window} and the keys at distance {window}", hint=WINDOW)


def test_the_work_is_your_own():
    """flex_attention takes a function of i and j and makes the blocks itself: that is the answer."""
    window_mask(2, 2, 1)
    expect_own_work(attention_masks, FORBIDDEN)
