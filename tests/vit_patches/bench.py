"""Eight pictures of 3 x 224 x 224 to patches of 16 x 16. The floor reads and writes each pixel once."""

from functools import partial

import torch
from torch.nn import functional as F

from dojo.testing.bench import work


def one_by_one(images, patch_size):
    """Each patch is cut out by itself."""
    height, width = images.shape[2:]
    corners = [(i, j) for i in range(0, height, patch_size) for j in range(0, width, patch_size)]
    return torch.stack([images[:, :, i : i + patch_size, j : j + patch_size].flatten(1) for i, j in corners], 1)


def unfolded(images, patch_size):
    """torch's im2col, which knows overlapping windows as well."""
    return F.unfold(images, patch_size, stride=patch_size).transpose(1, 2)


@work(
    batch=8,
    side=224,
    sweep={"batch": (4, 8), "side": (112, 224)},
    grows={"batch": 1, "side": 2},
    tiny={"batch": 2, "side": 64},
)
def patches(bench, batch, side):
    """patchify of float32 pictures."""
    images = bench.randn(batch, 3, side, side)
    bench.katas(lambda kata: partial(kata.patchify, images, 16))
    bench.adapted("transformers", lambda kata: partial(kata.patchify, images, 16))
    bench.way("naive: patch by patch", partial(one_by_one, images, 16))
    bench.way("torch: unfold", partial(unfolded, images, 16))
    bench.same(rtol=0.0, atol=0.0)
    bench.floor(bytes=2 * images.nbytes)
