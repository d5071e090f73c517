"""Pictures whose pixels can be told apart, embeddings with weights that are set, and what cubic convolution gives."""

import torch

from dojo.testing import expect, numbers, randn
from dojo.testing.modules import fill
from katas.vit_patches import PatchEmbedding

ORDER = "cut height into (row of the grid, row in the patch), width likewise, then permute before the last reshape"
SIZES = "every size is (height, width) and every grid (rows, columns); patches are numbered row by row"
# A picture of 4 pixels in a line, resized to 8 and to 2: what a pixel of 1 gives, if it is the first or the second one.
TWICE = numbers(283, 198, 58, -27, -9, 0, 0, 0) / 256, numbers(-27, 67, 225, 225, 67, -27, -9, 0) / 256
HALF = numbers(16, 0) / 32, numbers(19, -3) / 32


def numbered(batch, channels, height, width, dtype=torch.float64):
    """Pictures whose pixels are all different: the number of each is its place in memory."""
    return torch.arange(batch * channels * height * width, dtype=dtype).reshape(batch, channels, height, width)


def one_pixel(shape, place):
    """Pictures of zeros with a single pixel of 1."""
    images = torch.zeros(shape, dtype=torch.float64)
    images[place] = 1
    return images


def places_of(rng, shape, count):
    """`count` places in a tensor of this shape, and the last one."""
    drawn = [[int(torch.randint(size, (), generator=rng)) for size in shape] for _ in range(count)]
    return [tuple(place) for place in [*drawn, [size - 1 for size in shape]]]


def embedding(rng, image_size, patch_size, channels, dim, dtype=torch.float64, **values):
    """A PatchEmbedding with random parameters; `values` are those that are given, by name with _ for the point."""
    layer = PatchEmbedding(image_size, patch_size, channels, dim).to(dtype)
    own = dict(layer.named_parameters())
    for name in ("projection.weight", "projection.bias", "cls_token", "positions"):
        expect(name in own, f"{name} should be a parameter of PatchEmbedding, but is missing")
        given = values.get(name.replace(".", "_"))
        fill(own[name], randn(rng, *own[name].shape) if given is None else given, what=name)
    return layer


def grid_of(tokens, rows, columns):
    """The tokens of the patches, without the class token, as a grid [batch, rows, columns, dim]."""
    return tokens[:, 1:].unflatten(1, (rows, columns))


def of_grid(cls, grid):
    """Positions [1, 1 + rows * columns, dim] of a class token's [dim] and a grid [rows, columns, dim]."""
    return torch.cat([cls[None], grid.flatten(0, 1)])[None]
