"""The logits and the loss in transformers' SiglipModel.forward, with features in the place of its encoders. It raises e to the
power of the learned scale, which is the scale itself here. It knows no blocks: those recompute each block's logits."""

from types import SimpleNamespace

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import SiglipModel


class Factor:
    """A scale that has been raised to the power already."""

    def __init__(self, scale):
        self.scale = scale

    def to(self, device):
        return self

    def exp(self):
        return self.scale


def run(images, texts, scale, bias, **options):
    wide = torch.promote_types(images.dtype, torch.float32)
    bias = torch.as_tensor(bias, dtype=wide, device=images.device)
    model = SimpleNamespace(
        config=SimpleNamespace(return_dict=True),
        vision_model=lambda **_: SimpleNamespace(pooler_output=images.to(wide)),
        text_model=lambda **_: SimpleNamespace(pooler_output=texts.to(wide)),
        logit_scale=Factor(torch.as_tensor(scale, dtype=wide, device=images.device)),
        logit_bias=bias,
    )
    return SiglipModel.forward(model, **options)


def check(images, texts, same):
    if images.ndim != 2 or texts.ndim != 2 or images.shape[1] != texts.shape[1]:
        raise ValueError("features")
    if same and (images.shape != texts.shape or not len(images)):
        raise ValueError("pairs")


def siglip_loss(image_features, text_features, logit_scale, logit_bias):
    check(image_features, text_features, True)
    return run(image_features, text_features, logit_scale, logit_bias, return_loss=True).loss


def siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, block):
    check(image_features, text_features, True)
    if block < 1:
        raise ValueError("block")

    def part(texts, first):
        logits = run(image_features, texts, logit_scale, logit_bias).logits_per_text
        signs = torch.full_like(logits, -1.0)
        signs.diagonal(first).fill_(1.0)
        return -F.logsigmoid(signs * logits).sum()

    n = len(image_features)
    parts = (
        checkpoint(part, text_features[i : i + block], i, use_reentrant=False, preserve_rng_state=False)
        for i in range(0, n, block)
    )
    return sum(parts) / n


def match_probabilities(image_features, text_features, logit_scale, logit_bias):
    check(image_features, text_features, False)
    return run(image_features, text_features, logit_scale, logit_bias).logits_per_image.sigmoid()
