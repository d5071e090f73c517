"""Stage 3. Every dtype, points far from the origin, one source of randomness."""

import numpy as np
import pytest

from dojo.testing import expect, expect_equal, randint
from dojo.testing.arrays import normal
from katas.kmeans import assign, kmeans, kmeans_plus_plus, update

from .helpers import (
    DTYPES,
    FAR,
    assigned,
    clustered,
    expect_array,
    expect_dtype,
    expect_labels,
    expect_number,
    generator,
    groups,
    on_grid,
    row_of,
)

WIDEN = (
    "x.astype(np.float64) before the first operation: squares and sums overflow, wrap around or round in narrow dtypes"
)
MIDDLE = "subtract the same point, the mean for example, from points and centres before the trick with the products"
LARGE = {"float16": 300.0, "float32": 1e25, "float64": 1e30}  # squares leave the range of the two narrow ones


def points(rng, dtype, n=24, d=3):
    """Large points in a floating dtype; in an integer dtype, points that fill its range (up to 2^40)."""
    if dtype in LARGE:
        return normal(rng, n, d, spread=LARGE[dtype]).astype(dtype)
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**40)), min(limits.max, 2**40)
    return randint(rng, low, high, n, d).numpy().astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_types_of_the_results(rng, dtype):
    """Means are no pixels and no float16 numbers, so that centres are float64, whatever the points are."""
    x, hint = points(rng, dtype), "centres in float64, labels in int64"
    labels, inertia = assigned(x, x[:2])
    expect_dtype(labels, np.int64, what=f"the labels that assign gives points in {dtype}", hint=hint)
    expect(isinstance(inertia, float), f"inertia should be a float, but is {type(inertia).__name__}", hint="float(...)")
    expect_dtype(update(x, labels, x[:2]), np.float64, what=f"update of points and centres in {dtype}", hint=hint)
    got = kmeans_plus_plus(x, 2, rng=generator(rng))
    expect_dtype(got, np.float64, what=f"kmeans_plus_plus of points in {dtype}", hint=hint)
    got = clustered(x, 2, init=x[:2])
    expect_dtype(got.centers, np.float64, what=f"the centers of points and init in {dtype}", hint=hint)
    expect_dtype(got.labels, np.int64, what=f"the labels of points in {dtype}", hint=hint)
    for name, kind in (("inertia", float), ("iterations", int)):
        value = getattr(got, name)
        expect(isinstance(value, kind), f"{name} should be a {kind.__name__}, but is {type(value).__name__}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_points_of_every_dtype_are_clustered_like_their_float64_copies(rng, dtype):
    """The squares of 300 leave float16, the difference of two uint8 numbers wraps around, and so does a sum of int8."""
    x = points(rng, dtype)
    wide = x.astype(np.float64)
    labels, inertia = assigned(x, x[:3])
    want, inertia_wide = assigned(wide, wide[:3])
    expect_labels(labels, want, what=f"assign in {dtype}", hint=WIDEN)
    unit = inertia_wide  # the numbers of a dtype may be huge
    expect_number(inertia / unit, 1, what=f"inertia in {dtype}, over that of the float64 copy", hint=WIDEN)
    size = np.abs(wide).max()
    got = update(x, want, x[:3])
    expect_array(got / size, update(wide, want, wide[:3]) / size, what=f"update in {dtype}, scaled", hint=WIDEN)
    got, plain = clustered(x, 3, init=x[:3]), clustered(wide, 3, init=wide[:3])
    expect_labels(got.labels, plain.labels, what=f"kmeans in {dtype}", hint=WIDEN)
    expect_array(got.centers / size, plain.centers / size, what=f"the centers in {dtype}, scaled", hint=WIDEN)
    seed = int(randint(rng, 0, 2**40, 1))
    got = kmeans_plus_plus(x, 5, rng=np.random.default_rng(seed))
    want = kmeans_plus_plus(wide, 5, rng=np.random.default_rng(seed))
    expect_array(got / size, want / size, what=f"kmeans_plus_plus in {dtype}, scaled", hint=WIDEN)


def test_points_and_centres_of_two_dtypes(rng):
    """Pixels between centres that are no pixels: the fractions count."""
    x, centers = randint(rng, 0, 256, 20, 3).numpy().astype(np.uint8), normal(rng, 3, 3) * 50 + 100
    labels, inertia = assigned(x, centers)
    want, inertia_wide = assigned(x.astype(np.float64), centers)
    expect_labels(labels, want, what="assign of uint8 points to float64 centres", hint=WIDEN)
    expect_number(inertia, inertia_wide, what="the inertia of uint8 points around float64 centres", hint=WIDEN)
    got = update(x, np.zeros(20, np.int64), centers)
    expect_array(got[1:], centers[1:], what="centres without uint8 points", hint="a centre that stays is not rounded")


@pytest.mark.parametrize("step", [-1.0, 1.0])
def test_labels_of_points_far_from_the_origin(rng, step):
    """At 1.3e8 the squares are 1.8e16, where float64 has only even numbers: |x|^2 - 2 x.c + |c|^2 is noise there."""
    x, centers = on_grid(normal(rng, 60, 3)), on_grid(normal(rng, 5, 3))
    labels, inertia = assigned(x, centers)
    far = step * FAR * np.array([1.0, -1, 0.5])
    got, inertia_far = assigned(x + far, centers + far)
    expect_labels(got, labels, what="assign, shifted by 1.3e8", hint=MIDDLE)
    hint = "add up the squared differences of each point and its own centre: what cancels leaves noise, even below 0"
    expect_number(inertia_far, inertia, what="the inertia of points that are shifted by 1.3e8", hint=hint, within=1e-6)


def test_a_far_centre_does_not_spoil_the_middle(rng):
    """The points are at 1.3e8 and a forgotten centre at 0. The mean of the points lies among them, whatever the centres do."""
    x, centers = on_grid(normal(rng, 40, 2)), on_grid(normal(rng, 3, 2))
    labels, _ = assigned(x, centers)
    got, _ = assigned(x + FAR, np.concatenate([centers + FAR, np.zeros((1, 2))]))
    expect_labels(got, labels, what="assign of points at 1.3e8 with one centre at 0", hint="the mean of the points")


def test_kmeans_far_from_the_origin(rng):
    """All iterations, and the means among them."""
    x, _ = groups(rng, 12, 7, 9, apart=8.0)
    plain, got = clustered(x, 3, init=x[:3]), clustered(x + FAR, 3, init=x[:3] + FAR)
    expect_labels(got.labels, plain.labels, what="kmeans, shifted by 1.3e8", hint=MIDDLE)
    what = "the centers of kmeans, shifted by 1.3e8 and back"
    expect_array(got.centers - FAR, plain.centers, what=what, hint=MIDDLE, within=1e-6)
    expect_number(got.inertia, plain.inertia, what="the inertia of kmeans, shifted by 1.3e8", hint=MIDDLE, within=1e-6)


def test_float32_points_at_ten_thousand(rng):
    """Where float32 has steps of 0.001, and its squares steps of 8."""
    x = (1e4 + normal(rng, 50, 2, spread=0.05)).astype(np.float32)
    wide = x.astype(np.float64)
    got, plain = clustered(x, 4, init=x[:4]), clustered(wide, 4, init=wide[:4])
    expect_labels(got.labels, plain.labels, what="kmeans of float32 points at 1e4", hint=WIDEN)
    expect_array(got.centers, plain.centers, what="the centers of float32 points at 1e4", hint=WIDEN, within=1e-12)


def test_first_centres_far_from_the_origin(rng):
    """Eight points, each three times: with all distances right, the first eight centres are the eight points. A squared
    distance that should be 0 and comes out as 8 draws a point again, and one below 0 is no probability."""
    x = np.repeat(on_grid(normal(rng, 8, 2)), 3, axis=0) + FAR
    numbers = generator(rng)
    for _ in range(10):
        got = kmeans_plus_plus(x, 8, rng=numbers)
        rows = sorted((row_of(x, got) // 3).tolist())
        expect_equal(rows, list(range(8)), what="the sorted groups of the first centres at 1.3e8", hint=MIDDLE)


def test_any_layout_in_memory(rng):
    """Every other row, columns in reverse, and an array that is a transpose of another."""
    x, init = normal(rng, 30, 4), normal(rng, 3, 4)
    plain = clustered(x, 3, init=init)
    wide = np.zeros((60, 4))
    wide[::2] = x
    for name, layout in {"rows apart": wide[::2], "columns first": np.asfortranarray(x)}.items():
        got = clustered(layout, 3, init=np.asfortranarray(init))
        expect_labels(got.labels, plain.labels, what=f"kmeans of points with {name}")
        expect_array(got.centers, plain.centers, what=f"the centers of points with {name}")
    got = clustered(x[:, ::-1], 3, init=init[:, ::-1])
    expect_array(got.centers, plain.centers[:, ::-1], what="the centers of points whose columns are reversed")


@pytest.mark.parametrize("name", ["kmeans_plus_plus", "kmeans"])
def test_the_generator_decides_every_draw(rng, name):
    """Equal seeds give equal results, another seed and the next call give others, and NumPy's global stream is neither read
    nor moved."""
    x, seed = normal(rng, 300, 2), int(randint(rng, 0, 2**40, 1))

    def draw(numbers):
        got = (
            kmeans_plus_plus(x, 4, rng=numbers) if name == "kmeans_plus_plus" else kmeans(x, 4, rng=numbers, max_iter=1)
        )
        return got if name == "kmeans_plus_plus" else got.centers

    hint = "draw from rng, which is given: not from np.random, and from no generator of your own"
    before = np.random.get_state()
    numbers = np.random.default_rng(seed)
    first, following = draw(numbers), draw(numbers)
    after = np.random.get_state()
    quiet = before[2] == after[2] and (before[1] == after[1]).all()
    expect(quiet, f"{name} should leave NumPy's global stream alone, but draws from it or seeds it", hint=hint)
    np.random.random(3)  # what reads the global stream finds other numbers from here on
    expect_array(draw(np.random.default_rng(seed)), first, what=f"{name} with an equally seeded generator", hint=hint)
    for how, other in (("the next call", following), ("another seed", draw(np.random.default_rng(seed + 1)))):
        same = np.shape(other) == np.shape(first) and np.array_equal(other, first)
        expect(not same, f"{name} should give other centres with {how}, but gives the same", hint=hint)


def test_repeated_calls_give_the_same(rng):
    """Nothing is kept between two calls."""
    x, init = normal(rng, 20, 2), normal(rng, 3, 2)
    first = clustered(x, 3, init=init)
    clustered(x[:9] + 4, 2, init=init[:2])
    got = clustered(x, 3, init=init)
    expect_array(got.centers, first.centers, what="the centers of a repeated call")
    expect_equal(assign(x, init)[1], assign(x, init)[1], what="the inertia of a repeated call")
