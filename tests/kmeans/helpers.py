"""Inputs and checks for NumPy arrays. Where the dtype is not the question, numbers are compared as float64."""

import numpy as np
import torch

from dojo.testing import Wrong, expect, expect_close, randint
from dojo.testing.arrays import normal
from dojo.testing.describe import describe
from katas.kmeans import assign, kmeans

DTYPES = ("float16", "float32", "float64", "uint8", "int8", "int16", "int32", "int64")
FAR = 2.0**27  # 1.3e8; what is a multiple of 2^-16 keeps every digit when it is shifted so far


def generator(rng):
    """A NumPy generator, seeded by the test's."""
    return np.random.default_rng(int(randint(rng, 0, 2**60, 1)))


def on_grid(x):
    """The nearest points whose numbers are multiples of 1/256."""
    return np.round(x * 256) / 256


def groups(rng, *sizes, d=2, apart=20.0):
    """As many groups of points as there are sizes, well apart and in order, and the group of each point. The middle of
    the group g has the coordinates (g * apart, 0, ..., 0)."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    x = normal(rng, len(group), d)
    x[:, 0] += apart * group
    return on_grid(x), group


def expect_array(actual, expected, *, what, hint="", within=1e-9):
    """An array with these numbers in this shape."""
    expected = torch.from_numpy(np.array(expected, dtype=np.float64))
    if not isinstance(actual, np.ndarray):
        raise Wrong(f"{what} should be an array of shape {list(expected.shape)}, but is {describe(actual)}", hint=hint)
    expect(actual.dtype.kind in "iuf", f"{what} should hold numbers, but has dtype {actual.dtype}", hint=hint)
    got = torch.from_numpy(np.array(actual, dtype=np.float64))
    expect_close(got, expected, what=what, hint=hint, rtol=within, atol=within)


def expect_number(actual, expected, *, what, hint="", within=1e-9):
    """One number, close to this one."""
    is_number = isinstance(actual, int | float | np.number)
    expect(is_number, f"{what} should be a number, but is {describe(actual)}", hint=hint)
    got, want = (torch.tensor(float(each), dtype=torch.float64) for each in (actual, expected))
    expect_close(got, want, what=what, hint=hint, rtol=within, atol=within)


def expect_dtype(actual, dtype, *, what, hint=""):
    expect(isinstance(actual, np.ndarray), f"{what} should be an array, but is {describe(actual)}", hint=hint)
    expect(actual.dtype == dtype, f"{what} should have dtype {dtype}, but has {actual.dtype}", hint=hint)


def assigned(x, centers, *, what="assign(x, centers)"):
    """The labels and the inertia that assign gives, where they have the right form."""
    result = assign(x, centers)
    pair = isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], np.ndarray)
    expect(pair, f"{what} should be (labels, inertia), an array and a number, but is {describe(result)}")
    labels, inertia = result
    expect_form(labels, len(x), what=what)
    return labels, inertia


def expect_form(labels, n, *, what):
    """An array of n integers."""
    kind = f"{describe(labels)} of dtype {labels.dtype}" if isinstance(labels, np.ndarray) else describe(labels)
    fits = isinstance(labels, np.ndarray) and labels.shape == (n,) and labels.dtype.kind in "iu"
    expect(fits, f"the labels of {what} should be {n} integers in one array of shape [{n}], but are {kind}")


def clustered(x, k, what="kmeans(x, k, init=init)", **options):
    """The result of kmeans, where it has the right form."""
    result = kmeans(x, k, **options)
    for name in ("centers", "labels", "inertia", "iterations"):
        expect(hasattr(result, name), f"{what} should return a KMeansResult with {name}, but is {describe(result)}")
    expect_form(result.labels, len(x), what=what)
    shape = getattr(result.centers, "shape", describe(result.centers))
    want = (k, x.shape[1])
    expect(shape == want, f"the centers of {what} should be an array of shape {list(want)}, but have {shape}")
    return result


def expect_labels(actual, expected, *, what, hint=""):
    """These labels; where one differs, the first such point is named."""
    expected = np.asarray(expected)
    wrong = np.flatnonzero(actual != expected)
    if len(wrong):
        first = wrong[0]
        sentence = f"{what} should give point {first} the label {expected[first]}, but gives it {actual[first]}"
        lists = f"expected {expected.tolist()}\ngot      {actual.tolist()}" if len(expected) <= 16 else ""
        raise Wrong(f"{sentence} ({len(wrong)} of {len(expected)} labels differ)", lists, hint=hint)


def expect_nearest(x, labels, inertia, centers, *, what, hint=""):
    """No centre is nearer to a point than that of its label; the inertia, if given, is the sum of the squared distances."""
    both = (torch.from_numpy(np.array(each, np.float64)) for each in (x, centers))
    apart = torch.cdist(*both, compute_mode="donot_use_mm_for_euclid_dist")
    own = apart[torch.arange(len(x)), torch.from_numpy(labels.astype(np.int64)) % len(centers)]
    worst = int((own - apart.min(1).values).argmax())
    nearest = int(apart[worst].argmin())
    sentence = f"the centre nearest to point {worst} is {nearest}, at {apart[worst, nearest]:.6g}, but {what} gives it"
    close = own[worst] <= apart[worst, nearest] + 1e-7
    expect(close, f"{sentence} the label {labels[worst]}, at {own[worst]:.6g}", hint=hint)
    if inertia is not None:
        what = f"the inertia of {what}"
        expect_number(inertia, own.square().sum(), what=what, hint=hint, within=1e-6)


def expect_means(x, labels, centers, *, what, hint=""):
    """Around each centre, the points of its label lie so that their deviations from it add up to 0."""
    for label in np.unique(labels):
        deviations = (x[labels == label] - centers[label]).sum(0)
        sentence = f"the deviations of the points of label {label} from the centre that {what} gives them"
        expect_array(deviations, np.zeros(x.shape[1]), what=sentence, hint=hint, within=1e-6)


def expect_own_memory(result, *arguments, what):
    """The result can be changed without a change of an argument."""
    for argument in arguments:
        shared = isinstance(result, np.ndarray) and np.shares_memory(result, argument)
        expect(not shared, f"{what} should share no memory with an argument, but does", hint="return a copy")


def row_of(x, centers):
    """The index of the point that each centre is; n for one that is no point."""
    same = (np.asarray(centers)[:, None] == np.asarray(x)[None]).all(2)
    return np.where(same.any(1), same.argmax(1), len(x))
