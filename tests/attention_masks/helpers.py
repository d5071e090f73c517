"""Masks as pictures, a check of masks, packed documents, and inputs of attention."""

import torch

from dojo.testing import Wrong, expect_equal, randint, randn
from dojo.testing.describe import describe


def picture(*rows):
    """A mask, drawn: x = attend."""
    return torch.tensor([[c == "x" for c in row] for row in rows])


def expect_mask(actual, expected, *, what, hint=""):
    """A boolean mask, told by the first pair that is wrong."""
    if not isinstance(actual, torch.Tensor):
        raise Wrong(f"{what} should be a boolean mask of shape {list(expected.shape)}, but is {describe(actual)}")
    expect_equal(list(actual.shape), list(expected.shape), what=f"the shape of {what}", hint=hint)
    expect_equal(actual.dtype, torch.bool, what=f"the dtype of {what}", hint="True = attend")
    wrong = (actual != expected).nonzero().tolist()
    if wrong:
        *row, i, j = wrong[0]
        query = f"{i} of row {row[0] if len(row) == 1 else row}" if row else i
        should = "should see" if expected[(*row, i, j)] else "should not see"
        small = actual.dim() == 2 and actual.numel() <= 64
        lines = [f"expected  {drawn(expected)}", f"got       {drawn(actual)}"] if small else []
        sentence = f"in {what}, query {query} {should} key {j} ({len(wrong)} of {actual.numel()} pairs differ)"
        raise Wrong(sentence, *lines, hint=hint)


def drawn(mask):
    """The opposite of `picture`, on one line."""
    return "  ".join("".join("x" if sees else "." for sees in row) for row in mask.tolist())


def packed(rng, *batch, n=12):
    """Labels of documents of length 1 to 4, in any order, with padding of length 0 to 2 between them.

    Returns documents [*batch, n], and for each row in order the slices of its documents.
    """
    rows, slices = [], []
    for _ in range(torch.Size(batch).numel()):
        row, own = [], []
        for label in torch.randperm(n, generator=rng).tolist():
            length = min(int(randint(rng, 1, 5, 1)), n - len(row))
            if length:
                own.append(slice(len(row), len(row) + length))
            row += [label] * length
            row += [-1] * min(int(randint(rng, 0, 3, 1)), n - len(row))
        rows.append(row)
        slices.append(own)
    return torch.tensor(rows).reshape(*batch, n), slices


def qkv(rng, *shape, dtype=torch.float64):
    """Queries, keys and values of the same shape."""
    return [randn(rng, *shape, dtype=dtype) for _ in range(3)]
