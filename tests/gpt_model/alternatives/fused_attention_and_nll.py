"""Blocks with the fused call; -log p by logsumexp and an index; one-row logits by hand, groups by the layer they are in."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class GPTConfig:
    """Given. The sizes of a GPT. `dropout` is the probability that a number is dropped in training."""

    vocab: int
    max_length: int
    layers: int
    heads: int
    dim: int
    dropout: float = 0.0


class CausalSelfAttention(nn.Module):
    """Given. Each token attends to itself and to the tokens before it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        answers = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(answers.transpose(1, 2).flatten(-2))


class MLP(nn.Module):
    """Given. Two linear layers, the inner one four times as wide."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.up(x)
        hidden = F.gelu(hidden)
        return self.down(hidden)


class Block(nn.Module):
    """Given. A pre-norm block: two branches, each of which adds to the residual stream x [batch, n, dim]."""

    def __init__(self, dim: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attention = CausalSelfAttention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch n dim"]) -> Float[Tensor, "batch n dim"]:
        answers = self.attention(self.norm1(x))
        x = x + self.dropout(answers)
        features = self.mlp(self.norm2(x))
        return x + self.dropout(features)


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.limit, self.dropout = config.max_length, config.dropout
        self.token = nn.Embedding(config.vocab, config.dim)
        self.position = nn.Embedding(config.max_length, config.dim)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.vocab, bias=False)
        self.head.weight = self.token.weight
        small = {id(layer) for block in self.blocks for layer in (block.attention.out, block.mlp.down)}
        for layer in self.modules():
            if isinstance(layer, nn.Embedding | nn.Linear):
                nn.init.normal_(layer.weight, 0.0, 0.02 * ((2 * config.layers) ** -0.5 if id(layer) in small else 1))
                if getattr(layer, "bias", None) is not None:
                    nn.init.constant_(layer.bias, 0)

    def features(self, tokens):
        if tokens.shape[1] not in range(1, self.limit + 1):
            raise ValueError("length")
        x = (
            F.embedding(tokens, self.token.weight)
            + self.position(torch.arange(tokens.shape[1], device=tokens.device))[None]
        )
        x = F.dropout(x, p=self.dropout, training=self.training)
        for block in self.blocks:
            x = block(x)
        return x

    def forward(self, tokens):
        return self.head(self.norm(self.features(tokens)))

    def loss(self, tokens, mask=None):
        b, n = tokens.shape
        if n < 2:
            raise ValueError("length")
        logits = self(tokens)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        rows, places = torch.arange(b)[:, None], torch.arange(n - 1)[None]
        losses = logits.logsumexp(-1)[:, :-1] - logits[rows, places, tokens[:, 1:]]
        if mask is None:
            return losses.mean()
        counted = mask[:, 1:]
        return torch.where(counted, losses, 0.0).sum() / counted.sum()

    def parameter_groups(self, weight_decay):
        matrices, others, met = [], [], set()
        for layer in self.modules():
            for name, parameter in layer.named_parameters(recurse=False):
                if parameter not in met:
                    met.add(parameter)
                    is_matrix = name == "weight" and not isinstance(layer, nn.LayerNorm)
                    (matrices if is_matrix else others).append(parameter)
        return [dict(params=others, weight_decay=0), dict(params=matrices, weight_decay=weight_decay)]


def generate(model, tokens, max_new_tokens, *, temperature=1.0, generator=None):
    if max_new_tokens < 0 or not temperature >= 0:
        raise ValueError(f"{max_new_tokens=}, {temperature=}")
    mode, new = model.training, []
    model.eval()
    while len(new) < max_new_tokens:
        with torch.no_grad():
            last = model.features(torch.cat([tokens, *new], 1)[:, -model.limit :])[:, -1]
            logits = model.head(model.norm(last)).float()
        if temperature > 0:
            scaled = (logits - logits.max(-1, keepdim=True).values) / temperature
            new.append(torch.distributions.Categorical(logits=scaled).probs.multinomial(1, generator=generator))
        else:
            new.append(logits.argmax(-1)[:, None])
    model.train(mode)
    return torch.cat([tokens, *new], 1)
