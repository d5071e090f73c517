"""A loop over the places in a patch, each of which is every p-th pixel of the picture. An own module for the weights."""

import torch
from torch import nn
from torch.nn import functional as F


def fits(height, width, patch_size):
    if patch_size < 1:
        raise ValueError("a patch has at least one pixel")
    if height % patch_size or width % patch_size:
        raise ValueError("the picture has a rest")


def patchify(images, patch_size):
    batch, channels, height, width = images.shape
    fits(height, width, patch_size)
    count = height * width // patch_size**2
    result = images.new_zeros(batch, height // patch_size, width // patch_size, channels, patch_size, patch_size)
    for i in range(patch_size):
        for j in range(patch_size):
            result[..., i, j] = images[:, :, i::patch_size, j::patch_size].permute(0, 2, 3, 1)
    return result.view(batch, count, channels * patch_size * patch_size)


def unpatchify(patches, patch_size, height, width):
    fits(height, width, patch_size)
    batch, count, values = patches.shape
    if count * patch_size**2 != height * width or values % patch_size**2:
        raise ValueError("these patches do not make such a picture")
    channels = values // patch_size**2
    pixels = patches.reshape(batch, height // patch_size, width // patch_size, channels, patch_size, patch_size)
    images = patches.new_zeros(batch, channels, height, width)
    for i in range(patch_size):
        for j in range(patch_size):
            images[:, :, i::patch_size, j::patch_size] = pixels[..., i, j].movedim(3, 1)
    return images


def resize_positions(positions, old_grid, new_grid):
    rows, columns = old_grid
    if rows < 1 or columns < 1 or new_grid[0] < 1 or new_grid[1] < 1:
        raise ValueError("a grid is at least 1 x 1")
    cls, places = positions.split([1, positions.shape[1] - 1], dim=1)
    if places.shape[1] != rows * columns:
        raise ValueError("the positions do not fit their grid")
    work = torch.float64 if positions.dtype == torch.float64 else torch.float32
    picture = places.to(work).transpose(1, 2).reshape(-1, 1, rows, columns)  # each dimension is a picture of its own
    picture = nn.Upsample(size=tuple(new_grid), mode="bicubic")(picture)
    places = picture.reshape(1, -1, new_grid[0] * new_grid[1]).transpose(1, 2)
    return torch.hstack([cls, places.to(positions.dtype)])


class Projection(nn.Module):
    def __init__(self, dim, channels, patch_size):
        super().__init__()
        values = channels * patch_size**2
        self.weight = nn.Parameter(torch.randn(dim, channels, patch_size, patch_size) / values**0.5)
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, patches):
        return F.linear(patches, self.weight.flatten(1), self.bias)


class PatchEmbedding(nn.Module):
    def __init__(self, image_size, patch_size, channels, dim):
        super().__init__()
        fits(*image_size, patch_size)
        self.channels, self.patch_size = channels, patch_size
        self.old = image_size[0] // patch_size, image_size[1] // patch_size
        self.projection = Projection(dim, channels, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.rand(1, 1 + self.old[0] * self.old[1], dim))

    def forward(self, images):
        if images.shape[1] != self.channels:
            raise ValueError("the pictures have other channels")
        patches = self.projection(patchify(images, self.patch_size))
        new = images.shape[2] // self.patch_size, images.shape[3] // self.patch_size
        positions = resize_positions(self.positions, self.old, new)
        tokens = positions.repeat(len(images), 1, 1)
        tokens[:, :1] += self.cls_token
        tokens[:, 1:] += patches
        return tokens
