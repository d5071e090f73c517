"""Boxes, and checks of what kind of thing came back."""

import torch

from dojo.testing import expect, expect_equal, numbers, randint, randn
from katas.nms import batched_nms, nms

APART = "a shared side is at least 0: clamp both sides before you multiply them"
WALK = "from the best score down: keep a box, then drop those left whose IoU with it is larger than the threshold"
TIES = "sort in a stable way: torch.argsort(scores, descending=True, stable=True)"


def boxes(*rows, dtype=torch.float32):
    """One box for each row (x1, y1, x2, y2)."""
    return torch.tensor(rows, dtype=dtype).reshape(-1, 4)


def whole(rng, n, high=12):
    """n boxes with whole corners in [0, high], of an area that is not 0."""
    corners = torch.stack([torch.randperm(high + 1, generator=rng)[:2].sort().values for _ in range(2 * n)])
    return corners.reshape(n, 2, 2).transpose(1, 2).reshape(n, 4).float()


def squares(given):
    """Which of 12 x 12 unit squares lie in each box: [n, 12, 12]."""
    middle = torch.arange(12) + 0.5
    columns, rows = ((middle > given[:, axis, None]) & (middle < given[:, axis + 2, None]) for axis in (0, 1))
    return rows[:, :, None] & columns[:, None]


def rough(rng, n, spread=3.0, dtype=torch.float64):
    """n boxes with sides from 1 to 5, whose centres scatter by `spread`: some overlap much, some little, some not at all."""
    middle, half = spread * randn(rng, n, 2), 1.5 + randn(rng, n, 2).tanh()
    return torch.cat([middle - half, middle + half], 1).to(dtype)


def clusters(rng, count, each):
    """`count` groups of `each` boxes, shuffled: those of a group overlap by more than 0.8, groups are apart."""
    group = torch.arange(count * each)[torch.randperm(count * each, generator=rng)] % count
    base = 100.0 * group[:, None] + torch.tensor([0.0, 0, 40, 60])
    return base + randint(rng, 0, 3, count * each, 4).float(), group


def distinct(rng, n, dtype=torch.float64):
    """n different scores, in a random order."""
    return ((1 + torch.randperm(n, generator=rng)) / 256).to(dtype)


def expect_kept(got, want, *, what, hint=WALK):
    """`got` is an int64 tensor of these indices in this order."""
    expect(isinstance(got, torch.Tensor), f"{what} should be a tensor of indices, but is {got!r}"[:200])
    sentence = f"{what} should be indices in int64, of shape [{len(want)}], but is {list(got.shape)} in {got.dtype}"
    expect(got.dtype == torch.int64 and got.dim() == 1, sentence, hint="return the indices of the boxes that are kept")
    expect_equal(got.tolist(), list(want), what=what, hint=hint)


def kept_by(given, scores, threshold, *, what="the result of nms"):
    """The indices that nms keeps, as a list. Scores may be a list."""
    got = nms(given, numbers(*scores) if isinstance(scores, list) else scores, threshold)
    expect_kept(got, got.tolist() if isinstance(got, torch.Tensor) else (), what=what)
    return got.tolist()


def of_classes(given, scores, classes, threshold):
    """What batched_nms returns. Scores and classes may be lists."""
    scores = numbers(*scores) if isinstance(scores, list) else scores
    return batched_nms(given, scores, torch.as_tensor(classes, dtype=torch.int64), threshold)
