"""A beginner's loop over the heads, with plain slices and torch.bmm; a safe softmax written out."""

import torch
from torch import nn


class CrossAttention(nn.Module):
    def __init__(self, query_dim, context_dim, heads, head_dim):
        super().__init__()
        if heads < 1:
            raise ValueError("there must be a head")
        if head_dim < 1:
            raise ValueError("a head needs a width")
        self.query_dim = query_dim
        self.context_dim = context_dim
        self.heads = heads
        self.head_dim = head_dim
        inner = heads * head_dim
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim, inner, bias=False)
        self.to_out = nn.Linear(inner, query_dim)

    def forward(self, x, context=None, mask=None):
        if context is None:
            if self.query_dim != self.context_dim:
                raise ValueError("no context, and x has another width")
            context = x
        if mask is None:
            mask = torch.ones(x.shape[0], context.shape[1], dtype=torch.bool, device=x.device)
        if mask.dtype != torch.bool:
            raise ValueError("boolean masks only")
        if mask.shape == (x.shape[0], context.shape[1]):
            mask = mask.unsqueeze(1).repeat(1, x.shape[1], 1)
        if mask.shape != (x.shape[0], x.shape[1], context.shape[1]):
            raise ValueError("wrong mask shape")
        q, k, v = self.to_q(x), self.to_k(context), self.to_v(context)
        answers = []
        for head in range(self.heads):
            block = slice(head * self.head_dim, (head + 1) * self.head_dim)
            logits = torch.bmm(q[:, :, block], k[:, :, block].transpose(1, 2)) / self.head_dim**0.5
            highest = logits.masked_fill(~mask, torch.finfo(logits.dtype).min).amax(-1, keepdim=True).detach()
            exps = torch.exp((logits - highest).masked_fill(~mask, float("-inf")))
            total = exps.sum(-1, keepdim=True)
            weights = exps / torch.where(total == 0, torch.ones_like(total), total)
            answers.append(torch.bmm(weights, v[:, :, block]))
        return self.to_out(torch.cat(answers, dim=-1))
