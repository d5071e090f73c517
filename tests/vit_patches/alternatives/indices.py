"""A table of which pixel stands where, once for the whole picture: taken with it, and put back with its inverse."""

import torch
from torch import nn
from torch.nn import functional as F


def order(channels, height, width, p, device):
    """[patches, values]: the places of a patch's pixels in the picture, as one long line."""
    if p < 1 or height % p or width % p:
        raise ValueError("no whole patches")
    k = torch.arange(height * width // p**2, device=device)[:, None]
    v = torch.arange(channels * p**2, device=device)
    corner = k // (width // p) * p * width + k % (width // p) * p
    return corner + (v // p**2 * height + v % p**2 // p) * width + v % p


def patchify(images, patch_size):
    places = order(*images.shape[1:], patch_size, images.device)
    return images.flatten(1)[:, places.flatten()].unflatten(1, places.shape)


def unpatchify(patches, patch_size, height, width):
    if patch_size < 1 or patches.shape[2] % patch_size**2:
        raise ValueError("no whole channels")
    places = order(channels := patches.shape[2] // patch_size**2, height, width, patch_size, patches.device)
    if len(places) != patches.shape[1]:
        raise ValueError("another number of patches")
    line = torch.empty_like(patches.flatten(1)).index_copy(1, places.flatten(), patches.flatten(1))
    return line.unflatten(1, (channels, height, width))


def resize_positions(positions, old_grid, new_grid):
    if min(old_grid) < 1 or min(new_grid) < 1 or positions.shape[1] != 1 + old_grid[0] * old_grid[1]:
        raise ValueError("no such grid")
    picture = positions[0, 1:].T.reshape(1, positions.shape[2], *old_grid)
    wide = picture if picture.dtype == torch.float64 else picture.to(torch.float32)
    resized = F.interpolate(wide, new_grid, mode="bicubic")[0].flatten(1).T
    return torch.cat([positions[:, :1], resized[None].type_as(positions)], 1)


class PatchEmbedding(nn.Module):
    def __init__(self, image_size, patch_size, channels, dim):
        super().__init__()
        if patch_size < 1 or any(side % patch_size for side in image_size):
            raise ValueError("no whole patches")
        self.grid = tuple(side // patch_size for side in image_size)
        self.projection = nn.Conv2d(channels, dim, patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.ones(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, 1 + self.grid[0] * self.grid[1], dim))

    def forward(self, images):
        size = self.projection.kernel_size[0]
        if images.shape[1] != self.projection.in_channels or images.shape[2] % size or images.shape[3] % size:
            raise ValueError("pictures of another kind")
        picture = self.projection(images)
        grid = tuple(picture.shape[2:])
        tokens = F.pad(picture.flatten(2).transpose(1, 2), (0, 0, 1, 0))
        first = F.pad(self.cls_token, (0, 0, 0, tokens.shape[1] - 1))
        return tokens + first + resize_positions(self.positions, self.grid, grid)
