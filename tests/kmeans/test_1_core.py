"""Stage 1. Nearest centres, means, the iterations, k-means++."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from dojo.testing import expect, expect_distribution, expect_equal, randint
from dojo.testing.arrays import column, normal
from katas.kmeans import kmeans_plus_plus, update

from .helpers import (
    assigned,
    clustered,
    expect_array,
    expect_labels,
    expect_means,
    expect_nearest,
    expect_number,
    generator,
    row_of,
)

LINE, STARTS = column(0, 1, 2, 10, 11, 12), column(0, 1)
SQUARED = "|x - c|^2 = |x|^2 - 2 x.c + |c|^2, and only |x|^2 is the same for all centres"
ORDER = "assign once; then in each iteration update, and assign to the new centres"


def test_a_point_goes_to_its_nearest_centre():
    """By the Euclidean distance: (0, 0) is 18 from (3, 3) and 25 from (0, 5), in squares; by the sum of the absolute
    differences it would be the other way round. The far centre (9, 9) has the largest products with all points."""
    x = np.array([[0.0, 0], [1, 5], [8, 8], [4, 2], [-9, 5], [6, 6.5]])
    labels, _ = assigned(x, np.array([[3.0, 3], [0, 5], [9, 9]]))
    expect_labels(labels, [0, 1, 2, 0, 1, 2], what="assign", hint="the smallest squared distance; " + SQUARED)


def test_inertia_is_the_sum_of_squared_distances():
    """3^2 + 4^2, 1^2 and 0: neither a mean nor a sum of roots."""
    x, center = np.array([[4.0, 6], [1, 1], [1, 2]]), np.array([[1.0, 2]])
    hint = "add up the squared distances of all points, without a root and without dividing"
    expect_number(assigned(x, center)[1], 26, what="the inertia of three points around one centre", hint=hint)


def test_inertia_counts_each_point_at_its_own_centre():
    """One point at 1 from its centre and two at 2 from theirs."""
    labels, inertia = assigned(column(1, 8, 12), column(0, 10))
    expect_labels(labels, [0, 1, 1], what="assign")
    expect_number(inertia, 9, what="the inertia of three points around two centres", hint=SQUARED)


@pytest.mark.parametrize(("n", "k", "d"), [(50, 4, 2), (7, 3, 5), (30, 11, 1)])
def test_no_other_centre_is_nearer(rng, n, k, d):
    """Random points and centres, of sizes that all differ."""
    x, centers = normal(rng, n, d), normal(rng, k, d) + 1
    expect_nearest(x, *assigned(x, centers), centers, what=f"assign of {n} points to {k} centres", hint=SQUARED)


def test_a_centre_moves_to_the_mean_of_its_points():
    """The labels come in no order. Where the centres were has no influence."""
    x = np.array([[0.0, 6], [9, 1], [3, 0], [0, 0], [5, 1]])
    for start in (0.0, 7.0):
        got = update(x, np.array([1, 0, 1, 1, 0]), np.full((2, 2), start))
        hint = "sums per label divided by counts per label; sums[labels] += x counts a repeated label only once"
        expect_array(got, [[7, 1], [1, 2]], what=f"the centres after update from {start:g}", hint=hint)


def test_the_centres_are_means_of_random_points(rng):
    """Of 40 points with 5 labels, in 3 dimensions."""
    x, labels = normal(rng, 40, 3), np.concatenate([np.arange(5), randint(rng, 0, 5, 35).numpy()])
    centers = update(x, labels, normal(rng, 5, 3))
    expect_equal(getattr(centers, "shape", None), (5, 3), what="the shape of the centres that update returns")
    expect_means(x, labels, centers, what="update", hint="the mean of the points of a label, not the median")


def test_worked_iterations():
    """From [0, 1], the labels are [0, 1, 1, 1, 1, 1]. The first update gives [0, 7.2], the second [1, 11], and then no label
    changes any more."""
    got = clustered(LINE, 2, init=STARTS)
    expect_array(got.centers, column(1, 11), what="the centers of kmeans for [0, 1, 2, 10, 11, 12]", hint=ORDER)
    expect_labels(got.labels, [0, 0, 0, 1, 1, 1], what="kmeans", hint=ORDER)
    expect_number(got.inertia, 4, what="the inertia of kmeans", hint="that of the centres returned")


def test_iterations_are_counted():
    """As many as there were updates, with the last one, which changes no label. A start from means takes one."""
    got = clustered(LINE, 2, init=STARTS)
    hint = "count the updates: the iteration that changes no label is one, the first assignment is none"
    expect_equal(got.iterations, 2, what="iterations from [0, 1]", hint=hint)
    expect_equal(
        clustered(LINE, 2, init=got.centers).iterations, 1, what="iterations from the final centres", hint=hint
    )


def test_labels_and_inertia_are_those_of_the_centres_returned():
    """After one update: the centres [0, 7.2], and the points 0, 1 and 2 nearest to the first."""
    got = clustered(LINE, 2, init=STARTS, max_iter=1)
    expect_array(got.centers, column(0, 7.2), what="the centers after one iteration", hint=ORDER)
    hint = "assign once more after the last update: labels of the centres before it are one step behind"
    expect_labels(got.labels, [0, 0, 0, 1, 1, 1], what="kmeans with max_iter=1", hint=hint)
    expect_number(got.inertia, 50.32, what="the inertia after one iteration", hint=hint)
    expect_equal(got.iterations, 1, what="iterations with max_iter=1")


def test_inertia_never_rises(rng):
    """Neither a step of the points nor one of the centres can make it larger."""
    x, init = normal(rng, 60, 2), normal(rng, 5, 2)
    runs = [clustered(x, 5, init=init, max_iter=most) for most in range(1, 9)]
    for most, (before, after) in enumerate(pairwise(runs), 2):
        sentence = (
            f"the inertia should not rise, but goes from {before.inertia} to {after.inertia} with max_iter={most}"
        )
        expect(after.inertia <= before.inertia * (1 + 1e-12), sentence, hint=ORDER)
        expect_nearest(x, after.labels, after.inertia, after.centers, what=f"kmeans with max_iter={most}", hint=ORDER)


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_it_stops_at_a_fixed_point(rng, scale):
    """Every centre is the mean of its points, every point is nearest to its centre, however small or large the numbers
    are. A threshold for how far the centres move, or for how much the inertia falls, has a unit."""
    x = normal(rng, 200, 2)
    got = clustered(x * scale, 6, init=x[:6] * scale)
    hint = "stop when no label changes: no threshold, which points that are 1e-9 apart would never pass"
    centers = np.asarray(got.centers, np.float64) / scale
    expect_means(x, got.labels, centers, what=f"kmeans of points times {scale:g}", hint=hint)
    expect_nearest(x, got.labels, got.inertia / scale**2, centers, what=f"kmeans of points times {scale:g}", hint=hint)
    plain = clustered(x, 6, init=x[:6])
    expect_equal(got.iterations, plain.iterations, what=f"iterations of points times {scale:g}", hint=hint)


def test_a_small_gain_is_no_reason_to_stop(rng):
    """Two points that are 2000 apart share a centre. Beside their inertia, that of 60 points within 0.6 is nothing, and
    still these are clustered to the end."""
    near = (column(*range(60)) + 0.1 * normal(rng, 60, 1)) / 100
    x = np.concatenate([near, column(9e3, 11e3)])
    got = clustered(x, 5, init=np.concatenate([near[:4], column(1e4)]))
    hint = "stop when no label changes: no threshold relative to the inertia or to the spread"
    expect_means(x, got.labels, got.centers, what="kmeans with two points far away", hint=hint)
    expect_nearest(near, got.labels[:60], None, got.centers[:4], what="kmeans with two points far away", hint=hint)


def test_the_points_are_clustered_as_they_are():
    """In their own units. Brought to equal spread in both coordinates, the last point would be nearer to the other
    centre."""
    x = np.array([[0.0, 0], [0, 1], [100, 0], [100, 1], [40, 1]])
    got = clustered(x, 2, init=np.array([[0.0, 0], [100, 1]]))
    expect_array(got.centers, [[40 / 3, 2 / 3], [100, 0.5]], what="the centers", hint="do not standardise the points")


def first_rows(rng, x, k, draws):
    """Which points kmeans_plus_plus draws, as [draws, k]."""
    numbers = generator(rng)
    rows = [row_of(x, kmeans_plus_plus(x, k, rng=numbers)) for _ in range(draws)]
    return torch.from_numpy(np.stack(rows))


@pytest.mark.parametrize("k", [1, 3, 6])
def test_first_centres_are_different_points(rng, k):
    """A point that is a centre has the distance 0 to the nearest centre, so nobody draws it again."""
    x, numbers = normal(rng, 6, 2), generator(rng)
    for _ in range(10):
        got = kmeans_plus_plus(x, k, rng=numbers)
        what = f"kmeans_plus_plus of 6 points, k={k}"
        expect_equal(getattr(got, "shape", None), (k, 2), what=f"the shape of {what}", hint="k rows of x")
        rows = row_of(x, got).tolist()
        expect(6 not in rows, f"{what} should return rows of x, but {got.tolist()} are not all", hint="x[chosen]")
        hint = "keep for each point the smallest squared distance so far: np.minimum(nearest, the newest)"
        expect(len({*rows}) == k, f"{what} should return different points, but drew the rows {rows}", hint=hint)


def test_the_first_of_them_is_drawn_uniformly(rng):
    """Wherever the points lie."""
    drawn = first_rows(rng, column(0, 1, 3, 40), 2, 400)[:, 0]
    expect_distribution(drawn, torch.full((4,), 0.25), what="the first centre", hint="rng.integers(n)")


def test_the_second_is_drawn_by_squared_distance(rng):
    """Of the points 0, 1 and 3: after 0, the squares are 0, 1 and 9; after 1 they are 1, 0 and 4; after 3, 9, 4 and 0."""
    drawn = first_rows(rng, column(0, 1, 3), 2, 1000)
    table = torch.tensor([[0, 1 / 10, 9 / 10], [1 / 5, 0, 4 / 5], [9 / 13, 4 / 13, 0]]).double()
    pairs = drawn[:, 0] * 3 + drawn[:, 1]
    hint = "proportional to the squared distance, by one draw: neither the distance, nor the farthest, nor the best of a few"
    expect_distribution(pairs, table.flatten() / 3, what="the pair (first, second) as 3 first + second", hint=hint)


def test_the_third_is_drawn_by_the_distance_to_the_nearest(rng):
    """The points 0, 1, 3 and 7. After 0 and 7, the squares to the nearest are 1 for the point 1 and 9 for the point 3;
    those to the newest alone, or the sum of both, would be others. The table says how often each point is left out."""
    drawn = first_rows(rng, column(0, 1, 3, 7), 3, 1000)
    left = 6 - drawn.sum(1)
    probs = torch.tensor([0.356933, 0.527846, 0.103917, 0.011304]).double()
    hint = "the smaller of the distance so far and that to the newest centre"
    expect_distribution(left, probs / probs.sum(), what="the one point of four that is left out", hint=hint)


def test_kmeans_begins_with_kmeans_plus_plus(rng):
    """Without init, the start is what kmeans_plus_plus draws from an equal generator."""
    x = normal(rng, 40, 3)
    for k in (1, 5, 6, 7, 8):
        seed = int(randint(rng, 0, 2**40, 1))
        got = clustered(x, k, what="kmeans(x, k, rng=rng)", rng=np.random.default_rng(seed), max_iter=2)
        init = kmeans_plus_plus(x, k, rng=np.random.default_rng(seed))
        want = clustered(x, k, init=init, max_iter=2)
        hint = "init = kmeans_plus_plus(x, k, rng=rng), once"
        expect_array(got.centers, want.centers, what="the centers of kmeans without init", hint=hint)
        expect_labels(got.labels, want.labels, what="kmeans without init", hint=hint)
