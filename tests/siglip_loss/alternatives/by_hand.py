"""Everything by hand, in float64 inside: the stable log(1 + exp), the sigmoid, and the backward pass of a block, which
computes the cosines again."""

import torch


def _prepare(features):
    features = features.double()
    return features / features.pow(2).sum(1, keepdim=True).sqrt()


def _narrow(result, like):
    return result if like.dtype == torch.float64 else result.float()


def _positive(x):
    """sigmoid without overflow."""
    e = torch.exp(-x.abs())
    return torch.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _matches(rows, columns, first, device):
    mask = torch.zeros(rows, columns, dtype=torch.bool, device=device)
    for_rows = torch.arange(rows, device=device)
    mask[for_rows, first + for_rows] = True
    return mask


class _Part(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, scale, bias, first):
        ctx.save_for_backward(images, texts, scale, bias)
        ctx.mask = first
        logits = images @ texts.T * scale + bias
        wrong = torch.where(_matches(*logits.shape, first, logits.device), -logits, logits)
        return (wrong.clamp(min=0) + torch.log1p(torch.exp(-wrong.abs()))).sum()

    @staticmethod
    def backward(ctx, grad):
        images, texts, scale, bias = ctx.saved_tensors
        cosines = images @ texts.T
        mask = _matches(*cosines.shape, ctx.mask, cosines.device)
        slopes = grad * (_positive(cosines * scale + bias) - mask.double())
        to_cosines = slopes * scale
        return to_cosines @ texts, to_cosines.T @ images, (slopes * cosines).sum(), slopes.sum(), None


def siglip_loss(image_features, text_features, logit_scale, logit_bias):
    return siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, len(image_features) or 1)


def siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, block):
    if image_features.dim() != 2 or image_features.shape != text_features.shape:
        raise ValueError("shapes differ")
    if not len(image_features):
        raise ValueError("no pairs")
    if block < 1:
        raise ValueError("no rows in a block")
    images, texts = _prepare(image_features), _prepare(text_features)
    scale, bias = (
        torch.as_tensor(value, dtype=torch.float64, device=images.device) for value in (logit_scale, logit_bias)
    )
    parts = [
        _Part.apply(images[i : min(i + block, len(images))], texts, scale, bias, i)
        for i in range(0, len(images), block)
    ]
    return _narrow(sum(parts) / len(images), image_features)


def match_probabilities(image_features, text_features, logit_scale, logit_bias):
    for features in (image_features, text_features):
        if features.dim() != 2:
            raise ValueError("not a matrix")
    if image_features.shape[1] != text_features.shape[1]:
        raise ValueError("two dims")
    logits = _prepare(image_features) @ _prepare(text_features).T * logit_scale + logit_bias
    return _narrow(_positive(logits), image_features)
