"""Distributions that disagree, and models whose next token depends on the last two."""

import torch
from torch.overrides import TorchFunctionMode

from dojo.testing import expect, expect_equal, randint

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
KEPT = torch.minimum(P, Q)  # the probability of drafting a token and keeping it
MISSING = (P - Q).clamp(min=0) / (1 - KEPT.sum())
DRAWS = 2000
KEEP = "keep a drafted x where u < p(x) / q(x), u uniform in [0, 1) and drawn for each place of each row"


def repeated(row, *shape):
    """The distribution at every place of [*shape]."""
    return row.expand(*shape, -1)


def drawn(rng, probs):
    """A token for each row of probabilities [batch, gamma, vocab], drawn as the draft does."""
    flat = probs.reshape(-1, probs.shape[-1])
    return torch.multinomial(flat, 1, generator=rng).reshape(probs.shape[:-1])


def one_hot(tokens, vocab=4):
    return torch.nn.functional.one_hot(torch.tensor(tokens), vocab).double()


def distributions(rng, *shape):
    """Random probabilities [*shape], none of them close to 0."""
    weights = 0.2 + torch.rand(*shape, generator=rng, dtype=torch.float64)
    return weights / weights.sum(-1, keepdim=True)


def expect_form(tokens, counts, batch, gamma):
    """Shapes, dtypes, and -1 behind the emitted tokens and nowhere else."""
    hint = "tokens int64 [batch, gamma + 1], counts int64 [batch]"
    for name, found, shape in (("tokens", tokens, [batch, gamma + 1]), ("counts", counts, [batch])):
        seen = (list(found.shape), found.dtype)
        expect_equal(seen, (shape, torch.int64), what=f"shape and dtype of {name}", hint=hint)
    emitted = torch.arange(gamma + 1) < counts[:, None]
    hint = "the first counts[b] places hold tokens, with the replacement or the token behind the draft; the rest is -1"
    expect_equal(tokens >= 0, emitted, what="where `tokens` holds tokens", hint=hint)


class ZeroDraws(TorchFunctionMode):
    """Within it all uniform draws are exactly 0, as one in 2^24 is in float32."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        return result.zero_() if function in (torch.rand, torch.rand_like, torch.Tensor.uniform_) else result


class Model:
    """Probabilities from a table by the last two tokens (0 before the first). Notes what it is called with."""

    def __init__(self, table, most_calls=200):
        self.table, self.most_calls, self.calls = table, most_calls, []

    def __call__(self, tokens):
        self.calls.append(tokens[0].tolist())
        sentence = f"the loop should end, but has called a model {len(self.calls)} times"
        hint = "every round emits a token at least; does `counts` include the replacement?"
        expect(len(self.calls) <= self.most_calls, sentence, hint=hint)
        before = torch.cat([torch.zeros(1, 1, dtype=torch.int64), tokens[:, :-1]], 1)
        return self.table[before, tokens]


def models(rng, vocab=3):
    """A target and a draft that disagree."""
    return [Model(distributions(rng, vocab, vocab, vocab)) for _ in range(2)]


def greedy(rng, vocab=5, dtype=torch.float64):
    """A model that is certain of each token, as greedy decoding makes it."""
    return Model(one_hot(randint(rng, 0, vocab, vocab, vocab).tolist(), vocab).to(dtype))


def stepping(steps, most_calls):
    """A model whose next token is the last one plus s, modulo their number, with the probability steps[s]."""
    table = torch.stack([steps.roll(last) for last in range(len(steps))])
    return Model(table.expand(len(steps), -1, -1), most_calls)
