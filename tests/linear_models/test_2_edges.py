"""Stage 2. Dependent columns, fewer rows than columns, separable classes, rare labels, Newton's step too far, wrong arguments."""

import numpy as np
import pytest

from dojo.testing import called_for, expect, expect_equal, expect_raises
from katas.linear_models import fit_linear, fit_logistic, gradient_descent, linear_loss, logistic_loss, predict_proba

from .helpers import (
    OVERSHOOT,
    array,
    descended,
    expect_array,
    expect_minimum,
    expect_number,
    labels,
    linear,
    logistic,
    normal,
    probs,
)
from .test_1_core import bowl

SHORTEST = "of all weights that fit as well, the shortest: what the pseudoinverse of the centred x gives"
DAMPED = "make sure that a step lowers the loss: halve it until it does"


def column(rng):
    """Eight numbers with few digits, and the mean 0, so that sums of them are exact."""
    half = (normal(rng, 4) * 64).round() / 64 + 0.25
    return np.concatenate([half, -half])


def test_columns_that_depend_on_each_other_share(rng):
    """The second is twice the first: of all weights with w1 + 2 w2 = 5, the shortest are (1, 2)."""
    a = column(rng)
    w, b = linear(np.stack([a, 2 * a], 1) + array(3, 1), 5 * a, what="columns that depend on each other")
    expect_array(w, [1, 2], what="the weights for columns a and 2 a, y = 5 a", hint=SHORTEST, within=1e-9)
    expect_number(b, -5.0, what="the bias for columns a + 3 and 2 a + 1", hint="mean(y) - mean(x) w", within=1e-9)


def test_a_copied_column_gets_half(rng):
    """Least squares, and with a penalty too, where x and its copy share what one column would get at half the penalty."""
    a, other = column(rng), column(rng)
    y, single = normal(rng, 8), np.stack([a, other], 1)
    for l2 in (0.0, 0.5):
        w, _ = linear(np.stack([a, a], 1), y, l2, what="a column and its copy")
        expect_array(w[:1], w[1:], what="the weight of a column, and that of its copy", hint=SHORTEST, within=1e-9)
        alone, _ = linear(a[:, None], y, l2 / 2)
        expect_array(w * 2, [*alone, *alone], what=f"twice the weights of copies, l2 = {l2:g}", within=1e-9)
    w, _ = linear(single[:, [0, 1, 0]], y, what="a column and its copy")
    alone, _ = linear(single, y)
    expect_array(w, [alone[0] / 2, alone[1], alone[0] / 2], what="the weights of a, b, a", hint=SHORTEST, within=1e-9)


def test_the_shortest_weights_do_not_count_the_bias(rng):
    """Columns a + 100 and 2 a: with the bias in the norm, the first would be preferred, as it does a bias's work too."""
    a = column(rng)
    w, b = linear(np.stack([a + 100, 2 * a], 1), 5 * a + 7, what="columns that depend on each other")
    hint = "the bias does not count in |w|: solve for the columns less their means, without a column of ones"
    expect_array(w, [1, 2], what="the weights for columns a + 100 and 2 a", hint=hint, within=1e-8)
    expect_number(b, 7.0 - 100, what="the bias for columns a + 100 and 2 a", hint=hint, within=1e-8)


def test_more_columns_than_rows(rng):
    """Rows in a plane of a space of four dimensions: the weights lie in this plane, and fit all three rows."""
    span = array([1, 0, 1, 1], [0, 1, 1, -1])
    x, y = array([0, 0], [2, 0], [0, 4]) @ span + array(1, 2, 3, 4), normal(rng, 3)
    w, b = linear(x, y, what="three rows of four columns")
    expect_array(x @ w + b, y, what="what fit_linear predicts for 3 rows of 4 columns", within=1e-9, hint=SHORTEST)
    across = array([1, 1, -1, 0], [1, -1, 0, -1]) @ w
    expect_array(across, [0, 0], what="the part of the weights that no row has", hint=SHORTEST, within=1e-9)


