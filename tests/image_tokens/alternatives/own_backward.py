"""The splice is an autograd function whose backward takes the gradient apart; the projector is a Sequential by other names."""

from collections import OrderedDict

import torch
from torch import nn


def select_features(hidden_states, layer=-2):
    states = list(hidden_states)
    if not (layer in range(len(states)) or -layer in range(1, len(states) + 1)):
        raise ValueError(layer)
    return states[layer][..., 1:, :]


class Projector(nn.Sequential):
    def __init__(self, vision_dim, text_dim):
        layers = [
            ("linear_1", nn.Linear(vision_dim, text_dim)),
            ("act", nn.GELU()),
            ("linear_2", nn.Linear(text_dim, text_dim)),
        ]
        super().__init__(OrderedDict(layers))


def expand_placeholders(ids, image_id, sizes):
    if any(size < 1 for size in sizes) or len(sizes) != sum(token == image_id for token in ids):
        raise ValueError("sizes")
    if not sizes:
        return ids.copy()
    at = ids.index(image_id)
    return ids[:at] + [image_id] * sizes[0] + expand_placeholders(ids[at + 1 :], image_id, sizes[1:])


class Replace(torch.autograd.Function):
    @staticmethod
    def forward(ctx, embeddings, tokens, places):
        ctx.save_for_backward(places)
        ctx.dtype = tokens.dtype
        rows = embeddings.reshape(-1, embeddings.shape[-1])
        return rows.index_copy(0, places, tokens.to(rows.dtype)).reshape(embeddings.shape)

    @staticmethod
    def backward(ctx, grad):
        (places,) = ctx.saved_tensors
        rows = grad.reshape(-1, grad.shape[-1])
        return rows.index_fill(0, places, 0.0).reshape(grad.shape), rows[places].to(ctx.dtype), None


def splice(embeddings, ids, features, images_per_row, image_id):
    if embeddings.shape[:2] != ids.shape:
        raise ValueError("ids")
    if len(embeddings) != len(images_per_row) or any(n < 0 for n in images_per_row):
        raise ValueError("rows")
    rows = [row for row, images in enumerate(images_per_row) for _ in range(images)]
    if len(rows) != len(features):
        raise ValueError("pictures")
    tokens = [0] * len(ids)
    for row, picture in zip(rows, features, strict=True):
        if picture.shape[-1] != embeddings.shape[-1]:
            raise ValueError(f"{picture.shape[-1]} wide")
        tokens[row] += len(picture)
    counts = torch.count_nonzero(ids == image_id, dim=1).tolist()
    if counts != tokens:
        row = next(row for row in range(len(ids)) if counts[row] != tokens[row])
        raise ValueError(f"placeholders: {counts[row]}, tokens: {tokens[row]}, row: {row}")
    if not rows:
        return embeddings * 1
    places = (ids.flatten() == image_id).nonzero().squeeze(1)
    return Replace.apply(embeddings, torch.concat([*features]), places)


def image_labels(labels, ids, image_id):
    if [*labels.shape] != [*ids.shape]:
        raise ValueError("labels and ids")
    at = (ids == image_id).long()
    return labels * (1 - at) - 100 * at
