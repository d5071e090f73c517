"""The loss by gather and a masked sum; initial values by a function for each kind of layer; Gumbel noise draws the tokens."""

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


def start(linear, std):
    with torch.no_grad():
        linear.weight.copy_(std * torch.randn_like(linear.weight))
        if linear.bias is not None:
            linear.bias.fill_(0.0)


class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        dim, self.max_length = config.dim, config.max_length
        self.token = nn.Embedding.from_pretrained(0.02 * torch.randn(config.vocab, dim), freeze=False)
        self.position = nn.Embedding.from_pretrained(0.02 * torch.randn(config.max_length, dim), freeze=False)
        self.blocks = nn.ModuleList()
        for _ in range(config.layers):
            block = Block(dim, config.heads, config.dropout)
            for linear in (block.attention.qkv, block.mlp.up):
                start(linear, 0.02)
            for linear in (block.attention.out, block.mlp.down):
                start(linear, 0.02 * (2 * config.layers) ** -0.5)
            self.blocks.append(block)
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, config.vocab, bias=False)
        self.head.weight = self.token.weight
        self.p = config.dropout

    def stream(self, tokens):
        n = tokens.shape[-1]
        if n < 1:
            raise ValueError("no tokens")
        if n > self.max_length:
            raise ValueError("too many tokens")
        x = self.token(tokens) + self.position.weight[:n]
        x = F.dropout(x, self.p, self.training)
        for i in range(len(self.blocks)):
            x = self.blocks[i](x)
        return F.layer_norm(x, x.shape[-1:], self.norm.weight, self.norm.bias, self.norm.eps)

    def forward(self, tokens):
        return self.stream(tokens) @ self.token.weight.T

    def loss(self, tokens, mask=None):
        if tokens.shape[-1] <= 1:
            raise ValueError("nothing to predict")
        logits = self.forward(tokens[:, :-1])  # the last token is a target only
        wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
        log_probs = logits.to(wide).log_softmax(-1).gather(-1, tokens[:, 1:, None]).squeeze(-1)
        weights = torch.ones_like(log_probs) if mask is None else mask[:, 1:].to(wide)
        return -(log_probs * weights).sum() / weights.sum()

    def parameter_groups(self, weight_decay):
        return [{"params": [p], "weight_decay": weight_decay * (p.ndim > 1)} for p in self.parameters()]


def generate(model, tokens, max_new_tokens, *, temperature=1.0, generator=None):
    if not max_new_tokens >= 0:
        raise ValueError("max_new_tokens")
    if not temperature >= 0:
        raise ValueError("temperature")
    was = model.training
    try:
        model.train(False)
        with torch.inference_mode():
            text = tokens
            for _ in range(max_new_tokens):
                x = model.stream(text[:, -model.max_length :])[:, -1]
                logits = (x @ model.token.weight.T).double()
                if temperature > 0:
                    u = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
                    logits = logits - temperature * torch.log(-torch.log(u))
                text = torch.cat([text, logits.argmax(-1)[:, None]], 1)
        return text.clone()
    finally:
        model.train(was)
