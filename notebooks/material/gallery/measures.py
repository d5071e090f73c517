"""What adapters are told about a digit, and how it is measured whether they listened: strokes and looks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from .digits import Digits

FINE = 4  # a drawing of strokes has so many times the height and width of a digit (the kata's VAE_SCALE_FACTOR)
NEAR = 1  # in its pixels: strokes that are no farther apart are the same stroke
LOOK = ("ink", "slant", "width", "softness")


def strokes(images: Float[Tensor, "batch 1 8 8"]) -> Float[Tensor, "batch 1 32 32"]:
    """A line drawing of each picture: 1 along the middle of its strokes, 0 elsewhere. It tells nothing of their weight."""
    paper = F.pad(images.clamp(-1, 1), (1, 1, 1, 1), value=-1.0)  # a stroke that meets the frame ends there
    fine = F.interpolate(paper, scale_factor=FINE, mode="bicubic", align_corners=False)
    fine = F.avg_pool2d(fine, 3, stride=1)[..., FINE - 1 : 1 - FINE, FINE - 1 : 1 - FINE]
    sides = F.pad(fine, (2, 2, 2, 2), value=-1.0)
    size = fine.shape[-1]

    def at(down: int, right: int) -> Tensor:
        return sides[..., 2 + down : 2 + down + size, 2 + right : 2 + right + size]

    # Along a stroke the ink stays, across it the middle has the most: a ridge in one of four directions.
    ridge = torch.zeros_like(fine, dtype=torch.bool)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        higher = (fine >= at(down, right)) & (fine >= at(-down, -right))
        drop = fine - torch.maximum(at(2 * down, 2 * right), at(-2 * down, -2 * right))
        ridge |= higher & (drop > 0.12)
    return (ridge & (fine > -0.1)).to(images.dtype)


def structure(images: Float[Tensor, "batch 1 8 8"], drawing: Float[Tensor, "batch 1 32 32"]) -> Float[Tensor, "batch"]:
    """How well pictures follow line drawings: F1 of their own strokes against the drawn ones, from 0 to 1.

    Precision is the share of a picture's strokes that run near drawn ones, recall the share of the drawn that run near
    the picture's.
    """
    own, drawn = strokes(images).bool(), drawing.bool()

    def share(part: Bool[Tensor, "batch 1 h w"], whole: Bool[Tensor, "batch 1 h w"]) -> Tensor:
        near = F.max_pool2d(whole.float(), 2 * NEAR + 1, stride=1, padding=NEAR).bool()
        return (part & near).flatten(1).sum(1) / part.flatten(1).sum(1).clamp(min=1)

    precision, recall = share(own, drawn), share(drawn, own)
    return 2 * precision * recall / (precision + recall).clamp(min=1e-6)


def _raw_look(images: Tensor) -> Float[Tensor, "batch 4"]:
    """Ink per pixel, slant (how far the pen goes right for each pixel up), width, and the share of half-inked pixels."""
    ink = (images.clamp(-1, 1)[:, 0] + 1) / 2  # [batch, 8, 8], 0 to 1
    total = ink.sum((1, 2)).clamp(min=1e-3)
    across, up = torch.arange(8.0), -torch.arange(8.0)[:, None]

    def mean(values: Tensor) -> Tensor:
        return (ink * values).sum((1, 2)) / total

    x, y = mean(across)[:, None, None], mean(up)[:, None, None]
    variance = mean((up - y) ** 2)
    slant = mean((across - x) * (up - y)) / variance.clamp(min=1e-3)
    width = mean((across - x - slant[:, None, None] * (up - y)) ** 2).sqrt()  # of the digit set upright
    softness = (ink * (1 - ink)).sum((1, 2)) / total
    return torch.stack([ink.mean((1, 2)), slant, width, softness], 1)


class Look:
    """How a digit is written, as far as its being a 3 or a 7 does not explain it.

    A 7 slants more than a 0 whoever writes it. So each measure is counted in standard deviations from what is usual for
    its digit: look 0 is the usual hand, and a look can be carried from a 7 to a 0.
    """

    def __init__(self, digits: Digits) -> None:
        raw = [_raw_look(digits.of(digit)) for digit in range(10)]
        self.usual = torch.stack([look.mean(0) for look in raw])  # [10, 4]
        self.varies = torch.stack([look.std(0) for look in raw])

    @staticmethod
    def raw(images: Float[Tensor, "batch 1 8 8"]) -> Float[Tensor, "batch 4"]:
        """The measures themselves, in pixels and shares."""
        return _raw_look(images)

    def __call__(self, images: Float[Tensor, "batch 1 8 8"], labels: Tensor) -> Float[Tensor, "batch 4"]:
        return (_raw_look(images) - self.usual[labels]) / self.varies[labels]
