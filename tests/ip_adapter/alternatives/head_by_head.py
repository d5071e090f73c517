"""A beginner's loop over the heads, with slices and bmm, and a LayerNorm that is called token by token."""

import torch
from torch import nn


class ImageProjection(nn.Module):
    def __init__(self, image_dim, context_dim, tokens):
        super().__init__()
        if tokens < 1:
            raise ValueError("there must be a token")
        self.tokens = tokens
        self.context_dim = context_dim
        self.proj = nn.Linear(image_dim, tokens * context_dim)
        self.norm = nn.LayerNorm(context_dim)

    def forward(self, image_embedding):
        projected = self.proj(image_embedding)
        tokens = []
        for j in range(self.tokens):
            tokens.append(self.norm(projected[:, j * self.context_dim : (j + 1) * self.context_dim]))
        return torch.stack(tokens, dim=1)


class DecoupledCrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim, scale=1.0):
        super().__init__()
        if heads < 1:
            raise ValueError("there must be a head")
        if head_dim < 1:
            raise ValueError("a head needs a width")
        self.heads = heads
        self.head_dim = head_dim
        self.scale = scale
        inner = heads * head_dim
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Linear(inner, query_dim)
        self.to_k_image = nn.Linear(context_dim, inner, bias=False)
        self.to_v_image = nn.Linear(context_dim, inner, bias=False)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("image" in name)

    def forward(self, x, context, image_tokens):
        q = self.to_q(x)
        k = self.to_k(context)
        v = self.to_v(context)
        k_image = self.to_k_image(image_tokens)
        v_image = self.to_v_image(image_tokens)
        answers = []
        for head in range(self.heads):
            block = slice(head * self.head_dim, (head + 1) * self.head_dim)
            logits = torch.bmm(q[:, :, block], k[:, :, block].transpose(1, 2)) / self.head_dim**0.5
            logits_image = torch.bmm(q[:, :, block], k_image[:, :, block].transpose(1, 2)) / self.head_dim**0.5
            text = torch.bmm(torch.softmax(logits, dim=2), v[:, :, block])
            image = torch.bmm(torch.softmax(logits_image, dim=2), v_image[:, :, block])
            answers.append(text + self.scale * image)
        return self.to_out(torch.cat(answers, dim=2))
