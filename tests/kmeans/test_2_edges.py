"""Stage 2. Empty clusters, ties, duplicates, one cluster and n clusters, no points, wrong arguments."""

import numpy as np
import pytest
import torch

from dojo.testing import expect, expect_distribution, expect_equal, expect_raises, expect_unchanged, randint
from dojo.testing.arrays import column, normal
from katas.kmeans import assign, kmeans, kmeans_plus_plus, update

from .helpers import (
    assigned,
    clustered,
    expect_array,
    expect_labels,
    expect_number,
    expect_own_memory,
    generator,
    groups,
)
from .probe import chain

KEEP = "a cluster without points has no mean: 0 / 0. Its centre stays where it is"
LINE = column(0, 4, 6, 10)


@pytest.mark.parametrize("empty", [(0,), (2,), (4,), (1, 3), (0, 1, 3, 4), (0, 1, 2, 3, 4)], ids=str)
def test_a_centre_without_points_stays(rng, empty):
    """The first, the last, several, all of five. The others move to their means."""
    x, centers = normal(rng, 12, 2), normal(rng, 5, 2) + 9
    full = [label for label in range(5) if label not in empty]
    x = x[: 4 * len(full)]
    labels = np.arange(len(x)) % max(len(full), 1)
    labels = np.array(full, dtype=np.int64)[labels]
    got = update(x, labels, centers)
    want = centers.copy()
    for label in full:
        want[label] = x[labels == label].mean(0)
    expect_array(got, want, what=f"update of five centres, of which {list(empty)} have no points", hint=KEEP)


def test_a_centre_with_one_point_moves_onto_it():
    """One is enough for a mean."""
    got = update(column(3, 5, 8), np.array([0, 1, 1]), column(1, 9))
    expect_array(got, column(3, 6.5), what="update with one point of label 0 and two of label 1")


def test_a_far_centre_is_carried_along(rng):
    """To the end, and its index stays free."""
    x, group = groups(rng, 5, 8)
    init = np.array([[0.0, 1], [900, 900], [18, 0]])
    got = clustered(x, 3, init=init)
    expect_labels(got.labels, 2 * group, what="kmeans with a far centre as number 1", hint=KEEP)
    means = [x[group == 0].mean(0), init[1], x[group == 1].mean(0)]
    expect_array(got.centers, means, what="the centers of kmeans with a far centre as number 1", hint=KEEP)


def test_an_empty_cluster_may_get_points_later():
    """At first 20 is the nearest centre of all points. The two others wait, until it has moved to 11.8: then 17 and 20
    are nearer to 21, and after that 20 is nearer to 22."""
    got = clustered(column(2, 6, 14, 17, 20), 3, init=column(20, 21, 22))
    hint = "an empty cluster takes part in the next assignment like all others"
    expect_array(got.centers, column(4, 15.5, 20), what="the centers from [20, 21, 22]", hint=hint)
    expect_equal(got.iterations, 4, what="iterations from [20, 21, 22]", hint=hint)


def test_a_tie_goes_to_the_lowest_index():
    """5 is as near to 4 as to 6. All numbers here are exact in binary."""
    for centers, want in ((column(4, 6), [0, 0, 1, 0]), (column(6, 4), [1, 0, 0, 0]), (column(-1, 6, 4), [0, 1, 1, 1])):
        got, _ = assigned(column(0, 5, 6, 5), centers)
        what = f"assign of the points [0, 5, 6, 5] to the centres {centers.ravel().tolist()}"
        expect_labels(got, want, what=what, hint="np.argmin takes the first of equal minima")


def test_of_equal_centres_the_first_gets_the_points():
    """And the second stays without any."""
    labels, inertia = assigned(LINE, column(5, 5, 9, 9))
    expect_labels(labels, [0, 0, 0, 2], what="assign to the centres [5, 5, 9, 9]", hint="np.argmin")
    expect_number(inertia, 25 + 1 + 1 + 1, what="the inertia with the centres [5, 5, 9, 9]")


@pytest.mark.parametrize("n", [1, 9])
def test_one_cluster_is_the_mean(rng, n):
    """And its inertia n times the variance. The first iteration changes no label."""
    x = normal(rng, n, 3)
    got = clustered(x, 1, what="kmeans with k=1", init=x[:1] + 5)
    expect_array(got.centers, x.mean(0)[None], what=f"the centers of {n} points with k=1")
    expect_number(got.inertia, n * x.var(0).sum(), what=f"the inertia of {n} points with k=1")
    expect_equal(got.iterations, 1, what="iterations with k=1")


