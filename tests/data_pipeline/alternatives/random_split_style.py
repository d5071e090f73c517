"""Splits as torch's random_split does (sizes rounded down, the remainder dealt out in turn), keeps tensors of indices, and
gives each loader a generator of its own, seeded from the one it got."""

import math

import torch
from torch.utils.data import DataLoader, Dataset, Subset


def split_indices(n, fractions, *, generator):
    if not math.isclose(math.fsum(fractions), 1, abs_tol=1e-6) or min(fractions) < 0:
        raise ValueError("no split")
    sizes = [math.floor(n * fraction) for fraction in fractions]
    for i in range(n - sum(sizes)):
        sizes[i % len(sizes)] += 1
    return list(torch.randperm(n, generator=generator).split(sizes))


class ImageDataset(Dataset):
    def __init__(self, images, labels, transform=None):
        if images.shape[0] != labels.shape[0]:
            raise ValueError("images and labels differ in number")
        self.images = images
        self.labels = labels
        self.transform = transform

    def __len__(self):
        return self.labels.shape[0]

    def __getitem__(self, index):
        image = torch.clone(self.images[index])
        if self.transform is not None:
            image = self.transform(image)
        return image, int(self.labels[index])


def channel_stats(dataset):
    pixels = [dataset[i][0].flatten(1) for i in range(len(dataset))]
    if not pixels:
        raise ValueError("empty")
    std, mean = torch.std_mean(torch.cat(pixels, dim=1).to(torch.float64), dim=1, correction=0)
    return mean, std


def random_flip(image, p, *, generator):
    if not (p >= 0 and p <= 1):
        raise ValueError("p")
    if torch.bernoulli(torch.tensor(float(p)), generator=generator):
        return torch.flip(image, dims=[-1])
    return image.clone()


class Normalised(Dataset):
    def __init__(self, part, normalise, transform):
        self.part, self.normalise, self.transform = part, normalise, transform

    def __len__(self):
        return len(self.part)

    def __getitem__(self, i):
        image, label = self.part[i]
        return self.normalise(self.transform(image)), label


def make_loaders(dataset, fractions, batch_size, *, generator, train_transform=None):
    train, val, test = split_indices(len(dataset), fractions, generator=generator)
    mean, std = channel_stats(Subset(dataset, train.tolist()))
    std[std == 0] = 1

    def normalise(image):
        wide = image if image.is_floating_point() else image.float()
        return ((wide.double() - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)).to(wide.dtype)

    def same(image):
        return image

    seed = int(torch.randint(2**40, (), generator=generator))
    options = {"batch_size": batch_size, "drop_last": False}
    return tuple(
        DataLoader(
            Normalised(Subset(dataset, part.tolist()), normalise, transform),
            shuffle=shuffle,
            generator=torch.Generator().manual_seed(seed + number),
            **options,
        )
        for number, (part, transform, shuffle) in enumerate(
            [(train, train_transform or same, True), (val, same, False), (test, same, False)]
        )
    )
