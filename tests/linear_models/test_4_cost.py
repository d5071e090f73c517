"""Stage 4. Memory, and no loop over rows."""

import tracemalloc

import numpy as np
import pytest

from dojo.testing import Wrong, expect, expect_equal
from dojo.testing.lines import expect_lines
from katas import linear_models as kata
from katas.linear_models import fit_linear, fit_logistic, linear_loss, logistic_loss, predict_proba

from .helpers import array, descended, labels, normal
from .test_1_core import bowl

CALLS = {
    "predict_proba": lambda x, y, w: predict_proba(w, 0.5, x),
    "linear_loss": lambda x, y, w: linear_loss(w, 0.5, x, y, 0.1),
    "logistic_loss": lambda x, y, w: logistic_loss(w, 0.5, x, y, 0.1),
    "fit_linear": lambda x, y, w: fit_linear(x, y),
    "fit_linear with a penalty": lambda x, y, w: fit_linear(x, y, 0.1),
    "fit_logistic": lambda x, y, w: fit_logistic(x, y, 0.1, tol=1e-3),
}


def data(rng, n, d):
    x = normal(rng, n, d)
    return x, labels(rng, x, [1] * d), np.ones(d)


@pytest.mark.parametrize("name", CALLS)
def test_memory_for_a_few_copies(rng, name):
    """700 rows of 6 columns: an array [n, n], such as a diagonal matrix of weights, has 490 000 numbers, x has 4200."""
    n, d = 700, 6
    x, y, w = data(rng, n, d)
    CALLS[name](x[:40], y[:40], w)
    tracemalloc.start()
    try:
        CALLS[name](x, y, w)
        numbers = tracemalloc.get_traced_memory()[1] / 8
    finally:
        tracemalloc.stop()
    most = 10 * (n + d) * (d + 1)
    hint = "no [n, n]: scale the rows of x instead of a product with np.diag; svd(..., full_matrices=False)"
    sentence = f"{name} should hold at most 10 (n + d) (d + 1) = {most} numbers at a time, but held {numbers:.0f}"
    expect(numbers <= most, sentence, hint=hint)
    sentence = f"NumPy should do the work of {name}, but it held only {numbers:.0f} numbers for {n} rows"
    expect(numbers >= n / 2, sentence, hint="compute with NumPy, whose memory is counted")


def lines_of(run):
    """A power of 2 that is enough for the lines that a call executes."""
    for power in range(3, 24):
        try:
            expect_lines(run, kata, 2**power, what="it")
        except Wrong:
            continue
        break
    return 2**power


@pytest.mark.parametrize("name", CALLS)
def test_no_loop_over_rows(rng, name):
    """The data 40 times have the same J, so the same steps lead to its minimum."""
    x, y, w = data(rng, 12, 2)
    few = lines_of(lambda: CALLS[name](x, y, w))
    many = [np.tile(x, (40, 1)), np.tile(y, 40), w]
    what = f"{name} of 480 rows, of which 12 differ and needed {few} lines or fewer,"
    expect_lines(lambda: CALLS[name](*many), kata, 4 * few, what=what, hint="x @ w goes over all rows")


@pytest.mark.parametrize("steps", [1, 4])
def test_one_call_of_the_loss_for_a_step(steps):
    """Its gradient is all that a step needs."""
    calls = []

    def counted(weights, bias):
        calls.append(bias)
        return bowl(weights, bias)

    descended(counted, array(0, 1), 0.0, lr=0.5, steps=steps)
    expect_equal(len(calls), steps, what=f"calls of loss in {steps} steps", hint="loss and gradient come together")
