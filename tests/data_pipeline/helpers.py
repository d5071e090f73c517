"""What any right pipeline does. Labels are indices, so that every sample in a batch tells where it comes from."""

import torch

from dojo.testing import randn

SHARES = (0.5, 0.3, 0.2)


def photos(rng, n=23, dtype=torch.float64):
    """Channels at different heights and spreads; every image has a brightness of its own, so that no subset has the
    statistics of another."""
    scale = torch.tensor([1.0, 3.0], dtype=torch.float64)[:, None, None]
    offset = torch.tensor([5.0, -2.0], dtype=torch.float64)[:, None, None]
    images = (randn(rng, n, 2, 3, 4) + 2 * randn(rng, n, 1, 1, 1)) * scale + offset
    return images.to(dtype), torch.arange(n)


def everything(loader):
    """All images and all labels of one pass, in their order."""
    images, labels = zip(*[(images, torch.as_tensor(labels)) for images, labels in loader], strict=True)
    return torch.cat(images), torch.cat(labels)


def normalised(images, training):
    """`images` by the statistics of `training`, as the definition says."""
    std, mean = torch.std_mean(training, dim=(0, 2, 3), correction=0, keepdim=True)
    return (images - mean) / std
