"""No dataset classes beside the one that is asked for: closures over indices behind one small adapter, statistics from
numpy, argsort of random keys for the permutation."""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


def split_indices(n, fractions, *, generator):
    weights = np.asarray(fractions, dtype=np.float64)
    if not (weights >= 0).all() or not abs(weights.sum() - 1) < 1e-6:
        raise ValueError("bad fractions")
    keys = torch.rand(n, generator=generator, dtype=torch.float64)
    cuts = np.floor(weights.cumsum()[:-1] * n + 1e-9).astype(int)
    return [part.tolist() for part in np.split(keys.argsort().numpy(), cuts)]


class ImageDataset(Dataset):
    def __init__(self, images, labels, transform=lambda image: image):
        if len(images) - len(labels):
            raise ValueError("unpaired")
        self._read = lambda i: ((transform or (lambda image: image))(images[i].clone()), labels[i])
        self._length = len(images)

    def __len__(self):
        return self._length

    def __getitem__(self, i):
        return self._read(i)


def channel_stats(dataset):
    if len(dataset) < 1:
        raise ValueError("no images")
    rows = [dataset[i][0].double().numpy() for i in range(len(dataset))]
    channels = [np.concatenate([row[c].ravel() for row in rows]) for c in range(len(rows[0]))]
    return tuple(torch.tensor([f(c) for c in channels], dtype=torch.float64) for f in (np.mean, np.std))


def random_flip(image, p, *, generator):
    if not 0.0 <= p <= 1.0:
        raise ValueError("not a probability")
    return image.fliplr() if image.dim() == 2 else _flip_if(image, torch.rand(1, generator=generator).item() < p)


def _flip_if(image, yes):
    return image.clone().flip(2) if yes else image.clone()


class _Lazy(Dataset):
    def __init__(self, indices, read):
        self.indices, self.read = indices, read

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, i):
        return self.read(self.indices[i])


def make_loaders(dataset, fractions, batch_size, *, generator, train_transform=None):
    if len(fractions) != 3:
        raise ValueError("training, validation, test")
    train, val, test = split_indices(len(dataset), fractions, generator=generator)
    mean, std = channel_stats(_Lazy(train, dataset.__getitem__))
    std = std + (std == 0)

    def reader(transform):
        def read(i):
            image, label = dataset[i]
            image = transform(image) if transform else image
            if image.dtype == torch.uint8:
                image = image.float()
            return (image.double().sub(mean[:, None, None]).div(std[:, None, None])).type_as(image), label

        return read

    def load(indices, shuffle, transform=None):
        return DataLoader(_Lazy(indices, reader(transform)), batch_size, shuffle, generator=generator)

    return load(train, True, train_transform), load(val, False), load(test, False)