def test_the_shortest_weights_are_the_limit_of_the_ridge(rng):
    """As l2 goes to 0."""
    x, y = normal(rng, 4, 6), normal(rng, 4)
    (w, b), near = (linear(x, y, l2, what="four rows of six columns") for l2 in (0.0, 1e-10))
    expect_array(w, near[0], what="the weights for l2 = 0, beside those for 1e-10", hint=SHORTEST, within=1e-6)
    expect_number(b, near[1], what="the bias for l2 = 0, beside that for 1e-10", hint=SHORTEST, within=1e-6)


def test_more_columns_than_rows_far_from_0(rng):
    """Seven rows of nine columns around 1000. Rows less their mean have the sum 0, but for the rounding of the mean, which is
    here far above those of the singular values. The numbers have few digits, so the shift itself is exact."""
    x, y = (normal(rng, 7, 9) * 64).round() / 64, normal(rng, 7)
    near, far = (linear(x + shift, y, what=f"seven rows of nine columns around {shift}") for shift in (0, 1000))
    hint = "the mean is rounded: centre twice, or x less its first row, or count a singular value of 1e-10 of the largest as 0"
    expect_array(
        far[0], near[0], what="the weights for columns around 1000, beside those around 0", hint=hint, within=1e-6
    )
    moved = near[1] - 1000 * near[0].sum()
    expect_number(far[1], moved, what="the bias for columns around 1000, beside that around 0", hint=hint, within=1e-6)


@pytest.mark.parametrize("size", [1e-8, 1e-13, 1e9])
def test_small_units_are_no_roundings(rng, size):
    """Of small columns, all singular values are small beside 1, and of large ones, the roundings are not."""
    a, b = column(rng), column(rng)
    x = np.stack([a, b, a + b], 1)
    w, _ = linear(x * size, x @ array(1, 2, 3), what=f"columns of size {size:g}")
    hint = "a singular value is a rounding where it is small beside the largest one"
    expect_array(
        w * size, [1, 2, 3], what=f"the weights for columns of size {size:g}, times {size:g}", hint=hint, within=1e-9
    )


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_a_constant_column_gets_no_weight(rng, value):
    """The bias is there for it, and costs nothing."""
    x = np.stack([normal(rng, 6), np.full(6, value)], 1)
    for l2 in (0.0, 0.5):
        w, b = linear(x, 2 * x[:, 0] + 3, l2, what=f"a column of {value}")
        expect_array(w[1:], [0], what=f"the weight of a column of {value}, l2 = {l2:g}", hint=SHORTEST, within=1e-9)
        if not l2:
            expect_number(b, 3.0, what=f"the bias beside a column of {value}", hint=SHORTEST, within=1e-9)
    w, _ = logistic(x, array(0, 1, 1, 0, 1, 0), 0.5)
    expect_array(w[1:], [0], what=f"the weight of fit_logistic for a column of {value}", within=1e-6)


@pytest.mark.parametrize("label", [0, 1])
def test_columns_that_say_nothing(label):
    """All of them are 0. Three rows of four have this label: their odds are 3 to 1."""
    w, b = logistic(np.zeros((4, 2)), array(label, 1 - label, label, label), 0.5, tol=1e-10, what="columns of zeros")
    expect_array(w, [0, 0], what="the weights of columns of zeros", within=1e-9)
    hint = "the derivative by the bias counts too, and as an absolute value"
    expect_number(b, (2 * label - 1) * np.log(3), what="the bias for columns of zeros", hint=hint, within=1e-8)


def test_one_row():
    """Nothing to lean on: the bias is all."""
    for l2 in (0.0, 1.0):
        w, b = linear(array([3, -2]), array(5), l2, what="one row")
        expect_array(w, [0, 0], what="the weights for one row", hint=SHORTEST)
        expect_number(b, 5.0, what="the bias for one row")


