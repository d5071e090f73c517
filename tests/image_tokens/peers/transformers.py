"""transformers' LLaVA: its choice of features, its projector, its mask of the placeholders, and masked_scatter as in its
forward pass. It counts placeholders in the batch and not in the rows, and leaves prompts and labels to others."""

from types import SimpleNamespace

import torch
from transformers import LlavaModel
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector


def select_features(hidden_states, layer=-2):
    if not -len(hidden_states) <= layer < len(hidden_states):
        raise ValueError("layer")
    # which gives the pictures one by one
    outputs = SimpleNamespace(hidden_states=hidden_states)
    model = SimpleNamespace(
        config=SimpleNamespace(return_dict=True),
        vision_tower=lambda *_, **__: outputs,
        multi_modal_projector=lambda features: (setattr(outputs, "selected", features), features)[1],
    )
    LlavaModel.get_image_features(
        model, pixel_values=None, vision_feature_layer=layer, vision_feature_select_strategy="default"
    )
    return outputs.selected


class Projector(LlavaMultiModalProjector):
    def __init__(self, vision_dim, text_dim):
        config = SimpleNamespace(
            vision_feature_layer=-2,
            vision_config=SimpleNamespace(hidden_size=vision_dim),
            text_config=SimpleNamespace(hidden_size=text_dim),
            multimodal_projector_bias=True,
            projector_hidden_act="gelu",
        )
        super().__init__(config)


def expand_placeholders(ids, image_id, sizes):
    sizes = list(sizes)
    if ids.count(image_id) != len(sizes) or any(size < 1 for size in sizes):
        raise ValueError("sizes")
    following = iter(sizes)
    return [each for one in ids for each in [one] * (next(following) if one == image_id else 1)]


def splice(embeddings, ids, features, images_per_row, image_id):
    if ids.shape != embeddings.shape[:2]:
        raise ValueError("ids")
    if any(each.shape[-1] != embeddings.shape[-1] for each in features):
        raise ValueError("width")
    counts = list(images_per_row)
    if len(counts) != len(ids) or any(count < 0 for count in counts) or sum(counts) != len(features):
        raise ValueError("images_per_row")
    pictures = iter(features)
    placeholders = (ids == image_id).sum(1).tolist()
    for row, (count, found) in enumerate(zip(counts, placeholders, strict=True)):
        expected = sum(len(next(pictures)) for _ in range(count))
        if expected != found:
            raise ValueError(f"row {row} has {found} placeholders for {expected} tokens")
    if not len(features):
        return embeddings
    tokens = torch.cat([each.to(embeddings.dtype) for each in features])
    model = SimpleNamespace(config=SimpleNamespace(image_token_id=image_id))
    mask = LlavaModel.get_placeholder_mask(model, ids, embeddings, tokens)
    return embeddings.masked_scatter(mask, tokens)


def image_labels(labels, ids, image_id):
    if labels.shape != ids.shape:
        raise ValueError("shapes")
    return labels.masked_fill(ids == image_id, -100)
