"""Step by step: subtract the maximum, exponentiate, take the diagonal out by indexing."""

import torch


def directed_loss(logits):
    highest = logits.max(dim=1, keepdim=True).values
    shifted = logits - highest
    log_total = torch.log(torch.exp(shifted).sum(dim=1))
    index = torch.arange(logits.shape[0], device=logits.device)
    return (log_total - shifted[index, index]).mean()


def clip_loss(image_features, text_features, logit_scale):
    if image_features.dim() != 2 or text_features.dim() != 2:
        raise ValueError("features must be matrices")
    if image_features.shape[0] != text_features.shape[0]:
        raise ValueError("the batches differ in size")
    if image_features.shape[1] != text_features.shape[1]:
        raise ValueError("the features differ in width")
    image_norm = torch.sqrt((image_features**2).sum(dim=1, keepdim=True))
    text_norm = torch.sqrt((text_features**2).sum(dim=1, keepdim=True))
    similarity = torch.matmul(image_features / image_norm, (text_features / text_norm).T)
    logits_per_image = similarity * logit_scale
    logits_per_text = logits_per_image.T
    return (directed_loss(logits_per_image) + directed_loss(logits_per_text)) / 2