@pytest.mark.parametrize("l2", [1.0, 1e-3, 1e-7])
def test_separable_classes_have_a_minimum_with_a_penalty(rng, l2):
    """Scores get as large as the penalty allows."""
    x = np.concatenate([np.abs(normal(rng, 6, 2)) + 1, -np.abs(normal(rng, 5, 2))])
    y = array(*6 * [1], *5 * [0])
    w, b = logistic(x, y, l2, what="classes that a line separates", tol=1e-10)
    hint = "go on until the derivatives are below tol: that all rows are right is no reason to stop"
    expect_minimum(w, b, x, y, l2, what=f"separable classes, l2 = {l2:g}", tol=1e-10, hint=hint)


def test_a_rare_label(rng):
    """One row of 150 has label 1."""
    x, y = normal(rng, 150, 2), np.eye(1, 150, 40)[0]
    for l2 in (0.5, 1e-2):
        w, b = logistic(x, y, l2, tol=1e-10, what="one label 1 of 150")
        expect_minimum(w, b, x, y, l2, what="a label that is rare", tol=1e-10)


def test_columns_that_say_nothing_about_labels():
    """Both labels have the same mean of x, so the weight is 0 and the bias has the odds, 4 to 2. At w = 0 the derivative by the
    weight is 0 for any bias."""
    w, b = logistic(array([-1], [1], [-1], [1], [0], [0]), array(1, 1, 0, 0, 1, 1), 0.5, tol=1e-10)
    hint = "the derivative with respect to the bias has to be below tol as well"
    expect_array(w, [0], what="the weight of a column that says nothing about labels", hint=hint, within=1e-8)
    expect_number(b, np.log(2), what="the bias for four labels 1 and two labels 0", hint=hint, within=1e-8)


@pytest.mark.parametrize("name", OVERSHOOT)
@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_a_whole_step_can_go_too_far(name, turn):
    """Far out the curvature is nearly 0, and Newton's step has the gradient divided by it."""
    x, y, l2 = OVERSHOOT[name]
    x, y = turn * array(*x), array(*y)
    w, b = logistic(x, y, l2, what=f"{name} on which Newton's whole steps fail", tol=1e-9)
    expect_minimum(w, b, x, y, l2, what=f"{name} on which Newton's whole steps fail", tol=1e-9, hint=DAMPED)


def test_a_logistic_fit_with_dependent_columns(rng):
    """Copies share, and there may be more columns than rows."""
    a = normal(rng, 9)
    w, _ = logistic(np.stack([a, a, -a], 1), labels(rng, a[:, None], [1]), 0.1, tol=1e-10, what="copies of a column")
    expect_array(w, w[0] * array(1, 1, -1), what="the weights of a, a and -a", within=1e-7)
    x, y = normal(rng, 5, 8), array(0, 1, 1, 0, 1)
    w, b = logistic(x, y, 0.1, tol=1e-10, what="five rows of eight columns")
    expect_minimum(w, b, x, y, 0.1, what="five rows of eight columns", tol=1e-10)


def test_the_smaller_tol_is_kept(rng):
    """Down to the roundings, and a coarse one lets nothing else go wrong."""
    x = normal(rng, 15, 2)
    y = labels(rng, x, [1, 2])
    for tol in (1e-12, 1e-6, 1e-3):
        w, b = logistic(x, y, 1e-2, tol=tol)
        expect_minimum(w, b, x, y, 1e-2, what=f"fit_logistic with tol={tol:g}", tol=tol)
    w, b = logistic(x, y, 1e-2)
    expect_minimum(w, b, x, y, 1e-2, what="fit_logistic without tol, which is 1e-8", tol=1e-8)


def test_no_steps_are_no_steps():
    """Copies of the start come back."""
    start = array(1, 2)
    w, b, losses = descended(bowl, start, 3.0, lr=0.5, steps=0)
    expect_array(w, [1, 2], what="the weights after no step")
    expect_number(b, 3.0, what="the bias after no step")
    expect_equal(losses, [], what="the losses of no step")
    expect(not np.shares_memory(w, start), "gradient_descent should return a copy after no step", hint="np.array(w)")


