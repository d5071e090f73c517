"""Rows are put together of pieces, as LLaVA's first code does; the projector has layers of its own."""

import math
from itertools import groupby

import torch


def select_features(hidden_states, layer=-2):
    try:
        chosen = hidden_states[layer]
    except IndexError as error:
        raise ValueError("no such layer") from error
    _, patches = chosen.split([1, chosen.shape[1] - 1], 1)
    return patches


class Affine(torch.nn.Module):
    def __init__(self, wide_in, wide_out):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(wide_out, wide_in) / math.sqrt(wide_in))
        self.bias = torch.nn.Parameter(torch.zeros(wide_out))

    def forward(self, x):
        return torch.einsum("...i,oi->...o", x, self.weight) + self.bias


class Projector(torch.nn.Module):
    def __init__(self, vision_dim, text_dim):
        super().__init__()
        self.linear_1, self.linear_2 = Affine(vision_dim, text_dim), Affine(text_dim, text_dim)

    def forward(self, features):
        hidden = self.linear_1(features)
        return self.linear_2(hidden / 2 * torch.erfc(-hidden / math.sqrt(2)))


def expand_placeholders(ids, image_id, sizes):
    out, used = [], 0
    for token in ids:
        if token != image_id:
            out.append(token)
            continue
        if used == len(sizes) or sizes[used] <= 0:
            raise ValueError(f"size {used}")
        out.extend([image_id] * sizes[used])
        used += 1
    if used < len(sizes):
        raise ValueError("sizes are left over")
    return out


def splice(embeddings, ids, features, images_per_row, image_id):
    if ids.size() != embeddings.size()[:2]:
        raise ValueError("ids")
    if len(images_per_row) != len(ids) or any(n < 0 for n in images_per_row) or sum(images_per_row) != len(features):
        raise ValueError("pictures")
    rows, start = [], 0
    for row, images in enumerate(images_per_row):
        mine = list(features[start : start + images])
        start += images
        tokens = sum(len(each) for each in mine)
        layout = (ids[row] == image_id).tolist()
        if sum(layout) != tokens:
            raise ValueError(f"{tokens} tokens for {sum(layout)} places in row {row}")
        if any(each.shape[1] != embeddings.shape[2] for each in mine):
            raise ValueError("width")
        mine = torch.cat(mine).to(embeddings.dtype) if mine else None
        pieces, place, token = [], 0, 0
        for picture, run in groupby(layout):
            size = len(list(run))
            pieces.append(mine[token : token + size] if picture else embeddings[row, place : place + size])
            place, token = place + size, token + size * picture
        rows.append(torch.cat(pieces))
    return torch.stack(rows)


def image_labels(labels, ids, image_id):
    if labels.shape != ids.shape:
        raise ValueError("shapes")
    return torch.where(ids == image_id, torch.full_like(labels, -100), labels)
