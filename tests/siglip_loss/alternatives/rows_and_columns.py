"""The averages of rows and columns: both are the same sum. A closure under torch's checkpoint, which finds what it closes over."""

import itertools

import torch
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint


def _unit(features):
    if features.dtype != torch.float64:
        features = features.to(torch.float32)
    return F.normalize(features, dim=-1)


def _labels(n, device):
    return torch.ones(n, device=device).diag().mul(2).sub(1)


def _check(image_features, text_features):
    if image_features.dim() != 2 or text_features.dim() != 2:
        raise ValueError("features should be matrices")
    if list(image_features.shape) != list(text_features.shape) or image_features.shape[0] == 0:
        raise ValueError("features should pair up")


def siglip_loss(image_features, text_features, logit_scale, logit_bias):
    _check(image_features, text_features)
    logits = logit_scale * _unit(image_features).matmul(_unit(text_features).transpose(0, 1)) + logit_bias
    pairs = F.logsigmoid(_labels(len(logits), logits.device) * logits)
    return -(pairs.sum(0).mean() + pairs.sum(1).mean()) / 2


def siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, block):
    _check(image_features, text_features)
    if not block >= 1:
        raise ValueError("block should be at least 1")
    images, texts, n = _unit(image_features), _unit(text_features), len(image_features)

    def part(start, end):
        logits = logit_scale * images[start:end] @ texts.T + logit_bias
        matches = torch.arange(start, end, device=logits.device)[:, None] == torch.arange(n, device=logits.device)
        return -F.logsigmoid(torch.where(matches, logits, -logits)).sum() / n

    bounds = [*range(0, n, block), n]
    return sum(checkpoint(part, *pair, use_reentrant=False) for pair in itertools.pairwise(bounds))


def match_probabilities(image_features, text_features, logit_scale, logit_bias):
    if image_features.dim() != 2 or text_features.dim() != 2 or image_features.size(1) != text_features.size(1):
        raise ValueError("features should be matrices of one width")
    return 1 / (1 + torch.exp(-(logit_scale * _unit(image_features) @ _unit(text_features).T + logit_bias)))
