"""Stage 4. Cost."""

from dojo.testing import expect_equal
from katas.data_pipeline import channel_stats, make_loaders

from .helpers import SHARES, everything, photos


class Counting:
    """A dataset that notes what is read."""

    def __init__(self, images, labels):
        self.pairs = list(zip(images, labels, strict=True))
        self.reads = []

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        self.reads.append(int(index))
        return self.pairs[index]


def test_statistics_read_every_sample_once(rng):
    """Reading and decoding is what data cost: one pass does for both numbers."""
    dataset = Counting(*photos(rng, 12))
    channel_stats(dataset)
    hint = "sums of x and of x squared come from the same pass"
    expect_equal(sorted(dataset.reads), list(range(12)), what="the indices read", hint=hint)


def test_images_are_read_when_they_are_needed(rng):
    """Setting up measures the training part, and touches nothing else: what is never read cannot leak. Afterwards a
    batch reads its own samples only, so that a dataset may be larger than memory."""
    dataset = Counting(*photos(rng, 20))
    loaders = make_loaders(dataset, SHARES, 2, generator=rng)
    before = sorted(dataset.reads)
    training = sorted(everything(loaders[0])[1].tolist())
    expect_equal(before, training, what="the indices read by make_loaders", hint="the training part, once")
    dataset.reads.clear()
    _, labels = next(iter(loaders[1]))
    expect_equal(dataset.reads, labels.tolist(), what="the indices read for one batch", hint="read in __getitem__")
