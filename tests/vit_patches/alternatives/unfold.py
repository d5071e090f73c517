"""Windows of torch's unfold and fold, and a matrix product for the projection. Positions by two interpolations, one a side."""

import torch
from torch import nn
from torch.nn import functional as F


def grid(height, width, p):
    if p <= 0 or height % p != 0 or width % p != 0:
        raise ValueError("the picture is not made of whole patches")
    return height // p, width // p


def patchify(images, patch_size):
    grid(images.shape[2], images.shape[3], patch_size)
    return F.unfold(images, kernel_size=patch_size, stride=patch_size).transpose(-1, -2)


def unpatchify(patches, patch_size, height, width):
    rows, columns = grid(height, width, patch_size)
    if patches.size(1) != rows * columns or patches.size(2) % (patch_size * patch_size) > 0:
        raise ValueError("these are patches of another picture")
    return F.fold(patches.transpose(-1, -2), (height, width), kernel_size=patch_size, stride=patch_size)


def resize_positions(positions, old_grid, new_grid):
    (r, c), (new_r, new_c) = old_grid, new_grid
    if r < 1 or c < 1 or new_r < 1 or new_c < 1 or positions.size(1) - 1 != r * c:
        raise ValueError("these are positions of another grid")
    if (r, c) == (new_r, new_c):
        return positions.clone()
    dtype, dim = positions.dtype, positions.size(2)
    work = positions if dtype == torch.float64 else positions.float()
    picture = work[0, 1:].view(r, c, dim).movedim(-1, 0)[None]
    picture = F.interpolate(picture, (new_r, c), mode="bicubic")
    picture = F.interpolate(picture, (new_r, new_c), mode="bicubic")
    places = picture[0].movedim(0, -1).reshape(new_r * new_c, dim)
    return torch.cat([work[0, :1], places])[None].to(dtype)


class PatchEmbedding(nn.Module):
    def __init__(self, image_size, patch_size, channels, dim):
        super().__init__()
        self.p = patch_size
        self.rows, self.columns = grid(image_size[0], image_size[1], patch_size)
        self.projection = nn.Conv2d(channels, dim, (patch_size, patch_size), (patch_size, patch_size))
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim).normal_(std=0.02))
        self.positions = nn.Parameter(torch.empty(1, self.rows * self.columns + 1, dim).normal_(std=0.02))

    def forward(self, images):
        if images.size(1) != self.projection.in_channels:
            raise ValueError("other channels")
        patches = patchify(images, self.p)
        patches = patches @ self.projection.weight.flatten(1).T + self.projection.bias
        now = images.size(2) // self.p, images.size(3) // self.p
        tokens = torch.cat([self.cls_token.expand(images.size(0), 1, -1), patches], dim=1)
        return tokens + resize_positions(self.positions, (self.rows, self.columns), now)
