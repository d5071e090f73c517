"""Every place looks up its token's number, a running count of the placeholders, and takes the token or the embedding."""

import torch
from torch import nn


def select_features(hidden_states, layer=-2):
    number = layer + len(hidden_states) if layer < 0 else layer
    if number not in range(len(hidden_states)):
        raise ValueError("layer")
    chosen = hidden_states[number]
    return chosen.index_select(1, torch.arange(1, chosen.shape[1], device=chosen.device))


class Projector(nn.Module):
    def __init__(self, vision_dim, text_dim):
        super().__init__()
        self.linear_1 = nn.Linear(vision_dim, text_dim)
        self.linear_2 = nn.Linear(text_dim, text_dim)

    def forward(self, features):
        flat = features.reshape(-1, features.shape[-1])
        hidden = torch.addmm(self.linear_1.bias, flat, self.linear_1.weight.T)
        hidden = hidden * torch.special.ndtr(hidden)
        return torch.addmm(self.linear_2.bias, hidden, self.linear_2.weight.T).reshape(*features.shape[:-1], -1)


def expand_placeholders(ids, image_id, sizes):
    sizes = list(sizes)
    if [token for token in ids if token == image_id] != [image_id] * len(sizes):
        raise ValueError("as many sizes as placeholders")
    if not all(size > 0 for size in sizes):
        raise ValueError("sizes are positive")
    out = list(ids)
    places = [place for place, token in enumerate(ids) if token == image_id]
    for place, size in reversed(list(zip(places, sizes, strict=True))):  # from the right, so that none has moved
        out[place : place + 1] = [image_id] * size
    return out


def splice(embeddings, ids, features, images_per_row, image_id):
    if ids.ndim != 2 or ids.shape[0] != embeddings.shape[0] or ids.shape[1] != embeddings.shape[1]:
        raise ValueError("ids and embeddings")
    if [n for n in images_per_row if n < 0] or (len(images_per_row), sum(images_per_row)) != (len(ids), len(features)):
        raise ValueError("pictures of the rows")
    mask = ids == image_id
    ends = torch.tensor(images_per_row, dtype=torch.long).cumsum(0).tolist()
    for row, (end, images) in enumerate(zip(ends, images_per_row, strict=True)):
        want, have = sum(each.shape[0] for each in features[end - images : end]), int(mask[row].sum())
        if want != have:
            raise ValueError(f"row={row} placeholders={have} tokens={want}")
    if any(each.shape[1:] != embeddings.shape[2:] for each in features):
        raise ValueError("width")
    if not features:
        return embeddings
    joined = torch.vstack(tuple(features)).to(embeddings.dtype)
    number = mask.flatten().cumsum(0).sub(1).clamp(min=0).reshape(mask.shape)
    return torch.where(mask.unsqueeze(-1), joined[number], embeddings)


def image_labels(labels, ids, image_id):
    if ids.ndim != labels.ndim or any(a != b for a, b in zip(ids.shape, labels.shape, strict=True)):
        raise ValueError("shapes")
    out = labels.clone()
    out[ids == image_id] = -100
    return out
