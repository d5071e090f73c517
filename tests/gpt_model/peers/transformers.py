"""transformers' loss of causal language models, which shifts by itself, its eager attention of GPT-2, and its temperature.

Its GPT2LMHeadModel has other names, and its linear layers are transposed."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import TemperatureLogitsWarper
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.models.gpt2.modeling_gpt2 import eager_attention_forward


class Wide(Tensor):
    """A tensor whose float() keeps float64."""

    def float(self):
        return self.as_subclass(Tensor)


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
        n, dim = x.shape[1:]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        visible = torch.ones(n, n, dtype=torch.bool, device=x.device).tril()
        mask = torch.zeros(n, n, dtype=x.dtype, device=x.device).masked_fill(~visible, -torch.inf)
        scale = (dim // self.heads) ** -0.5
        answers, _ = eager_attention_forward(
            nn.Identity(), q, k, v, mask[None, None], scaling=scale
        )  # heads last but one
        return self.out(answers.flatten(-2))


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
        logits = self(tokens)
        labels = tokens if mask is None else tokens.masked_fill(~mask, -100)
        if (
            logits.dtype == torch.float64
        ):  # which the library casts to float32; here its shift and its mean are on trial
            return ForCausalLMLoss(logits.view_as(logits).as_subclass(Wide), labels, vocab_size=logits.shape[-1])
        return ForCausalLMLoss(logits, labels, vocab_size=logits.shape[-1])

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
        with torch.no_grad():
            logits = model.head(model.hidden(text[:, max(0, end - limit) : end])[:, -1:])[:, 0].double()
        if temperature:
            probs = TemperatureLogitsWarper(float(temperature))(None, logits).softmax(-1)
            text[:, end] = probs.multinomial(1, generator=generator)[:, 0]
        else:
            text[:, end] = logits.max(-1).indices
    model.train(mode)
    return text
