"""torch's pixel_unshuffle, whose channels are in the very order of a patch's values. Positions by grid_sample, in float64."""

import torch
from torch import nn
from torch.nn import functional as F


def check(condition):
    if not condition:
        raise ValueError("these sizes do not fit")


def patchify(images, patch_size):
    check(patch_size > 0 and not any(side % patch_size for side in images.shape[2:]))
    batch, channels, height, width = images.shape
    if not batch:  # which pixel_unshuffle does not know
        return images.reshape(0, height * width // patch_size**2, channels * patch_size**2)
    return F.pixel_unshuffle(images, patch_size).flatten(2).mT


def unpatchify(patches, patch_size, height, width):
    check(patch_size > 0 and height % patch_size == 0 == width % patch_size)
    check(patches.shape[2] % patch_size**2 == 0 and patches.shape[1] * patch_size**2 == height * width)
    return F.pixel_shuffle(patches.mT.unflatten(2, (height // patch_size, width // patch_size)), patch_size)


def resize_positions(positions, old_grid, new_grid):
    rows, columns = old_grid
    check(min(rows, columns, *new_grid) > 0 and positions.shape[1] == rows * columns + 1)
    if tuple(old_grid) == tuple(new_grid):
        return positions
    # Where the centres of the new patches lie in a picture that reaches from -1 to 1.
    y, x = ((2 * torch.arange(side, device=positions.device).double() + 1) / side - 1 for side in new_grid)
    where = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None]
    picture = positions[:, 1:].double().mT.unflatten(2, (rows, columns))
    sampled = F.grid_sample(picture, where, mode="bicubic", padding_mode="border", align_corners=False)
    return torch.cat((positions[:, :1], sampled.flatten(2).mT.to(positions.dtype)), dim=1)


class PatchEmbedding(nn.Module):
    def __init__(self, image_size, patch_size, channels, dim):
        super().__init__()
        check(patch_size > 0 and not any(side % patch_size for side in image_size))
        self.image_size = tuple(image_size)
        self.projection = nn.Conv2d(channels, dim, kernel_size=patch_size, stride=patch_size)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim))
        self.positions = nn.Parameter(torch.zeros(1, 1 + self.grid(image_size)[0] * self.grid(image_size)[1], dim))

    def grid(self, size):
        side = self.projection.kernel_size[0]
        return size[0] // side, size[1] // side

    def forward(self, images):
        check(images.shape[1] == self.projection.weight.shape[1])
        check(not any(side % self.projection.stride[0] for side in images.shape[-2:]))
        projected = self.projection(images)
        positions = self.positions
        if tuple(images.shape[-2:]) != self.image_size:
            positions = resize_positions(positions, self.grid(self.image_size), tuple(projected.shape[-2:]))
        patches = projected.flatten(2).mT + positions[:, 1:]
        cls = (self.cls_token + positions[:, :1]).repeat(len(images), 1, 1)
        return torch.cat((cls, patches), dim=1)
