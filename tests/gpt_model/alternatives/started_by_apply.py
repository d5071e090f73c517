"""nn.Module.apply starts every layer, a second loop the branches' ends; cross-entropy over views; a flag: last place only."""

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


def start(layer):
    """For nn.Module.apply."""
    if isinstance(layer, nn.Embedding):
        nn.init.normal_(layer.weight, std=0.02)
    if isinstance(layer, nn.Linear):
        nn.init.normal_(layer.weight, std=0.02)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab, config.dim)
        self.position = nn.Embedding(config.max_length, config.dim)
        self.embedding_dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([Block(config.dim, config.heads, config.dropout) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.vocab, bias=False)
        self.token.weight = self.head.weight
        self.apply(start)
        with torch.no_grad():
            for block in self.blocks:
                for last in (block.attention.out, block.mlp.down):
                    last.weight.normal_(std=0.02 / math.sqrt(2 * config.layers))

    def forward(self, tokens, only_last=False):
        n = tokens.size(1)
        if n < 1 or n > self.config.max_length:
            raise ValueError(f"{n} tokens do not fit")
        positions = torch.arange(0, n, dtype=torch.long, device=tokens.device)
        x = self.embedding_dropout(self.token(tokens) + self.position(positions))
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, -1:]) if only_last else self.head(x)

    def loss(self, tokens, mask=None):
        if tokens.size(1) < 2:
            raise ValueError("no target")
        logits = self(tokens)[:, :-1].contiguous()
        logits = logits if logits.dtype == torch.float64 else logits.float()
        targets = tokens[:, 1:].clone()
        if mask is not None:
            targets[~mask[:, 1:]] = -1
        return F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)

    def parameter_groups(self, weight_decay):
        named = {name: p for name, p in self.named_parameters() if p.requires_grad}
        vectors = [p for p in named.values() if p.ndim < 2]
        matrices = [p for p in named.values() if p.ndim >= 2]
        return [{"params": vectors, "weight_decay": 0.0}, {"params": matrices, "weight_decay": weight_decay}]


@torch.no_grad()
def generate(model, tokens, max_new_tokens, *, temperature=1.0, generator=None):
    if max_new_tokens < 0 or temperature < 0 or math.isnan(temperature):
        raise ValueError("wrong arguments")
    training = model.training
    model.eval()
    for _ in range(max_new_tokens):
        fed = tokens if tokens.size(1) <= model.config.max_length else tokens[:, -model.config.max_length :]
        logits = model(fed, only_last=True).squeeze(1)
        if temperature == 0.0:
            new = torch.topk(logits, 1).indices
        else:
            probs = F.softmax(logits.double() / temperature, dim=-1)
            new = torch.multinomial(probs, num_samples=1, generator=generator)
        tokens = torch.hstack((tokens, new))
    model.train(training)
    return tokens
