"""Each pair as a classification with two classes, whose logits are 0 and l. Each block's gradients are found by autograd in
the forward pass, and its graph is let go of at once."""

import torch
from torch.nn import functional as F

WIDE = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


def _logits(images, texts, scale, bias):
    images, texts = (F.normalize(x.type(WIDE.get(x.dtype, x.dtype)), dim=-1, eps=1e-30) for x in (images, texts))
    return F.linear(images, texts) * scale + bias


def _sum(images, texts, scale, bias, start):
    logits = _logits(images, texts, scale, bias)
    labels = torch.zeros(logits.shape, dtype=torch.long, device=logits.device)
    labels.diagonal(start).fill_(1)
    pair = torch.stack([torch.zeros_like(logits), logits], -1)
    return F.cross_entropy(pair.flatten(0, 1), labels.flatten(), reduction="sum")


def _pairs(images, texts):
    if not (images.dim() == texts.dim() == 2 and images.shape == texts.shape and images.shape[0] > 0):
        raise ValueError(f"cannot pair {tuple(images.shape)} with {tuple(texts.shape)}")
    return images.shape[0]


def siglip_loss(image_features, text_features, logit_scale, logit_bias):
    n = _pairs(image_features, text_features)
    return _sum(image_features, text_features, logit_scale, logit_bias, 0).div(n)


class _Eager(torch.autograd.Function):
    @staticmethod
    def forward(ctx, images, texts, scale, bias, block):
        leaves = [each.detach().requires_grad_() for each in (images, texts, scale, bias)]
        n, value, totals = len(images), 0, [torch.zeros_like(leaf) for leaf in leaves]
        with torch.inference_mode(False), torch.enable_grad():
            for start in range(0, n, block):
                part = _sum(leaves[0][start : start + block], *leaves[1:], start) / n
                value = value + part.detach()
                for total, grad in zip(totals, torch.autograd.grad(part, leaves), strict=True):
                    total += grad
        ctx.save_for_backward(*totals)
        return value

    @staticmethod
    def backward(ctx, grad):
        return *(total * grad for total in ctx.saved_tensors), None


def siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, block):
    n = _pairs(image_features, text_features)
    if block < 1:
        raise ValueError(f"block={block}")
    if not torch.is_grad_enabled():
        given = image_features, text_features, logit_scale, logit_bias
        return sum(_sum(given[0][i : i + block], *given[1:], i) for i in range(0, n, block)) / n
    wide = WIDE.get(image_features.dtype, image_features.dtype)
    given = image_features.to(wide), text_features.to(wide), logit_scale, logit_bias
    return _Eager.apply(*(torch.as_tensor(each, dtype=wide, device=image_features.device) for each in given), block)


def match_probabilities(image_features, text_features, logit_scale, logit_bias):
    if image_features.dim() != 2 or text_features.dim() != 2 or image_features.shape[1] != text_features.shape[1]:
        raise ValueError(f"cannot compare {tuple(image_features.shape)} with {tuple(text_features.shape)}")
    logits = _logits(image_features, text_features, logit_scale, logit_bias)
    return torch.stack([torch.zeros_like(logits), logits], -1).softmax(-1)[..., 1]
