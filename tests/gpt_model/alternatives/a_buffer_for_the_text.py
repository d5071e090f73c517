"""The text is written into a buffer; the loss goes over transposed logits; initial values in place, branches divided afterwards."""

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
        self.blocks = nn.ModuleList(
            Block(config.dim, config.heads, dropout=config.dropout) for _ in range(config.layers)
        )
        self.head = nn.Linear(config.dim, config.vocab, bias=False)
        self.norm = nn.LayerNorm(config.dim)
        self.token, self.position = nn.Embedding(config.vocab, config.dim), nn.Embedding(config.max_length, config.dim)
        self.embedding_dropout = nn.Dropout(config.dropout)
        self.token.weight = self.head.weight
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0, 0.02)
                elif name.endswith("bias"):
                    parameter.zero_()
            for block in self.blocks:
                block.attention.out.weight.div_(math.sqrt(len(self.blocks) * 2))
                block.mlp.down.weight.div_(math.sqrt(len(self.blocks) * 2))

    def hidden(self, tokens):
        n = tokens.shape[1]
        if n == 0 or n > self.config.max_length:
            raise ValueError(f"{n} tokens")
        positions = torch.arange(n, device=tokens.device).expand_as(tokens)
        x = self.embedding_dropout(self.position(positions) + self.token(tokens))
        return self.norm(nn.Sequential(*self.blocks)(x))

    def forward(self, tokens):
        return F.linear(self.hidden(tokens), self.head.weight)

    def loss(self, tokens, mask=None):
        if tokens.shape[1] < 2:
            raise ValueError("no next token")
        logits = self(tokens).transpose(1, 2)[..., :-1]  # [batch, vocab, n - 1]
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        losses = F.cross_entropy(logits, tokens[:, 1:], reduction="none")
        return losses.mean() if mask is None else losses[mask[:, 1:]].mean()

    def parameter_groups(self, weight_decay):
        groups = {True: [], False: []}
        for parameter in self.parameters():
            groups[parameter.ndim >= 2].append(parameter)
        return [{"params": groups[key], "weight_decay": decay} for key, decay in ((False, 0.0), (True, weight_decay))]


def generate(model, tokens, max_new_tokens, *, temperature=1.0, generator=None):
    if max_new_tokens < 0:
        raise ValueError("max_new_tokens")
    if temperature != temperature or temperature < 0:
        raise ValueError("temperature")
    mode = model.training
    model.eval()
    batch, n = tokens.shape
    text = torch.empty(batch, n + max_new_tokens, dtype=tokens.dtype, device=tokens.device)
    text[:, :n] = tokens
    limit = model.config.max_length
    for end in range(n, n + max_new_tokens):
        with torch.inference_mode():
            logits = model.head(model.hidden(text[:, max(0, end - limit) : end])[:, -1:])[:, 0].double()
        if temperature:
            probs = (logits / temperature).softmax(-1)
            below = probs.cumsum(-1) < torch.rand(batch, 1, dtype=torch.float64, generator=generator)
            text[:, end] = below.sum(-1).clamp(max=probs.shape[-1] - 1)
        else:
            text[:, end] = logits.max(-1).indices
    model.train(mode)
    return text
