"""Experts that keep what they are given, layers with weights of size one, and what `route` returns."""

import torch
from torch import Tensor, nn

from dojo.testing import expect, expect_close, expect_equal, randn
from dojo.testing.modules import fill, fill_at_random
from katas.moe_layer import MoELayer, route

DIM, EXPERTS = 4, 5
SINGLE = {"rtol": 1e-5, "atol": 1e-5}  # of weights in float32: stage 3 asks for all digits of float64
SUM = "y = sum over the k chosen experts of weight * expert(x)"


class Expert(nn.Module):
    """tanh(x W + b) + b, and a copy of what it was given in each call. With `answer`, that function instead."""

    def __init__(self, dim=DIM, answer=None):
        super().__init__()
        self.answer, self.given = answer, []
        if answer is None:
            self.weight, self.bias = nn.Parameter(torch.zeros(dim, dim)), nn.Parameter(torch.zeros(dim))

    def forward(self, x):
        self.given.append(x.detach().clone())
        return self.answer(x) if self.answer else torch.tanh(x @ self.weight + self.bias) + self.bias


def random_layer(rng, experts=EXPERTS, k=2, dim=DIM, **options):
    """A layer in float64 with weights of size one."""
    layer = MoELayer(dim, [Expert(dim) for _ in range(experts)], k, **options).double()
    fill_at_random(layer.parameters(), rng)
    return layer


def routed(logits, k, **options):
    """What `route` returns: weights in the dtype of the logits, and int64 experts, both [tokens, k]."""
    result = route(logits, k, **options)
    pair = isinstance(result, tuple | list) and len(result) == 2 and all(isinstance(part, Tensor) for part in result)
    expect(pair, f"route should return two tensors, (weights, chosen), but returned {kind_of(result)}")
    for name, part, dtype in zip(("weights", "chosen"), result, (logits.dtype, torch.int64), strict=True):
        expect_equal(list(part.shape), [len(logits), k], what=f"the shape of {name}", hint="[tokens, k]")
        expect_equal(part.dtype, dtype, what=f"the dtype of {name}")
    return tuple(result)


def kind_of(result):
    if isinstance(result, tuple | list):
        return f"a {type(result).__name__} of {len(result)}: {', '.join(type(part).__name__ for part in result)}"
    if isinstance(result, Tensor):
        return f"a tensor of shape {list(result.shape)}"
    return f"a {type(result).__name__}"


def given_to(expert, what):
    """The rows that the expert was given, None if it was not called. Fails for more than one call, or if they are not
    [n, dim]."""
    sentence = f"{what} should be called at most once in a forward pass, but was called {len(expert.given)} times"
    expect(len(expert.given) <= 1, sentence, hint="collect all tokens of an expert, whichever of their choices it is")
    rows = expert.given[0] if expert.given else None
    expect(rows is None or rows.dim() == 2, f"{what} should be given [n, dim], but was given {kind_of(rows)}")
    return rows


def expect_tokens(expert, want, what):
    """The expert was given exactly the rows `want`, in any order. They differ in their first number."""
    rows = given_to(expert, what)
    hint = "x.reshape(-1, dim)[row] for the rows where chosen == i, and no others"
    count = 0 if rows is None else len(rows)
    expect_equal(count, len(want), what=f"the number of tokens that {what} is given", hint=hint)
    if rows is not None:
        rows, want = (each[each[:, 0].argsort()] for each in (rows, want))
        expect_close(rows, want, what=f"the tokens that {what} is given (sorted)", hint=hint, rtol=1e-12, atol=1e-12)


def tokens_of(chosen, i):
    """The tokens that have expert i among their choices."""
    return (chosen == i).any(-1)


def choosing_layer(experts, k, **options):
    """A layer in float64 whose gate hands on x as it is, and whose experts answer x + 1, x + 2, ... times a factor."""
    layer = MoELayer(experts, [Expert(answer=lambda x, i=i: (i + 2) * x + i + 1) for i in range(experts)], k, **options)
    fill(layer.gate.weight, torch.eye(experts), what="gate.weight", hint="gate = nn.Linear(dim, experts, bias=False)")
    return layer.double()


def tokens_that_choose(rng, chosen, experts):
    """x for such a layer: random numbers, of which those of the experts in `chosen` are the largest, in that order."""
    height = 5 + torch.arange(chosen.shape[1], 0, -1) / 2
    noise = torch.rand(chosen.shape, generator=rng, dtype=torch.float64)
    return randn(rng, len(chosen), experts).clamp(-3, 3).scatter(1, chosen, height + noise / 4)


def random_choices(rng, tokens, experts, k):
    """k different experts for each token, the first ones more often than the last ones."""
    return (randn(rng, tokens, experts) - 0.4 * torch.arange(experts)).topk(k).indices
