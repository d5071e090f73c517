"""CLIP's table and prompts. The floor is the rows of the prompts, read once and written once; a step of training reads
their gradient too. The naive way joins both tables in each forward, and makes a gradient of the whole."""

import torch
from torch import nn
from torch.nn import functional as F

from dojo.testing.bench import work


class Joined(nn.Module):
    """One table, made anew in each forward."""

    def __init__(self, base, count):
        super().__init__()
        self.base, self.new = base, nn.Parameter(base.weight[:1].detach().repeat(count, 1))

    def forward(self, ids):
        return F.embedding(ids, torch.cat([self.base.weight, self.new]))


def step(layer, ids, slope):
    def run():
        layer.zero_grad()
        layer(ids).backward(slope)
        return layer.new.grad

    return run


@work(
    prompts=8,
    vocab=49408,
    dim=768,
    sweep={"prompts": (1, 64), "vocab": (4096,)},
    grows={"prompts": 1, "dim": 1, "vocab": 0},
    tiny={"prompts": 16, "vocab": 512, "dim": 256},
    gpu={"prompts": 256},
)
def step_of_a_new_word(bench, prompts, vocab, dim):
    """Prompts of 77 ids, in each of which the new word stands once, forward and backward."""
    base = nn.Embedding.from_pretrained(bench.randn(vocab, dim))
    ids = torch.randint(0, vocab, (prompts, 77), generator=torch.Generator().manual_seed(0))
    ids[:, 5] = vocab
    ids, slope = ids.to(bench.device), bench.randn(prompts, 77, dim)
    bench.katas(lambda kata: step(kata.LearnedTokens(base, 1, 0), ids, slope))
    bench.way("naive: both tables joined", step(Joined(base, 1), ids, slope))
    bench.same(rtol=1e-4, atol=1e-4)
    bench.floor(bytes=4 * prompts * 77 * dim * 3)
