"""Two swaps of neighbouring dimensions instead of one permutation of six, and a picture with the channels last."""

import torch
import torch.nn as nn


def sides(h, w, p):
    if not isinstance(p, int) or p < 1 or (h // p * p, w // p * p) != (h, w):
        raise ValueError("bad size")
    return h // p, w // p


def patchify(images, patch_size):
    b, c, h, w = images.shape
    r, k = sides(h, w, patch_size)
    lines = images.reshape(b, c, r, patch_size, w).swapaxes(1, 2)  # bands of patch_size rows: [b, r, c, p, w]
    lines = lines.reshape(b, r, c * patch_size, k, patch_size).swapaxes(2, 3)  # [b, r, k, c * p, p]
    return lines.reshape(b, r * k, c * patch_size * patch_size)


def unpatchify(patches, patch_size, height, width):
    r, k = sides(height, width, patch_size)
    b, n, v = patches.shape
    c, rest = divmod(v, patch_size * patch_size)
    if n != r * k or rest:
        raise ValueError("bad patches")
    lines = patches.reshape(b, r, k, c * patch_size, patch_size).swapaxes(2, 3)
    return lines.reshape(b, r, c, patch_size, width).swapaxes(1, 2).reshape(b, c, height, width)


def resize_positions(positions, old_grid, new_grid):
    if any(side <= 0 for side in old_grid) or any(side <= 0 for side in new_grid):
        raise ValueError("bad grid")
    if len(positions[0]) != 1 + old_grid[0] * old_grid[1]:
        raise ValueError("bad positions")
    if list(old_grid) == list(new_grid):
        return positions
    kind, dim = positions.dtype, positions.shape[-1]
    image = positions[:, 1:].reshape(1, *old_grid, dim).permute(0, 3, 1, 2).double()
    image = torch.nn.functional.interpolate(image, tuple(new_grid), mode="bicubic", antialias=False)
    image = image.permute(0, 2, 3, 1).reshape(1, -1, dim).to(kind)
    return torch.cat([positions[:, 0:1], image], dim=1)


class PatchEmbedding(nn.Module):
    def __init__(self, image_size, patch_size, channels, dim):
        super().__init__()
        self.h, self.w = sides(image_size[0], image_size[1], patch_size)
        self.p, self.c = patch_size, channels
        self.projection = nn.Conv2d(channels, dim, patch_size, patch_size)
        self.cls_token = nn.Parameter(torch.zeros(dim).view(1, 1, dim))
        self.positions = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1 + self.h * self.w, dim), std=0.02))
        self.register_buffer("seen", torch.zeros(2), persistent=False)

    def forward(self, images):
        b, c, h, w = images.shape
        r, k = sides(h, w, self.p)
        if c != self.c:
            raise ValueError("bad channels")
        x = self.projection(images)
        x = x.permute(0, 2, 3, 1).reshape(b, r * k, x.shape[1])
        x = torch.cat([self.cls_token.repeat(b, 1, 1), x], dim=1)
        return x + resize_positions(self.positions, (self.h, self.w), (r, k))
