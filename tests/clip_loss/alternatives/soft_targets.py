"""Cross-entropy with the identity as soft targets, by einsum."""

import torch


def clip_loss(image_features, text_features, logit_scale):
    for features in (image_features, text_features):
        if features.dim() != 2:
            raise ValueError("features are [batch, dim]")
    if image_features.shape != text_features.shape:
        raise ValueError("images and texts must pair up")
    images = image_features * image_features.pow(2).sum(-1, keepdim=True).rsqrt()
    texts = text_features * text_features.pow(2).sum(-1, keepdim=True).rsqrt()
    logits = torch.einsum("id,jd->ij", images, texts) * logit_scale
    target = torch.eye(len(images), dtype=logits.dtype, device=logits.device)
    rows = -(target * logits.log_softmax(dim=1)).sum(dim=1)
    columns = -(target * logits.log_softmax(dim=0)).sum(dim=0)
    return 0.5 * rows.mean() + 0.5 * columns.mean()
