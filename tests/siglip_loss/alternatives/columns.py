"""Columns of texts instead of rows of images, logaddexp, and a backward pass by torch.func.vjp, which takes what the
forward pass was given and normalises once more in each block."""

import torch


def _cosines(images, texts):
    wide = torch.promote_types(images.dtype, torch.float32)
    images, texts = images.to(wide), texts.to(wide)
    images = images / torch.linalg.vector_norm(images, dim=-1, keepdim=True)
    texts = texts / torch.linalg.vector_norm(texts, dim=-1, keepdim=True)
    return torch.einsum("id,jd->ij", images, texts)


def _column_sum(images, texts, scale, bias, first):
    logits = scale * _cosines(images, texts) + bias
    rows = torch.arange(logits.shape[0], device=logits.device)[:, None]
    columns = torch.arange(logits.shape[1], device=logits.device)[None]
    wrong = torch.where(rows == columns + first, -logits, logits)
    return torch.logaddexp(wrong, torch.zeros_like(wrong)).sum()


class _Again(torch.autograd.Function):
    @staticmethod
    def forward(ctx, first, *given):
        ctx.first = first
        ctx.save_for_backward(*given)
        return _column_sum(*given, first)

    @staticmethod
    def backward(ctx, grad):
        _, pull = torch.func.vjp(lambda *given: _column_sum(*given, ctx.first), *ctx.saved_tensors)
        return None, *pull(grad)


def _check(images, texts, block=1):
    if images.dim() != 2 or images.shape != texts.shape or images.numel() == 0 or block < 1:
        raise ValueError("not a batch of pairs")


def siglip_loss(image_features, text_features, logit_scale, logit_bias):
    _check(image_features, text_features)
    return _column_sum(image_features, text_features, logit_scale, logit_bias, 0) / image_features.shape[0]


def siglip_loss_blocks(image_features, text_features, logit_scale, logit_bias, block):
    _check(image_features, text_features, block)
    parameters = [p if torch.is_tensor(p) else torch.tensor(p, dtype=torch.float64) for p in (logit_scale, logit_bias)]
    loss, first = 0, 0
    while first < len(text_features):
        some = text_features[first : first + block]
        part = _Again.apply(first, image_features, some, *parameters)
        loss, first = loss + part, first + block
    return loss / len(image_features)


@torch.no_grad()
def match_probabilities(image_features, text_features, logit_scale, logit_bias):
    if [image_features.dim(), text_features.dim()] != [2, 2] or image_features.shape[-1] != text_features.shape[-1]:
        raise ValueError("not two matrices of one width")
    logits = logit_scale * _cosines(image_features, text_features) + logit_bias
    return torch.nn.functional.logsigmoid(logits).exp()
