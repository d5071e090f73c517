"""forward has a second argument, the places whose logits are wanted; generate calls itself; the loss gathers its targets."""

import math
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
        n = x.shape[1]
        # [batch, n, 3 dim] -> [batch, n, 3, heads, d] -> three of [batch, heads, n, d]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q = q * q.shape[-1] ** -0.5
        scores = q @ k.mT  # [batch, heads, n, n]
        later = torch.ones(n, n, dtype=torch.bool, device=x.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
        answers = scores.softmax(-1) @ v  # [batch, heads, n, d]
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
        self.config = config
        parts = {
            "token": nn.Embedding(config.vocab, config.dim),
            "position": nn.Embedding(config.max_length, config.dim),
            "blocks": nn.ModuleList(Block(config.dim, config.heads, config.dropout) for _ in range(config.layers)),
            "norm": nn.LayerNorm(config.dim),
            "head": nn.Linear(config.dim, config.vocab, bias=False),
            "drop": nn.Dropout(config.dropout),
        }
        for name, part in parts.items():
            setattr(self, name, part)
        for name, weight in list(self.state_dict(keep_vars=True).items()):
            *_, layer, kind = name.split(".")
            std = 0.02 if layer not in ("out", "down") else 0.02 / math.sqrt(2 * config.layers)
            if kind == "bias":
                weight.data.zero_()
            elif not layer.startswith("norm"):
                weight.data = torch.normal(0.0, std, weight.shape)
        self.head.weight = self.token.weight

    def forward(self, tokens, places=slice(None)):
        batch, n = tokens.shape
        if not 0 < n <= self.position.num_embeddings:
            raise ValueError("n")
        places_of_tokens = torch.arange(n, device=tokens.device).repeat(batch, 1)
        x = self.drop(self.token(tokens).add(self.position(places_of_tokens)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, places]))

    def loss(self, tokens, mask=None):
        if tokens.shape[1] < 2:
            raise ValueError("n")
        if mask is None:
            mask = torch.ones_like(tokens, dtype=torch.bool)
        logits = self(tokens)
        flat = logits[:, :-1][mask[:, 1:]]  # only what predicts a target that is left
        wide = torch.promote_types(flat.dtype, torch.float32)
        return F.nll_loss(F.log_softmax(flat, -1, dtype=wide), tokens[:, 1:][mask[:, 1:]])

    def parameter_groups(self, weight_decay):
        matrices = {p for p in self.parameters() if len(p.shape) > 1}
        vectors = set(self.parameters()) - matrices
        return [
            {"params": list(vectors), "weight_decay": 0.0},
            {"params": list(matrices), "weight_decay": weight_decay},
        ]


def generate(model, tokens, max_new_tokens, *, temperature=1.0, generator=None):
    if max_new_tokens < 0:
        raise ValueError("max_new_tokens")
    if math.isnan(temperature) or temperature < 0:
        raise ValueError("temperature")
    if max_new_tokens == 0:
        return tokens
    training = model.training
    with torch.no_grad():
        model.eval()
        logits = model(tokens[:, -model.config.max_length :], slice(-1, None))[:, -1]
        model.train(training)
    if temperature == 0:
        new = logits.argmax(-1)
    else:
        wide = logits.to(torch.float64)
        new = torch.multinomial(((wide - wide.amax(1, True)) / temperature).exp(), 1, generator=generator)[:, 0]
    longer = torch.cat((tokens, new.unsqueeze(1)), 1)
    return generate(model, longer, max_new_tokens - 1, temperature=temperature, generator=generator)
