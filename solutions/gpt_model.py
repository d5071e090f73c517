"""A GPT.

Put a GPT together: embeddings, blocks, a tied head, the initialisation, the loss, generation. Before the first step of
training, what should its loss be?

    x = token[tokens] + position[0..n-1],    x = block(x) for each block,    logits = norm(x) token^T
    loss = mean over t of -log softmax(logits_t)[token_{t+1}]

Rules: all of torch may be used. GPTConfig and Block, with what Block is made of, are given: use them as they are. forward
calls each of `blocks` once, in order. No argument is modified.

Stage 1: forward, loss.  Stage 2: the tied head, the initialisation, lengths, dropout.  Stage 3: generate, padding,
half precision.  Stage 4: parameter groups; one forward pass costs the FLOPs of its weight matrices and of attention, the
loss no more, and in generate, which has no cache, the head reads the last position alone.

Sources: Radford et al., "Language Models are Unsupervised Multitask Learners" (2019), section 2.3, for the layout and
the initialisation; Press and Wolf, "Using the Output Embedding to Improve Language Models" (2017), for the tied head.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
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
    """A decoder-only language model with learned positions.

    Submodules: token = nn.Embedding(vocab, dim), position = nn.Embedding(max_length, dim), blocks = an nn.ModuleList of
    `layers` Blocks, norm = nn.LayerNorm(dim), head = nn.Linear(dim, vocab) without bias. `head.weight` is
    `token.weight`: one parameter, with both names in the state_dict, which holds nothing else than these submodules have.

    Initial values: every weight of a Linear or an Embedding is drawn from Normal(0, 0.02), 0.02 being the standard
    deviation. The exception is the last Linear of each residual branch, `blocks.*.attention.out` and
    `blocks.*.mlp.down`: its standard deviation is 0.02 / sqrt(2 layers). Biases are 0, the LayerNorms' weights 1.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        # kata: begin
        self.config = config
        self.token = nn.Embedding(config.vocab, config.dim)
        self.position = nn.Embedding(config.max_length, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config.dim, config.heads, config.dropout) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)
        self.head = nn.Linear(config.dim, config.vocab, bias=False)
        self.head.weight = self.token.weight
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                # The stream is a sum of 2 layers branches; its variance must not grow with their number.
                ends_branch = name.endswith((".attention.out", ".mlp.down"))
                std = 0.02 / math.sqrt(2 * config.layers) if ends_branch else 0.02
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # kata: end

    # kata: begin
    def hidden(self, tokens: Int64[Tensor, "batch n"]) -> Float[Tensor, "batch n dim"]:
        """What the head reads."""
        n = tokens.shape[1]
        if not 1 <= n <= self.config.max_length:
            raise ValueError(f"a text has 1 to {self.config.max_length} tokens, got {n}")
        positions = torch.arange(n, device=tokens.device)
        x = self.token(tokens) + self.position(positions)  # [batch, n, dim] + [n, dim]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    # kata: end

    def forward(self, tokens: Int64[Tensor, "batch n"]) -> Float[Tensor, "batch n vocab"]:
        """The logits of each next token, in the dtype of the weights.

        Token i of a row has position i. In training, each number of the sum of both embeddings is dropped with
        probability `dropout`, and the others are divided by 1 - dropout; in evaluation none is.

        Raises ValueError if n is below 1 or above max_length.
        """
        # kata: begin
        return self.head(self.hidden(tokens))
        # kata: end

    def loss(self, tokens: Int64[Tensor, "batch n"], mask: Bool[Tensor, "batch n"] | None = None) -> Float[Tensor, ""]:
        """The mean over all targets of -log p(target): the logits at place t of a row are for its token t + 1.

        Where `mask` is False the token is no target, as padding on the right, or a prompt, is none; all the same it is
        a valid token, and is read like the others. The mean is that over the targets of the whole batch that are left;
        at least one is. From the logits on, the loss is computed in float32, for float64 weights in float64, and has
        that dtype. However unlikely a target is, -log p is finite. n is at most max_length.

        Raises ValueError if n is below 2.
        """
        # kata: begin
        if tokens.shape[1] < 2:
            raise ValueError(f"a text without a next token has no loss, got {tokens.shape[1]} tokens")
        logits = self(tokens)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        predictions = logits[:, :-1]
        targets = tokens[:, 1:]
        if mask is not None:
            targets = targets.masked_fill(~mask[:, 1:], -100)
        return F.cross_entropy(predictions.flatten(0, 1), targets.flatten(), ignore_index=-100)
        # kata: end

    def parameter_groups(self, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for an optimizer, as torch.optim.AdamW takes them, that hold each parameter once.

        A group is a dict with the keys "params" and "weight_decay". Parameters of two or more dimensions decay by
        `weight_decay`, all others by 0.
        """
        # kata: begin
        parameters = list(self.parameters())  # the tied one comes once
        decayed = [p for p in parameters if p.dim() >= 2]
        others = [p for p in parameters if p.dim() < 2]
        return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
        # kata: end


def generate(
    model: GPT,
    tokens: Int64[Tensor, "batch n"],
    max_new_tokens: int,
    *,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Int64[Tensor, "batch total"]:
    """The texts, each followed by `max_new_tokens` new tokens, drawn one after the other.

    Each is drawn from softmax(logits / temperature) at the last place, each row by itself; temperature 0 takes the
    largest logit. Beside `generator`, nothing is random. The model is fed the last max_length tokens when there are more
    of them, once for each new token, in evaluation mode and without a graph; afterwards it is in the mode in which it
    was. Temperatures down to 1e-6 work in every floating dtype, none being raised or taken for 0.

    Raises ValueError if max_new_tokens is below 0, or if temperature is below 0 or NaN.
    """
    # kata: begin
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens must be at least 0, got {max_new_tokens}")
    if not temperature >= 0:
        raise ValueError(f"temperature must be at least 0, got {temperature}")
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for _ in range(max_new_tokens):
            window = tokens[:, -model.config.max_length :]
            last = model.hidden(window)[:, -1]  # [batch, dim]
            # Half precision has no room for logits / temperature.
            logits = model.head(last).float()  # [batch, vocab]
            if temperature == 0:
                new = logits.argmax(-1, keepdim=True)  # [batch, 1]
            else:
                probs = (logits / temperature).softmax(-1)
                new = torch.multinomial(probs, 1, generator=generator)
            tokens = torch.cat([tokens, new], 1)
    model.train(was_training)
    return tokens
    # kata: end
