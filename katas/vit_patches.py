"""Pictures as tokens: patches, the ViT embedding, positions for another resolution.

How does a picture become tokens? Write patchify and its inverse, the embedding of a vision transformer with its class
token and positions, and the resizing of the positions for another resolution.

A picture of height x width pixels is cut into a grid of height/patch_size rows and width/patch_size columns of square
patches, from its upper left corner on. The patches are numbered row by row, and a grid (rows, columns) names the rows
first. So does every size: (height, width). Neither pictures nor grids need be square.

Numbers: float16, bfloat16, float32 and float64, contiguous or not; results have the dtype and the device of the inputs.
A batch may be empty. No argument and no parameter is modified.

Stage 1: patches of square pictures, the embedding's parameters and tokens.  Stage 2: rectangles, the inverse, resized
positions, other resolutions, wrong arguments.  Stage 3: gradients, every floating dtype.  Stage 4: one copy of the
picture, no loop over patches.

Sources: Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at Scale" (2020);
Keys, "Cubic Convolution Interpolation for Digital Image Processing" (1981).
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


def patchify(
    images: Float[Tensor, "batch channels height width"], patch_size: int
) -> Float[Tensor, "batch patches values"]:
    """Each patch's channels * patch_size^2 pixel values, patch after patch.

    The values are in the order (channel, row, column), which is that of a convolution's weight. They are the picture's
    own numbers, unchanged. It reads and writes at most 8 times as many bytes as the images have, in a number of operators
    that does not grow with batch, channels or picture. Raises ValueError if patch_size < 1, or if height or width is no multiple of it.
    """
    raise NotImplementedError("vit_patches.patchify: write me")


def unpatchify(
    patches: Float[Tensor, "batch patches values"], patch_size: int, height: int, width: int
) -> Float[Tensor, "batch channels height width"]:
    """The pictures whose patches these are: the inverse of patchify, at the same cost.

    Raises ValueError for what patchify cannot have made: if patch_size < 1, or if height or width is no multiple of it; if
    the number of patches is not that of a height x width picture; or if the number of values is no multiple of
    patch_size^2.
    """
    raise NotImplementedError("vit_patches.unpatchify: write me")


def resize_positions(
    positions: Float[Tensor, "1 1+old dim"], old_grid: tuple[int, int], new_grid: tuple[int, int]
) -> Float[Tensor, "1 1+new dim"]:
    """The position embeddings of another grid of patches.

    The first row belongs to the class token, which has no place in the picture: it stays as it is. The others are pixels of
    a picture of old_grid's size, in the order of the patches, with dim channels. It is scaled to new_grid's size by cubic
    convolution, as torch interpolates with mode "bicubic": align_corners is False, the pixels at the border
    are repeated beyond it, there is no antialiasing, and the scale is exactly new / old of each side. Computed in float32 at
    least, and returned in the dtype of the positions. Equal grids return equal values. Differentiable in positions.

    Raises ValueError if positions do not have 1 + rows * columns of old_grid, or if a side of either grid is below 1.
    """
    raise NotImplementedError("vit_patches.resize_positions: write me")


class PatchEmbedding(nn.Module):
    """The input of a vision transformer: a class token, then a token for each patch, and a position added to each.

    The parameters, all trainable:
        projection.weight  [dim, channels, patch_size, patch_size]     of an nn.Conv2d whose stride is its kernel
        projection.bias    [dim]
        cls_token          [1, 1, dim]
        positions          [1, 1 + patches of image_size, dim]         the first belongs to the class token
    Their values at the start are yours, as long as all of them are finite.
    """

    def __init__(self, image_size: tuple[int, int], patch_size: int, channels: int, dim: int) -> None:
        """image_size is (height, width). Raises ValueError if patch_size < 1, or if a side is no multiple of it."""
        raise NotImplementedError("vit_patches.PatchEmbedding.__init__: write me")

    def forward(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 1+patches dim"]:
        """The class token and the projected patches, in this order, plus their positions.

        A patch's token is projection.weight, flattened, times the values of patchify, plus projection.bias. Pictures of
        another grid than image_size's get resized positions, computed from the parameter as it is now.
        It costs 2 * values * dim FLOPs a patch, in a number of operators that does not grow with batch or picture.
        Raises ValueError if the pictures have other channels, or if a side is no multiple of patch_size.
        """
        raise NotImplementedError("vit_patches.PatchEmbedding.forward: write me")
