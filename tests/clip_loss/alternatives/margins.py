"""softplus-like: the logarithm of 1 plus the exponentials of (negative - positive); computed in float64."""

import torch
from torch.nn import functional as F


def clip_loss(image_features, text_features, logit_scale):
    if image_features.dim() != 2 or image_features.shape != text_features.shape:
        raise ValueError("shapes must agree")
    u, v = (F.normalize(f.double(), dim=1, eps=1e-30) for f in (image_features, text_features))
    logits = u @ v.T * logit_scale
    margins = torch.stack([logits - logits.diagonal()[:, None], logits.T - logits.diagonal()[:, None]])
    return margins.logsumexp(-1).mean().to(image_features.dtype)  # the positive's own margin is 0: its "1 +"
