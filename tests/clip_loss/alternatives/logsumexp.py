"""The loss as logsumexp minus the diagonal, with norms by hand."""

import torch


def clip_loss(image_features, text_features, logit_scale):
    if image_features.ndim != 2 or text_features.shape != image_features.shape:
        raise ValueError("one text for each image, in the same space")
    u = image_features / image_features.norm(dim=1, keepdim=True)
    v = text_features / text_features.norm(dim=1, keepdim=True)
    logits = logit_scale * torch.mm(u, v.t())
    both = torch.logsumexp(logits, dim=0) + torch.logsumexp(logits, dim=1)
    return (both / 2 - logits.diag()).mean()
