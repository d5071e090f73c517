"""A copy is written to, at a mask: index_put. Prompts are cut at their placeholders, and labels are a list."""

import torch
import torch.nn.functional as F


def select_features(hidden_states, layer=-2):
    layers = dict(enumerate(hidden_states)) | {k - len(hidden_states): each for k, each in enumerate(hidden_states)}
    if layer not in layers:
        raise ValueError(layer)
    return layers[layer].narrow(1, 1, layers[layer].size(1) - 1).clone()


class Projector(torch.nn.Module):
    def __init__(self, vision_dim, text_dim):
        super().__init__()
        self.linear_2 = torch.nn.Linear(text_dim, text_dim)
        self.act = torch.nn.GELU()
        self.linear_1 = torch.nn.Linear(vision_dim, text_dim)
        torch.nn.init.xavier_uniform_(self.linear_1.weight)
        torch.nn.init.zeros_(self.linear_1.bias)

    def forward(self, features):
        hidden = self.act(features.matmul(self.linear_1.weight.t()) + self.linear_1.bias)
        return F.linear(hidden, self.linear_2.weight, self.linear_2.bias)


def expand_placeholders(ids, image_id, sizes):
    texts = [[]]
    for token in ids:
        if token == image_id:
            texts.append([])
        else:
            texts[-1].append(token)
    if len(texts) - 1 != len(sizes) or min(sizes, default=1) < 1:
        raise ValueError("sizes")
    out = texts[0]
    for size, text in zip(sizes, texts[1:], strict=True):
        out = out + size * [image_id] + text
    return out


def splice(embeddings, ids, features, images_per_row, image_id):
    if tuple(ids.shape) != tuple(embeddings.shape[:-1]):
        raise ValueError("the shapes do not match")
    if any(picture.size(-1) != embeddings.size(-1) for picture in features):
        raise ValueError("not as wide")
    if len(images_per_row) != ids.size(0) or sum(images_per_row) - len(features) or any(n < 0 for n in images_per_row):
        raise ValueError("images_per_row")
    mask = ids.eq(image_id)
    owner = torch.arange(len(ids)).repeat_interleave(torch.tensor(images_per_row, dtype=torch.int64))
    tokens = torch.zeros(len(ids)).long().index_add(0, owner, torch.tensor([len(f) for f in features]).long())
    places = mask.sum(1).cpu()
    wrong = (places - tokens).nonzero().flatten().tolist()
    if wrong:
        raise ValueError("; ".join(f"row {i}: {places[i]} places, {tokens[i]} tokens" for i in wrong))
    out = embeddings.clone()
    if len(features):
        out[mask] = torch.cat(tuple(features)).type_as(out)
    return out


def image_labels(labels, ids, image_id):
    if ids.shape != labels.shape:
        raise ValueError("not aligned")
    pairs = [zip(*each, strict=True) for each in zip(labels.tolist(), ids.tolist(), strict=True)]
    rows = [[-100 if token == image_id else label for label, token in row] for row in pairs]
    return labels.new_tensor(rows).reshape(labels.shape)
