"""softplus(-l) = softplus(l) - l: every pair as a negative, less the logits of the matches. Blocks find their gradients
in the forward pass, in closed form: sigmoid(l), less 1 for a match."""

import torch
from torch.nn import functional as F


def _unit(x):
    x = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return x / x.norm(dim=1, keepdim=True)


def _need_pairs(images, texts):
    if images.ndim != 2 or texts.ndim != 2 or images.shape != texts.shape or not images.shape[0]:
        raise ValueError("images and texts do not pair up")


def siglip_loss(image_features, text_features, logit_scale, logit_bias):
    _need_pairs(image_features, text_features)
    logits = torch.mm(_unit(image_features), _unit(text_features).t()) * logit_scale + logit_bias
    return (F.softplus(logits).sum() - logits.trace()) / logits.shape[0]


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, scale, bias, block):
        n, total = len(images), images.new_zeros(())
        grads = [torch.zeros_like(each) for each in (images, texts, scale, bias)]
        for i, rows in zip(range(0, n, block), images.split(block), strict=True):
            cosines = rows @ texts.T
            logits = scale * cosines + bias
            total += F.softplus(logits).sum() - logits.diagonal(i).sum()
            slopes = logits.sigmoid()
            slopes.diagonal(i).sub_(1)
            grads[0][i : i + block] = scale * slopes @ texts
            grads[1] += scale * slopes.T @ rows
            grads[2] += (slopes * cosines).sum()
            grads[3] += slopes.sum()
        ctx.save_for_backward(*(grad / n for grad in grads))
        return total / n

    @staticmethod
    def backward(ctx, grad):
        return *(grad * each for each in ctx.saved_tensors), None


def siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, block):
    _need_pairs(image_features, text_features)
    if block <= 0:
        raise ValueError("no such block")
    images, texts = _unit(image_features), _unit(text_features)
    scale, bias = (torch.as_tensor(x, dtype=images.dtype) for x in (logit_scale, logit_bias))
    return _Fused.apply(images, texts, scale, bias, block)


def match_probabilities(image_features, text_features, logit_scale, logit_bias):
    if {image_features.ndim, text_features.ndim} != {2} or image_features.size(1) != text_features.size(1):
        raise ValueError("two matrices of the same width, please")
    return (_unit(image_features) @ _unit(text_features).t() * logit_scale + logit_bias).sigmoid()