def test_as_many_clusters_as_points(rng):
    """Every point is a centre, and the inertia is 0."""
    x = normal(rng, 7, 2)
    got = clustered(x, 7, what="kmeans with k=n", rng=generator(rng))
    expect_equal(sorted(got.labels.tolist()), list(range(7)), what="the sorted labels with k = n = 7")
    expect_number(got.inertia, 0, what="the inertia with k = n = 7")
    hint = "k = n is no special case: the centres of init keep their order, and two points can share one"
    got = clustered(x, 7, what="kmeans with k=n", init=x[::-1])
    expect_labels(got.labels, np.arange(7)[::-1], what="kmeans with k = n = 7, from the reversed points", hint=hint)
    got = clustered(column(0, 1, 9), 3, what="kmeans with k=n", init=column(0, 50, 9))
    expect_labels(got.labels, [0, 0, 2], what="kmeans of [0, 1, 9] with k=3, from [0, 50, 9]", hint=hint)
    expect_array(got.centers, column(0.5, 50, 9), what="the centers of [0, 1, 9] with k=3, from [0, 50, 9]", hint=hint)


def test_no_points_at_all():
    """Nothing to assign, and nothing that moves a centre."""
    nothing, centers = np.zeros((0, 2)), np.array([[1.0, 2], [3, 4], [5, 6]])
    labels, inertia = assigned(nothing, centers)
    expect_number(inertia, 0, what="the inertia of no points", hint="the sum over nothing is 0")
    got = update(nothing, labels.astype(np.int64), centers)
    expect_array(got, centers, what="update without points", hint=KEEP)


def test_fewer_distinct_points_than_centres(rng):
    """Two distinct points, and k=4. Both are drawn; then all distances are 0, and any point is as good as another."""
    x, numbers = column(0, 0, 0, 1, 0), generator(rng)
    drawn = []
    for _ in range(200):
        got = kmeans_plus_plus(x, 4, rng=numbers)
        hint = "if the sum of the squared distances is 0, draw uniformly: nearest / 0 is NaN"
        expect_equal(getattr(got, "shape", None), (4, 1), what="the shape of 4 centres of [0, 0, 0, 1, 0]", hint=hint)
        ones = [value == 1 for value in got.ravel().tolist()]
        expect(any(ones[:2]), f"the first two centres should be 0 and 1, but are {got[:2].tolist()}", hint=hint)
        drawn.append(int(ones[2]))
    uniform = torch.tensor([0.8, 0.2]).double()
    expect_distribution(torch.tensor(drawn), uniform, what="the third centre of [0, 0, 0, 1, 0]", hint=hint)
    got = clustered(x, 4, what="kmeans with two distinct points", rng=numbers)
    expect_number(got.inertia, 0, what="the inertia of two distinct points with k=4")


def test_all_points_equal(rng):
    """All are centre 0's."""
    x = np.full((6, 2), 0.5)
    got = clustered(x, 3, what="kmeans of equal points", rng=generator(rng))
    expect_array(got.centers, x[:3], what="the centers of equal points")
    expect_labels(got.labels, np.zeros(6, np.int64), what="kmeans of equal points", hint="np.argmin")


def test_max_iter_is_the_most():
    """310 points of which each iteration moves one to the other cluster: 309 iterations, if they are not stopped."""
    x = chain(310) + 5
    got = clustered(x, 2, init=x[:2])
    expect_equal(got.iterations, 300, what="iterations by default", hint="max_iter is 300 unless it is given")
    for most in (1, 2, 5):
        got = clustered(x, 2, init=x[:2], max_iter=most)
        expect_equal(got.iterations, most, what=f"iterations with max_iter={most}", hint="stop after max_iter updates")


def test_the_order_of_points_has_no_influence(rng):
    """Permuted points give permuted labels, permuted first centres give permuted names."""
    x, _ = groups(rng, 9, 4, 7, apart=4.0)
    init = x[[0, 10, 19]]
    plain = clustered(x, 3, init=init)
    order = randint(rng, 0, 2**40, len(x)).argsort().numpy()
    got = clustered(x[order], 3, init=init)
    expect_array(got.centers, plain.centers, what="the centers of permuted points")
    expect_labels(got.labels, plain.labels[order], what="kmeans of permuted points")
    got = clustered(x, 3, init=init[[2, 0, 1]])
    what = "with the first centres in the order 2, 0, 1"
    expect_array(got.centers, plain.centers[[2, 0, 1]], what=f"the centers {what}", hint="keep the order of init")
    expect_labels(got.labels, (plain.labels + 1) % 3, what=f"kmeans {what}")


