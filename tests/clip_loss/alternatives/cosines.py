"""Cosines from the raw products, divided by both lengths afterwards; one cross-entropy over stacked rows and columns."""

import torch
from torch.nn import functional as F


def clip_loss(image_features, text_features, logit_scale):
    if image_features.dim() != 2 or image_features.size() != text_features.size():
        raise ValueError("features must be two matrices of one size")
    lengths = image_features.square().sum(1).sqrt()[:, None] * text_features.square().sum(1).sqrt()[None]
    logits = image_features.matmul(text_features.transpose(0, 1)) / lengths * logit_scale
    n = logits.shape[0]
    target = torch.arange(n, device=logits.device).repeat(2)
    return F.cross_entropy(torch.cat([logits, logits.mT]), target)