def test_steps_at_the_bottom():
    """With lr = 1 the first step arrives. The others are taken all the same."""
    _, _, losses = descended(bowl, array(0, 1), 0.0, lr=1.0, steps=4)
    expect_equal([float(loss) for loss in losses], [8.5, 0, 0, 0], what="the losses of 4 steps, of which the first arrives",
                 hint="so many steps, and no test whether to stop")  # fmt: skip


def test_descent_from_integers():
    """zeros of an integer dtype, and a bias of 0, as people write them."""
    w, b, _ = descended(bowl, np.array([0, 1]), 0, lr=0.5, steps=2)
    expect_array(w, [2.25, -0.5], what="the weights after 2 steps from integers", hint="float64 from the start")
    expect_number(b, 1.5, what="the bias after 2 steps from integers")
    _, b, _ = descended(bowl, np.array([0, 1]), 0, lr=0.5, steps=0)
    expect_number(b, 0.0, what="the bias after no step from 0", hint="float(bias)")


def test_no_rows_have_no_probabilities():
    expect_array(probs(array(1, 2), 0.0, np.zeros((0, 2))), np.zeros(0), what="the probabilities of no rows")


def test_arguments_stay_as_they_are(rng):
    """And nothing that comes back is a view of one."""
    x, w = normal(rng, 6, 2) + 5, normal(rng, 2)
    y = array(0, 1, 1, 0, 1, 0)
    before = [each.copy() for each in (x, y, w)]
    results = {
        "predict_proba": [predict_proba(w, 0.5, x)],
        "linear_loss": linear_loss(w, 0.5, x, y, 0.1),
        "logistic_loss": logistic_loss(w, 0.5, x, y, 0.1),
        "gradient_descent": gradient_descent(bowl, w, 0.5, lr=0.5, steps=3),
        "fit_linear": fit_linear(x, y, 0.1),
        "fit_logistic": fit_logistic(x, y, 0.1),
    }
    for name, each in zip(("x", "y", "weights"), zip((x, y, w), before, strict=True), strict=True):
        expect(np.array_equal(*each), f"{name} should not be modified, but was", hint="work on new arrays")
    for name, each in results.items():
        shared = any(isinstance(b, np.ndarray) and np.shares_memory(a, b) for a in (x, y, w) for b in each)
        expect(not shared, f"{name} should return new arrays, but shares memory with an argument")


SHAPES = [((4, 2), (4, 1), (2,)), ((4, 2), (1, 4), (2,)), ((4, 2), (3,), (2,)), ((4, 2), (1,), (2,)), ((4, 2), (), (2,)),
          ((4,), (4,), (2,)), ((4, 2, 1), (4,), (2,)), ((0, 2), (0,), (2,))]  # fmt: skip


WEIGHTS = [((4, 2), (4,), w) for w in ((2, 1), (3,), (1,), ())] + [((1, 1), (1,), (1, 1))]


@pytest.mark.parametrize(("x", "y", "w"), [*SHAPES, *WEIGHTS])
@pytest.mark.parametrize("loss", [linear_loss, logistic_loss], ids=["linear", "logistic"])
def test_losses_refuse_shapes_that_do_not_fit(loss, x, y, w):
    """[n] less [n, 1] is [n, n], and its mean a number that looks right."""
    what = f"{loss.__name__} with x {list(x)}, y {list(y)}, weights {list(w)}"
    with expect_raises(ValueError, what=what, hint="compare y.shape with x.shape[:1]; NumPy would broadcast"):
        loss(np.ones(w), 0.0, np.ones(x), np.ones(y), 0.1)


@pytest.mark.parametrize(("x", "y", "w"), SHAPES)
def test_fits_refuse_shapes_that_do_not_fit(x, y, w):
    y = np.arange(np.prod(y, dtype=int)).reshape(y) % 2
    hint = "compare y.shape with x.shape[:1]; NumPy would broadcast"
    with expect_raises(ValueError, what=f"fit_linear with x {list(x)}, y {list(y.shape)}", hint=hint):
        fit_linear(np.ones(x), y)
    with expect_raises(ValueError, what=f"fit_logistic with x {list(x)}, y {list(y.shape)}", hint=hint):
        fit_logistic(np.ones(x), y, 0.1)