def test_arguments_are_left_alone(rng):
    """init is still the start of the next run, and no result is a view of an argument."""
    x, labels = normal(rng, 8, 2), np.array([0, 1, 1, 0, 0, 1, 0, 0])
    init = normal(rng, 3, 2) + np.array([[0.0, 0], [1, 0], [99, 0]])
    for name, call in {
        "assign": lambda: assign(x, init)[0],
        "update": lambda: update(x, labels, init),
        "update without points": lambda: update(x[:0], labels[:0], init),
        "kmeans": lambda: kmeans(x, 3, init=init).centers,
        "kmeans_plus_plus": lambda: kmeans_plus_plus(x, 3, rng=generator(rng)),
        "kmeans_plus_plus with k=n": lambda: kmeans_plus_plus(x, 8, rng=generator(rng)),
    }.items():
        with expect_unchanged(*map(torch.from_numpy, (x, labels, init)), what=f"the arguments of {name}"):
            result = call()
        expect_own_memory(result, x, labels, init, what=f"the result of {name}")


def test_with_init_nothing_is_drawn(rng):
    """A generator beside init is for nothing, and is left as it is."""
    x, numbers = normal(rng, 20, 2), np.random.default_rng(5)
    got = clustered(x, 3, init=x[:3], rng=numbers)
    expect_array(got.centers, clustered(x, 3, init=x[:3]).centers, what="the centers with both init and rng")
    same = numbers.random() == np.random.default_rng(5).random()
    expect(same, "kmeans should draw nothing from rng where init is given, but does", hint="draw only without init")


@pytest.mark.parametrize("k", [-1, 0, 6, 7])
def test_k_must_be_in_range(rng, k):
    """At least one centre, and no more than points."""
    x = normal(rng, 5, 2)
    with expect_raises(ValueError, what=f"kmeans_plus_plus of 5 points with k={k}"):
        kmeans_plus_plus(x, k, rng=generator(rng))
    with expect_raises(ValueError, what=f"kmeans of 5 points with k={k}"):
        kmeans(x, k, rng=generator(rng))
    with expect_raises(ValueError, what=f"kmeans of 5 points with k={k} and as many first centres"):
        kmeans(x, k, init=np.zeros((max(k, 0), 2)))


@pytest.mark.parametrize("k", [0, 1])
def test_no_points_cannot_be_clustered(rng, k):
    """k is not in [1, 0], whatever it is."""
    nothing = np.zeros((0, 2))
    with expect_raises(ValueError, what=f"kmeans_plus_plus of no points with k={k}"):
        kmeans_plus_plus(nothing, k, rng=generator(rng))
    with expect_raises(ValueError, what=f"kmeans of no points with k={k}"):
        kmeans(nothing, k, init=np.zeros((k, 2)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_must_be_finite(rng, bad):
    """A NaN in one point makes centres NaN, and then all labels 0."""
    x, init = normal(rng, 5, 2), normal(rng, 2, 2)
    spoiled, start = x.copy(), init.copy()
    spoiled[3, 1] = start[1, 0] = bad
    hint = "np.isfinite(x).all()"
    with expect_raises(ValueError, what=f"kmeans_plus_plus with a point that holds {bad}", hint=hint):
        kmeans_plus_plus(spoiled, 2, rng=generator(rng))
    with expect_raises(ValueError, what=f"kmeans with a point that holds {bad}", hint=hint):
        kmeans(spoiled, 2, init=init)
    with expect_raises(ValueError, what=f"kmeans with init that holds {bad}", hint=hint):
        kmeans(x, 2, init=start)


def test_init_must_be_k_centres_of_d_numbers(rng):
    """NumPy would broadcast a single number, or a single row, without a word."""
    x = normal(rng, 6, 2)
    for shape in ((2, 2), (4, 2), (3, 1), (3, 3), (1, 2)):
        with expect_raises(ValueError, what=f"kmeans with k=3, d=2 and init of shape {list(shape)}"):
            kmeans(x, 3, init=np.zeros(shape))


@pytest.mark.parametrize("most", [0, -3])
def test_max_iter_must_be_positive(rng, most):
    """There is at least one update."""
    x = normal(rng, 6, 2)
    with expect_raises(ValueError, what=f"kmeans with max_iter={most}"):
        kmeans(x, 2, init=x[:2], max_iter=most)


def test_a_start_must_be_given(rng):
    """A generator of one's own would make runs that nobody can repeat."""
    with expect_raises(ValueError, what="kmeans with neither init nor rng"):
        kmeans(normal(rng, 6, 2), 2)
