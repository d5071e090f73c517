"""Plain loops: a Fisher-Yates shuffle by hand, sums in Python lists, a class for training and a class for the rest."""

import torch
from torch.utils.data import DataLoader, Dataset


def split_indices(n, fractions, *, generator):
    total = 0.0
    for fraction in fractions:
        if not fraction >= 0:
            raise ValueError("negative fraction")
        total = total + fraction
    if not (0.999999 <= total <= 1.000001):
        raise ValueError("fractions do not sum to 1")
    indices = list(range(n))
    for i in range(n - 1, 0, -1):
        j = torch.randint(0, i + 1, (1,), generator=generator).item()
        indices[i], indices[j] = indices[j], indices[i]
    parts = []
    start = 0
    cumulative = 0.0
    for k in range(len(fractions)):
        cumulative = cumulative + fractions[k]
        end = n if k == len(fractions) - 1 else round(cumulative * n)
        parts.append(indices[start:end])
        start = end
    return parts


class ImageDataset(Dataset):
    def __init__(self, images, labels, transform=None):
        super().__init__()
        if len(images) != len(labels):
            raise ValueError("lengths")
        self.images = images.clone()
        self.labels = labels.clone()
        self.transform = transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, idx):
        x = self.images[idx].clone()
        y = self.labels[idx].item()
        if self.transform:
            x = self.transform(x)
        return x, y


def channel_stats(dataset):
    if len(dataset) == 0:
        raise ValueError("empty dataset")
    images = []
    for i in range(len(dataset)):
        image, _ = dataset[i]
        images.append(image.to(torch.float64))
    means, stds = [], []
    for c in range(images[0].shape[0]):
        n = sum(image[c].numel() for image in images)
        mean = sum(image[c].sum().item() for image in images) / n
        variance = sum(((image[c] - mean) ** 2).sum().item() for image in images) / n
        means.append(mean)
        stds.append(variance**0.5)
    return torch.tensor(means, dtype=torch.float64), torch.tensor(stds, dtype=torch.float64)


def random_flip(image, p, *, generator):
    if not 0 <= p <= 1:
        raise ValueError("p")
    if torch.rand(1, generator=generator) < p:
        return torch.flip(image, (2,))
    return image


class TrainSet(Dataset):
    def __init__(self, dataset, indices, mean, std, transform=None):
        self.dataset = dataset
        self.indices = indices
        self.mean = mean
        self.std = std
        self.transform = transform

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, i):
        x, y = self.dataset[self.indices[i]]
        if self.transform is not None:
            x = self.transform(x)
        dtype = x.dtype
        if dtype == torch.uint8:
            dtype = torch.float32
        x = x.to(torch.float64)
        out = torch.zeros_like(x)
        for c in range(x.shape[0]):
            s = self.std[c] if self.std[c] > 0 else 1.0
            out[c] = (x[c] - self.mean[c]) / s
        return out.to(dtype), y


class EvalSet(TrainSet):
    def __init__(self, dataset, indices, mean, std):
        super().__init__(dataset, indices, mean, std, None)


def make_loaders(dataset, fractions, batch_size, *, generator, train_transform=None):
    if len(fractions) != 3:
        raise ValueError("need 3 fractions")
    train, val, test = split_indices(len(dataset), fractions, generator=generator)
    train_set = TrainSet(dataset, train, None, None, train_transform)
    measured = []
    for i in train:
        measured.append(dataset[i])
    train_set.mean, train_set.std = channel_stats(measured)
    val_set = EvalSet(dataset, val, train_set.mean, train_set.std)
    test_set = EvalSet(dataset, test, train_set.mean, train_set.std)
    train_loader = DataLoader(train_set, batch_size=batch_size, shuffle=True, generator=generator)
    val_loader = DataLoader(val_set, batch_size=batch_size, shuffle=False, generator=generator)
    test_loader = DataLoader(test_set, batch_size=batch_size, shuffle=False, generator=generator)
    return train_loader, val_loader, test_loader
