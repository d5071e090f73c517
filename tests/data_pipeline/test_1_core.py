"""Stage 1. Each piece, and the loaders once."""

import torch
from torch.utils.data import DataLoader

from dojo.testing import draw, expect, expect_close, expect_distribution, expect_equal, seeded
from katas.data_pipeline import ImageDataset, channel_stats, make_loaders, random_flip, split_indices

from .helpers import SHARES, everything, photos


def test_every_index_is_in_exactly_one_part(seed):
    """10 samples by 0.7, 0.2, 0.1. A sample that is in two parts is tested on after it was trained on."""
    parts = split_indices(10, (0.7, 0.2, 0.1), generator=seeded(seed))
    expect_equal([len(part) for part in parts], [7, 2, 1], what="the sizes of a 0.7, 0.2, 0.1 split of 10")
    together = sorted(int(i) for part in parts for i in part)
    expect_equal(together, list(range(10)), what="all indices, sorted", hint="cut one permutation into pieces")


def test_the_split_is_random(rng):
    """Data often lie sorted by class: the last tenth may be one class. Each index is left out equally often.
    Chi-square, N = 1000: 1e-6 false alarms."""
    held_out = draw(lambda: torch.tensor([int(i) for i in split_indices(8, (0.875, 0.125), generator=rng)[1]]), 1000)
    hint = "permute the indices with torch.randperm before you cut them"
    expect_distribution(held_out, torch.full((8,), 1 / 8), what="the index that is held out", hint=hint)


def test_a_dataset_pairs_each_image_with_its_label(rng):
    """len and [i] are all that a DataLoader asks of a dataset."""
    images, labels = photos(rng, 5)
    dataset = ImageDataset(images, labels * 10)
    expect_equal(len(dataset), 5, what="len(dataset)")
    for index in range(5):
        image, label = dataset[index]
        expect_equal(image, images[index], what=f"the image of dataset[{index}]")
        expect_equal(int(label), index * 10, what=f"the label of dataset[{index}]")


def test_the_transform_is_applied_whenever_an_image_is_read(rng):
    """A random transform must give another image in every epoch: applying it once, up front, freezes its dice."""
    images, labels = photos(rng, 3)
    calls = []
    dataset = ImageDataset(images, labels, lambda image: calls.append(0) or image + len(calls))
    expect_equal(len(calls), 0, what="calls of the transform before anything is read")
    for call in (1, 2):
        expect_close(
            dataset[1][0], images[1] + call, what=f"the image at reading {call}", hint="call it in __getitem__"
        )


def test_statistics_are_per_channel_over_all_pixels():
    """A worked example of two 1 x 2 images: channel 0 holds 0, 0, 4, 4 and channel 1 holds 1, 2, 3, 6. Divided by N, not
    N - 1; nor is it the average of the images' own deviations, which are 0 in channel 0."""
    images = torch.tensor([[[[0.0, 0.0]], [[1.0, 2.0]]], [[[4.0, 4.0]], [[3.0, 6.0]]]], dtype=torch.float64)
    mean, std = channel_stats(ImageDataset(images, torch.arange(2)))
    hint = "sums over height, width and images; one number for each channel"
    expect_close(mean, torch.tensor([2.0, 3.0], dtype=torch.float64), what="the mean", hint=hint)
    wanted = torch.tensor([2.0, 3.5**0.5], dtype=torch.float64)
    expect_close(
        std, wanted, what="the standard deviation", hint="over N pixels, not N - 1: torch.std(..., correction=0)"
    )


def test_a_flip_mirrors_left_and_right(rng):
    """p = 1 always, p = 0 never. Upside down is another augmentation, and a bad one for digits."""
    image = torch.arange(6.0).view(1, 2, 3)
    mirrored = torch.tensor([[[2.0, 1.0, 0.0], [5.0, 4.0, 3.0]]])
    for _ in range(10):
        got = random_flip(image, 1.0, generator=rng)
        expect_equal(got, mirrored, what="random_flip([[0, 1, 2], [3, 4, 5]], p=1)", hint="flip the last dimension")
        expect_equal(random_flip(image, 0.0, generator=rng), image, what="random_flip(image, p=0)")


def test_training_images_come_out_with_mean_0_and_deviation_1(rng):
    """The point of normalising, and the proof that the statistics are those of the training part: with any others the
    result would be near 0 and 1, not equal to them."""
    train, *_ = make_loaders(ImageDataset(*photos(rng)), SHARES, 4, generator=rng)
    expect(isinstance(train, DataLoader), f"make_loaders should give DataLoaders, but gave {type(train).__name__}")
    std, mean = torch.std_mean(everything(train)[0], dim=(0, 2, 3), correction=0)
    hint = "channel_stats of the training part alone, then (image - mean) / std for each channel"
    expect_close(mean, torch.zeros(2).double(), what="the channels' means over the training loader", hint=hint)
    expect_close(std, torch.ones(2).double(), what="the channels' deviations over the training loader", hint=hint)