@pytest.mark.parametrize(("x", "w"), [(x, w) for x, _, w in [*WEIGHTS, ((2, 2, 2), (), (2, 2)), ((4,), (), (4,))]])
def test_probabilities_of_shapes_that_do_not_fit(x, w):
    with expect_raises(ValueError, what=f"predict_proba with x {list(x)}, weights {list(w)}"):
        predict_proba(np.ones(w), 0.0, np.ones(x))


@pytest.mark.parametrize("bad", [[-1, 1, 1, -1], [0, 1, 2, 1], [0, 1, 0.5, 1], [0, 1, np.nan, 1], [1, 2, 2, 1]])
def test_labels_are_0_or_1(bad):
    """-1 and 1 would be another loss."""
    x, y = array([0], [1], [3], [2]), np.array(bad)
    with expect_raises(ValueError, what=f"logistic_loss with labels {bad}", hint="labels are 0 and 1"):
        logistic_loss(array(1), 0.0, x, y)
    with expect_raises(ValueError, what=f"fit_logistic with labels {bad}", hint="labels are 0 and 1"):
        fit_logistic(x, y, 0.1)


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_alone_has_no_minimum(label):
    with expect_raises(ValueError, what=f"fit_logistic with labels that are all {label}", hint="its bias is infinite"):
        fit_logistic(array([0], [1], [3]), np.full(3, label), 0.1)


def test_penalties_and_tolerances_that_make_no_sense():
    x, y = array([0], [1], [3]), array(0, 1, 0)
    for l2 in (-0.1, np.nan):
        for name, call in (("linear_loss", linear_loss), ("logistic_loss", logistic_loss)):
            with expect_raises(ValueError, what=f"{name} with l2 = {l2}"):
                call(array(1), 0.0, x, y, l2)
        with expect_raises(ValueError, what=f"fit_linear with l2 = {l2}"):
            fit_linear(x, y, l2)
    for l2, tol in ((0.0, 1e-8), (-0.1, 1e-8), (np.nan, 1e-8), (0.1, 0.0), (0.1, -1e-8), (0.1, np.nan)):
        with expect_raises(ValueError, what=f"fit_logistic with l2 = {l2}, tol = {tol}"):
            fit_logistic(x, y, l2, tol=tol)


def test_a_descent_that_makes_no_sense():
    for lr, steps in ((0.0, 3), (-0.1, 3), (np.nan, 3), (0.1, -1)):
        with expect_raises(ValueError, what=f"gradient_descent with lr = {lr}, steps = {steps}"):
            gradient_descent(bowl, array(0, 1), 0.0, lr=lr, steps=steps)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_fits_refuse_what_is_not_finite(value):
    x, y = array([0, 1], [1, 0], [3, 1]), array(0, 1, 0)
    bad_x, bad_y = x.copy(), y.copy()
    bad_x[1, 0] = bad_y[2] = value
    with expect_raises(ValueError, what=f"fit_linear with {value} in x"):
        fit_linear(bad_x, y)
    with expect_raises(ValueError, what=f"fit_linear with {value} in y"):
        fit_linear(x, bad_y)
    with expect_raises(ValueError, what=f"fit_logistic with {value} in x"):
        fit_logistic(bad_x, y, 0.1)


def test_a_tol_below_the_roundings(rng):
    """Nobody gets there, so it is said."""
    x = normal(rng, 30, 8)
    y = labels(rng, x, [1] * 8)
    logistic(x, y, 0.1)  # written at all: NotImplementedError is a RuntimeError
    hint = "end with an error after so many steps, and not with weights that are not what was asked for"
    with called_for("fit_logistic with tol=1e-300"), expect_raises(RuntimeError, what="tol=1e-300", hint=hint):
        fit_logistic(x, y, 0.1, tol=1e-300)
