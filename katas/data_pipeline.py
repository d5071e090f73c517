"""A data pipeline for images.

How do you get from a folder's worth of images to three loaders that a training loop can trust? Split, read, measure,
augment, normalise, batch. Nothing here raises when it is wrong; the validation score is just a little too good, or
the model a little worse than it could be.

What must not leak from validation and test data into training are the samples themselves and everything computed
from them, such as the mean and standard deviation that all images are normalised with:

    mean_c = (1/N) sum x_c        std_c = sqrt((1/N) sum (x_c - mean_c)^2)        image_c -> (image_c - mean_c) / std_c

over the N pixels of channel c in the *training* images. What must not reach validation and test data is augmentation
and shuffling: their scores are to be comparable from epoch to epoch.

A dataset is anything with `len(dataset)` and `dataset[i] -> (image, label)` for i = 0 ... len - 1; an image is
[channels, height, width], of any floating dtype or uint8. All randomness comes from the `generator` given; torch's
global random stream stays untouched.

Stage 1: each piece on its own, and the loaders once.  Stage 2: rounding, reproducibility, leaks, odd arguments.
Stage 3: dtypes and precision.  Stage 4: every image is read once, and only when it is needed.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

Image = Shaped[Tensor, "channels height width"]
Transform = Callable[[Image], Image]
Samples = Any  # a Dataset, a list of pairs: whatever has len(samples) and samples[i] -> (image, label)


def split_indices(n: int, fractions: Sequence[float], *, generator: torch.Generator) -> list[list[int]]:
    """Deals the indices 0 ... n-1 out at random: one list for each fraction, each index in exactly one of them.

    The length of every list is within 1 of n * fraction; how the rounding goes is free.
    Raises ValueError if a fraction is negative, or if they do not sum to 1 (within 1e-6: 0.7 + 0.2 + 0.1 is not 1).
    """
    raise NotImplementedError("data_pipeline.split_indices: write me")


class ImageDataset(Dataset):
    """Images and labels in memory, with a transform that is applied to an image whenever it is read."""

    def __init__(
        self,
        images: Shaped[Tensor, "n channels height width"],
        labels: Int64[Tensor, " n"],
        transform: Transform | None = None,
    ) -> None:
        """Raises ValueError if there are not as many labels as images."""
        raise NotImplementedError("data_pipeline.ImageDataset.__init__: write me")

    def __len__(self) -> int:
        raise NotImplementedError("data_pipeline.ImageDataset.__len__: write me")

    def __getitem__(self, index: int) -> tuple[Image, Any]:
        """(transform(image), label), the label as it is stored.

        What it gives away is a copy: neither a transform that works in place nor the caller changes the stored images.
        Raises IndexError beyond the end.
        """
        raise NotImplementedError("data_pipeline.ImageDataset.__getitem__: write me")


def channel_stats(dataset: Samples) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """Mean and population standard deviation of each channel, over all pixels of all images: float64, [channels].

    The images may differ in height and width; every pixel weighs the same. Each sample is read once.
    Raises ValueError if the dataset is empty.
    """
    raise NotImplementedError("data_pipeline.channel_stats: write me")


def random_flip(image: Image, p: float, *, generator: torch.Generator) -> Image:
    """The image mirrored left to right (along the width) with probability p, else the image as it is.

    The input is not modified. Raises ValueError unless 0 <= p <= 1.
    """
    raise NotImplementedError("data_pipeline.random_flip: write me")


def make_loaders(
    dataset: Samples,
    fractions: Sequence[float],
    batch_size: int,
    *,
    generator: torch.Generator,
    train_transform: Transform | None = None,
) -> tuple[DataLoader, DataLoader, DataLoader]:
    """DataLoaders of (images, labels) for training, validation and test, on random parts of `dataset`.

    All three give normalised images: minus the mean, divided by the standard deviation of the training part's channels
    (channel_stats of its images as they are in the dataset, without `train_transform`). A channel that is constant in
    the training part is divided by 1. Floating images keep their dtype, uint8 become float32.
    Only training images go through `train_transform`, each time they are read, before they are normalised.

    Every loader gives each sample of its part once in a pass; a last batch may be short. Training draws a new order
    for every pass; validation and test keep one order. The generator is the only source of randomness, while the
    loaders are read too (a DataLoader without a generator draws a seed from the global stream in every pass).
    Making the loaders reads each training sample once and no other; the rest is read when its batch is asked for. The
    dataset is not changed.

    Raises ValueError unless there are three fractions as in split_indices and the training part is not empty; the
    other two may be.
    """
    raise NotImplementedError("data_pipeline.make_loaders: write me")
