"""Binary cross-entropy with labels 0 and 1, in square tiles that the backward pass computes again: only those on the diagonal
have matches."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, normalize


def _unit(features):
    dtype = torch.float64 if features.dtype == torch.float64 else torch.float32
    return normalize(features.to(dtype), dim=1)


def _tile(images, texts, scale, bias, matches):
    logits = images @ texts.T * scale + bias
    labels = torch.eye(*logits.shape, dtype=logits.dtype, device=logits.device) * matches
    return binary_cross_entropy_with_logits(logits, labels, reduction="sum")


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, scale, bias, matches):
        ctx.given, ctx.matches = (images, texts, scale, bias), matches
        return _tile(images, texts, scale, bias, matches)

    @staticmethod
    def backward(ctx, slope):
        leaves = [each.detach().requires_grad_() for each in ctx.given]
        with torch.enable_grad():
            (_tile(*leaves, ctx.matches) * slope).backward()
        return *[leaf.grad for leaf in leaves], None


def siglip_loss(image_features, text_features, logit_scale, logit_bias):
    n = len(image_features)
    return siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, max(n, 1))


def siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, block):
    if image_features.shape != text_features.shape or image_features.ndim != 2 or not len(image_features):
        raise ValueError("features of one shape [n, dim] are needed")
    if block < 1:
        raise ValueError("blocks of at least one row are needed")
    images, texts = _unit(image_features), _unit(text_features)
    scale, bias = (torch.as_tensor(each, dtype=images.dtype) for each in (logit_scale, logit_bias))
    sums = []
    for i, some_images in enumerate(images.split(block)):
        for j, some_texts in enumerate(texts.split(block)):
            sums.append(_Again.apply(some_images, some_texts, scale, bias, float(i == j)))
    return torch.stack(sums).sum() / len(images)


def match_probabilities(image_features, text_features, logit_scale, logit_bias):
    if image_features.ndim != 2 or text_features.ndim != 2 or image_features.shape[1] != text_features.shape[1]:
        raise ValueError("features of one dim are needed")
    images, texts = _unit(image_features), _unit(text_features)
    return torch.special.expit(torch.addmm(torch.zeros_like(images[:, :1]), images, texts.T) * logit_scale + logit_bias)
