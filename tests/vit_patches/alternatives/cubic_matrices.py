"""Cubic convolution from Keys' formula: a matrix of weights for each side, applied by einsum. Patches by two windows."""

import torch
from torch import nn

A = -0.75


def whole(size, p):
    if p < 1 or any(side % p for side in size):
        raise ValueError(f"{tuple(size)} is not a multiple of {p}")
    return [side // p for side in size]


def patchify(images, patch_size):
    whole(images.shape[2:], patch_size)
    windows = images.unfold(2, patch_size, patch_size).unfold(3, patch_size, patch_size)
    return windows.permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)


def unpatchify(patches, patch_size, height, width):
    rows, columns = whole((height, width), patch_size)
    if patches.shape[1] != rows * columns or patches.shape[2] % patch_size**2:
        raise ValueError("other patches")
    grid = patches.unflatten(2, (patches.shape[2] // patch_size**2, patch_size, patch_size)).unflatten(
        1, (rows, columns)
    )
    return torch.einsum("brkcij->bcrikj", grid).flatten(4, 5).flatten(2, 3)


def weights(old, new, like):
    """[new, old]: how much of each old place a new one takes."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    centre = (torch.arange(new, dtype=torch.float64) + 0.5) * old / new - 0.5
    left = centre.floor().long()
    matrix = torch.zeros(new, old, dtype=torch.float64)
    for tap in range(-1, 3):
        x = (centre - left - tap).abs()
        near = (A + 2) * x**3 - (A + 3) * x**2 + 1
        far = A * (x**3 - 5 * x**2 + 8 * x - 4)
        place = (left + tap).clamp(0, old - 1)
        matrix.index_put_((torch.arange(new), place), torch.where(x <= 1, near, far), accumulate=True)
    return matrix.to(like.device, dtype)


def resize_positions(positions, old_grid, new_grid):
    if any(side < 1 for side in (*old_grid, *new_grid)) or positions.shape[1] != 1 + old_grid[0] * old_grid[1]:
        raise ValueError("other positions")
    down, across = (weights(old, new, positions) for old, new in zip(old_grid, new_grid, strict=True))
    places = positions[0, 1:].unflatten(0, tuple(old_grid)).to(down.dtype)
    resized = torch.einsum("ir,jc,rcd->ijd", down, across, places).flatten(0, 1)
    return torch.cat([positions[0, :1], resized.to(positions.dtype)]).unsqueeze(0)


class PatchEmbedding(nn.Module):
    def __init__(self, image_size, patch_size, channels, dim):
        super().__init__()
        self.grid = whole(image_size, patch_size)
        self.projection = nn.Conv2d(channels, dim, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.positions = nn.Parameter(torch.zeros(1, self.grid[0] * self.grid[1] + 1, dim))

    def forward(self, images):
        weight = self.projection.weight
        if images.shape[1] != weight.shape[1]:
            raise ValueError("other channels")
        grid = whole(images.shape[2:], weight.shape[-1])
        tokens = (
            torch.einsum("bnv,dv->bnd", patchify(images, weight.shape[-1]), weight.flatten(1)) + self.projection.bias
        )
        tokens = torch.cat([self.cls_token.tile(len(images), 1, 1), tokens], 1)
        return tokens.add(self.positions if grid == self.grid else resize_positions(self.positions, self.grid, grid))
