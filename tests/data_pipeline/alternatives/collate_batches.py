"""Normalises whole batches in the collate function, in the images' own precision; deviations from a running mean (Chan's
formula for merging two sets); a coin from torch.randint; parts in sorted order."""

import torch
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, Subset, default_collate


def split_indices(n, fractions, *, generator):
    if any(f < 0 for f in fractions) or not 1 - 1e-6 <= sum(fractions) <= 1 + 1e-6:
        raise ValueError(fractions)
    order, bounds, sofar = torch.randperm(n, generator=generator), [], 0.0
    for fraction in fractions[:-1]:
        sofar += fraction
        bounds.append(min(n, int(n * sofar + 0.5)))
    return [sorted(part.tolist()) for part in torch.tensor_split(order, bounds)]


class ImageDataset:
    def __init__(self, images, labels, transform=None):
        if len(labels) != len(images):
            raise ValueError("not as many labels as images")
        self.samples = images, labels
        self.transform = transform or torch.nn.Identity()

    def __len__(self):
        return len(self.samples[0])

    def __getitem__(self, index):
        if index >= len(self):
            raise IndexError(index)
        images, labels = self.samples
        return self.transform(images[index].detach().clone()), labels[index]


def channel_stats(dataset):
    if not len(dataset):
        raise ValueError("nothing to measure")
    count, mean, scatter = 0, None, None
    for index in range(len(dataset)):
        pixels = dataset[index][0].to(torch.float64).flatten(start_dim=1)
        n = pixels.shape[1]
        var, here = torch.var_mean(pixels, dim=1, correction=0)
        if mean is None:
            count, mean, scatter = n, here, var * n
            continue
        delta = here - mean
        scatter = scatter + var * n + delta**2 * (count * n / (count + n))
        mean = mean + delta * (n / (count + n))
        count += n
    return mean, torch.sqrt(scatter / count)


def random_flip(image, p, *, generator):
    if p < 0 or p > 1 or p != p:
        raise ValueError(p)
    uniform = torch.empty(1).uniform_(generator=generator).item()
    return image[..., torch.arange(image.shape[-1] - 1, -1, -1)] if uniform < p else image


class Augmented:
    def __init__(self, part, transform):
        self.part, self.transform = part, transform

    def __len__(self):
        return len(self.part)

    def __getitem__(self, index):
        image, label = self.part[index]
        return self.transform(image), label


def make_loaders(dataset, fractions, batch_size, *, generator, train_transform=None):
    if len(list(fractions)) != 3:
        raise ValueError("three parts")
    parts = [Subset(dataset, part) for part in split_indices(len(dataset), fractions, generator=generator)]
    mean, std = (stat.reshape(1, -1, 1, 1) for stat in channel_stats(parts[0]))
    std = std.masked_fill(std == 0, 1)

    def collate(samples):
        images, labels = default_collate(samples)
        if not images.is_floating_point():
            images = images.to(torch.float32)
        return (images - mean.to(images.dtype)) / std.to(images.dtype), labels

    if train_transform is not None:
        parts[0] = Augmented(parts[0], train_transform)
    samplers = [RandomSampler(parts[0], generator=generator), SequentialSampler(parts[1]), SequentialSampler(parts[2])]
    return tuple(
        DataLoader(part, batch_size=batch_size, sampler=sampler, collate_fn=collate, generator=generator)
        for part, sampler in zip(parts, samplers, strict=True)
    )
