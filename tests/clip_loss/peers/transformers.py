"""transformers' contrastive_loss. Its CLIPModel normalises, scales and averages both directions around it, as here."""

from transformers.models.clip.modeling_clip import contrastive_loss


def clip_loss(image_features, text_features, logit_scale):
    if image_features.dim() != 2 or image_features.shape != text_features.shape:
        raise ValueError("features must have one shape [batch, dim]")
    images = image_features / image_features.norm(p=2, dim=-1, keepdim=True)
    texts = text_features / text_features.norm(p=2, dim=-1, keepdim=True)
    logits = texts @ images.t() * logit_scale  # per text, as CLIPModel has them
    return (contrastive_loss(logits) + contrastive_loss(logits.t())) / 2
