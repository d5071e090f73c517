"""Evaluation loaders have a constant generator of their own, so that validating does not move the training order on; the
order of a part is sampled by batch samplers; one weighted running mean of values and squares."""

from functools import partial

import torch
from torch.utils.data import BatchSampler, DataLoader, Dataset, RandomSampler


def split_indices(n, fractions, *, generator):
    if any(f < 0 or f != f for f in fractions) or abs(1 - sum(fractions)) > 1e-6:
        raise ValueError("a split needs shares of 1")
    quota = torch.tensor(list(fractions), dtype=torch.float64) * n
    sizes = quota.floor().long()
    largest = (quota - sizes).argsort(descending=True)  # the largest remainders get the rest
    sizes[largest[: n - int(sizes.sum())]] += 1
    return [part.tolist() for part in torch.randperm(n, generator=generator).split(sizes.tolist())]


class ImageDataset(Dataset):
    def __init__(self, images, labels, transform=None):
        if images.size(0) != labels.size(0):
            raise ValueError("sizes")
        self.images, self.labels, self.transform = images, labels, transform

    def __len__(self):
        return self.images.size(0)

    def __getitem__(self, index):
        image = self.images.select(0, index) + 0
        return image if self.transform is None else self.transform(image), self.labels[index]


def channel_stats(dataset):
    weight, moments = 0, torch.zeros(2, 1, dtype=torch.float64)
    for index in range(len(dataset)):
        pixels = dataset[index][0].double().flatten(1)
        here = torch.stack([pixels.mean(1), (pixels**2).mean(1)])
        weight += pixels.shape[1]
        moments = moments + (here - moments) * (pixels.shape[1] / weight)
    if weight == 0:
        raise ValueError("no pixels")
    return moments[0], (moments[1] - moments[0] ** 2).clamp_min(0) ** 0.5


def random_flip(image, p, *, generator):
    if not 0 <= p <= 1:
        raise ValueError("p")
    flip = torch.multinomial(torch.tensor([1.0 - p, p]), 1, generator=generator).item()
    return (image, image.flip(2))[flip]


class View(Dataset):
    def __init__(self, dataset, indices, *steps):
        self.dataset, self.indices, self.steps = dataset, indices, steps

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        image, label = self.dataset[self.indices[index]]
        for step in self.steps:
            image = step(image)
        return image, label


def _normalise(image, mean, std):
    dtype = image.dtype if image.dtype.is_floating_point else torch.float32
    shape = (len(mean), 1, 1)
    return torch.sub(image.double(), mean.view(shape)).div_(std.view(shape)).to(dtype)


def make_loaders(dataset, fractions, batch_size, *, generator, train_transform=None):
    train, val, test = split_indices(len(dataset), fractions, generator=generator)
    mean, std = channel_stats(View(dataset, train))
    normalise = partial(_normalise, mean=mean, std=std.where(std != 0, torch.ones_like(std)))
    training = View(dataset, train, *([train_transform] if train_transform else []), normalise)
    order = BatchSampler(RandomSampler(training, generator=generator), batch_size, drop_last=False)
    fixed = [
        DataLoader(View(dataset, part, normalise), batch_size, generator=torch.Generator().manual_seed(0))
        for part in (val, test)
    ]
    return DataLoader(training, batch_sampler=order, generator=generator), *fixed
