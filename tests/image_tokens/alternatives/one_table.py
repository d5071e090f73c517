"""Embeddings and tokens are one table, and the result is a look-up in it. Labels are made in NumPy."""

import numpy as np
import torch
from torch import nn


def select_features(hidden_states, layer=-2):
    if layer >= len(hidden_states) or layer < -len(hidden_states):
        raise ValueError(f"layer {layer}")
    return torch.stack([picture[1:] for picture in hidden_states[layer]])


class Projector(nn.Module):
    def __init__(self, vision_dim, text_dim):
        super().__init__()
        for name, wide in (("linear_1", vision_dim), ("linear_2", text_dim)):
            self.add_module(name, nn.Linear(wide, text_dim))

    def forward(self, features):
        half = 0.5 * (x := self.linear_1(features))
        return self.linear_2(half + half * torch.erf(x * 0.5**0.5))


def expand_placeholders(ids, image_id, sizes):
    ids, sizes = np.array(ids, dtype=np.int64), np.array(sizes, dtype=np.int64)
    places = ids == image_id
    if places.sum() != sizes.size or (sizes <= 0).any():
        raise ValueError("sizes")
    repeats = np.ones_like(ids)
    repeats[places] = sizes
    return np.repeat(ids, repeats).tolist()


def splice(embeddings, ids, features, images_per_row, image_id):
    batch, length, dim = embeddings.shape
    if list(ids.shape) != [batch, length]:
        raise ValueError("ids")
    if len(images_per_row) != batch or not all(n >= 0 for n in images_per_row):
        raise ValueError("images_per_row")
    if sum(images_per_row) != len(features):
        raise ValueError("features")
    if {each.shape[-1] for each in features} - {dim}:
        raise ValueError("width")
    at, given = (ids == image_id).cpu().numpy(), list(features)
    for row in range(batch):
        tokens, given = sum(map(len, given[: images_per_row[row]])), given[images_per_row[row] :]
        if tokens != at[row].sum():
            raise ValueError(f"{at[row].sum()} placeholders for {tokens} tokens (row {row})")
    index = np.arange(batch * length)
    index[at.ravel()] = batch * length + np.arange(at.sum())
    table = torch.cat([embeddings.reshape(-1, dim), *(each.to(embeddings.dtype) for each in features)])
    return table[torch.from_numpy(index).to(table.device)].reshape(batch, length, dim)


def image_labels(labels, ids, image_id):
    if labels.shape != ids.shape:
        raise ValueError("shapes")
    out = np.where(ids.cpu().numpy() == image_id, -100, labels.cpu().numpy())
    return torch.from_numpy(out).to(labels.device)
