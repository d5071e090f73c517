"""The averages of rows and columns: both are the same sum. All blocks are one autograd function, whose backward pass goes
through them once more, and lets autograd add up the gradients."""

import itertools

import torch
from torch.nn import functional as F


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


def _part(images, texts, scale, bias, start, end):
    logits = scale * images[start:end] @ texts.T + bias
    matches = torch.arange(start, end, device=logits.device)[:, None] == torch.arange(len(texts), device=logits.device)
    return -F.logsigmoid(torch.where(matches, logits, -logits)).sum() / len(texts)


class _Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx, bounds, *given):
        ctx.bounds = bounds
        ctx.save_for_backward(*given)
        return sum(_part(*given, *pair) for pair in itertools.pairwise(bounds))

    @staticmethod
    def backward(ctx, grad):
        leaves = [each.detach().requires_grad_() for each in ctx.saved_tensors]
        with torch.enable_grad():
            for pair in itertools.pairwise(ctx.bounds):
                _part(*leaves, *pair).mul(grad).backward()
        return None, *(leaf.grad for leaf in leaves)


def siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, block):
    _check(image_features, text_features)
    if not block >= 1:
        raise ValueError("block should be at least 1")
    images, texts, n = _unit(image_features), _unit(text_features), len(image_features)

    scale, bias = (torch.as_tensor(each, dtype=images.dtype) for each in (logit_scale, logit_bias))
    return _Twice.apply([*range(0, n, block), n], images, texts, scale, bias)


def match_probabilities(image_features, text_features, logit_scale, logit_bias):
    if image_features.dim() != 2 or text_features.dim() != 2 or image_features.size(1) != text_features.size(1):
        raise ValueError("features should be matrices of one width")
    return 1 / (1 + torch.exp(-(logit_scale * _unit(image_features) @ _unit(text_features).T + logit_bias)))
