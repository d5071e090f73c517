"""transformers: ViTMAE's patchify and its inverse, ViT's embedding, and the positions of YOLOS, which knows rectangles where
ViT takes a square root. ViTMAE has the channels of a pixel side by side; YOLOS has more tokens at the end, one here."""

from types import SimpleNamespace

import torch
from torch import nn
from transformers import ViTConfig, ViTMAEForPreTraining
from transformers.models.vit.modeling_vit import ViTEmbeddings
from transformers.models.yolos.modeling_yolos import InterpolateInitialPositionEmbeddings


def model(patch_size, channels):
    return SimpleNamespace(config=SimpleNamespace(patch_size=patch_size, num_channels=channels))


def check(patch_size, *sides):
    if patch_size < 1 or any(side % patch_size for side in sides):
        raise ValueError("sides")


def patchify(images, patch_size):
    check(patch_size, *images.shape[2:])
    channels = images.shape[1]
    patches = ViTMAEForPreTraining.patchify(model(patch_size, channels), images, interpolate_pos_encoding=True)
    return patches.unflatten(-1, (patch_size**2, channels)).transpose(-1, -2).flatten(2)


def unpatchify(patches, patch_size, height, width):
    check(patch_size, height, width)
    batch, number, values = patches.shape
    if number != (height // patch_size) * (width // patch_size) or values % patch_size**2:
        raise ValueError("patches")
    channels = values // patch_size**2
    pixels = patches.reshape(batch, number, channels, patch_size**2).transpose(-1, -2).reshape(patches.shape)
    return ViTMAEForPreTraining.unpatchify(model(patch_size, channels), pixels, (height, width))


def resize_positions(positions, old_grid, new_grid):
    if min(*old_grid, *new_grid) < 1 or positions.shape[1] != 1 + old_grid[0] * old_grid[1]:
        raise ValueError("grids")
    config = SimpleNamespace(num_detection_tokens=1, image_size=old_grid, patch_size=1)
    wide = positions.to(torch.promote_types(positions.dtype, torch.float32))
    resized = InterpolateInitialPositionEmbeddings(config)(torch.cat([wide, wide[:, :1]], 1), new_grid)
    return resized[:, :-1].to(positions.dtype)


class Embeddings(ViTEmbeddings):
    def interpolate_pos_encoding(self, embeddings, height, width):
        grids = ([side // self.patch_size for side in size] for size in (self.image_size, (height, width)))
        return resize_positions(self.position_embeddings, *grids)


class PatchEmbedding(nn.Module):
    def __init__(self, image_size, patch_size, channels, dim):
        super().__init__()
        check(patch_size, *image_size)
        config = ViTConfig(
            image_size=list(image_size),
            patch_size=patch_size,
            num_channels=channels,
            hidden_size=dim,
            hidden_dropout_prob=0.0,
        )
        theirs = Embeddings(config)
        self.projection = theirs.patch_embeddings.projection
        self.cls_token, self.positions = theirs.cls_token, theirs.position_embeddings
        self.theirs = (theirs,)  # in a tuple, so that the parameters have one name

    def forward(self, images):
        (theirs,) = self.theirs
        check(theirs.patch_size, *images.shape[2:])
        theirs.cls_token, theirs.position_embeddings = self.cls_token, self.positions
        return theirs(images, interpolate_pos_encoding=tuple(images.shape[2:]) != tuple(theirs.image_size))
